"""Readers that fail in every way a C library can, on the region at (5, 5), so that containment meets real deaths.

The reader's process imports them by name; each reads other regions as OpenSlide does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

from wsiseg.slides.openslide_reader import OpenSlideSlide


class Faulty(OpenSlideSlide):
    """Calls `fail` where the region asked for holds the point (5, 5)."""

    def read_region(self, location, level, size, out=None):
        if all(corner <= 5 < corner + side for corner, side in zip(location, size, strict=True)):
            self.fail()
        return super().read_region(location, level, size, out)

    def fail(self):
        raise NotImplementedError


class Aborting(Faulty):
    def fail(self):
        os.abort()


class SlowlyAborting(Aborting):
    """Gives others time to be in the same process; they are slow too."""

    def read_region(self, location, level, size, out=None):
        time.sleep(0.5)
        return super().read_region(location, level, size, out)


class Killed(Faulty):
    def fail(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Crashing(Faulty):
    def fail(self):
        ctypes.string_at(0)


class Leaving(Faulty):
    def fail(self):
        os._exit(3)


class Hungry(Faulty):
    """Asks for more memory than a slide may have."""

    def fail(self):
        bytearray(64 * 2**30)


class Raising(Faulty):
    def fail(self):
        return 1 / 0


class Babbling(Faulty):
    """Writes rubbish where the answers go, as a library with a broken pointer may."""

    def fail(self):
        for descriptor in range(3, 64):
            try:
                os.write(descriptor, b"rubbish\n")
            except OSError:
                continue
        time.sleep(60)


class Hanging(Faulty):
    def fail(self):
        time.sleep(600)


class Chatty(Faulty):
    """Prints to the standard output, as some C libraries do."""

    def fail(self):
        print('{"number": 0}', flush=True)
        sys.stdout.flush()


class AbortingAtOpen(OpenSlideSlide):
    def __init__(self, path, mpp=None):
        os.abort()


class HangingAtOpen(OpenSlideSlide):
    def __init__(self, path, mpp=None):
        time.sleep(600)
