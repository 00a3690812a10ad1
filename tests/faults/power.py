"""C3: power cuts. A run's system calls, recorded with strace, are played up to each point onto a modelled disk.

The model is stricter than real file systems. What a file holds is certain up to its last fsync, and what names a
folder holds up to the folder's last fsync; of everything later, any part may have reached the disk, in any order.
After a cut the disk is one of: all of it arrived; nothing but what was flushed; names without content; content
without names; a torn last write; a random choice. In none of them may a folder that says complete hold anything
else than the undisturbed run's files.
"""

from __future__ import annotations

import ast
import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from faults.bench import digests
from faults.table import Row, spread
from faults.tracing import FAMILIES, traced, why_not
from wsiseg.errors import WsisegError
from wsiseg.run import State, inspect_run, verify_run

if TYPE_CHECKING:
    from pathlib import Path

    from faults.bench import Bench

_LINE = re.compile(r"^(?:\d+ +)?(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FD = re.compile(r"(?:\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2}|[^>])*)>")


@dataclass
class File:
    """A file: all that was written, and how much of its history is safe."""

    content: bytes = b""
    safe: bytes = b""


@dataclass
class Folder:
    """A folder's names, now and as of its last flush."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    safe: dict[str, File | Folder] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """One change of the disk, with paths below the run's parent folder."""

    kind: str
    path: str
    data: bytes = b""
    other: str = ""


def sweep(bench: Bench, share: float) -> list[Row]:
    """Cut the power after every change of the disk, in six ways each."""
    if why_not():
        return []
    operations = recorded(bench)
    row = Row("C3", "power cut after a change of the disk, six ways of losing what was not flushed")
    chosen = set(spread(list(range(len(operations))), share))
    root = Folder()
    for number, operation in enumerate(operations):
        apply(root, operation)
        if number not in chosen:
            continue
        # The run's own folder is taken for safe: without it there is nothing to be wrong.
        run = root.names[bench.out.name]
        for index, way in enumerate(WAYS):
            bench.clear()
            _materialise(run, bench.out, way, random.Random(number))
            problems = _lies(bench)
            if index == number % len(WAYS):
                problems += bench.problems_after()
            row.count(f"after {operation.kind} {operation.path}, {way}", problems)
    bench.clear()
    return [row]


def _lies(bench: Bench) -> list[str]:
    """What is wrong with the folder's own account of itself."""
    state = inspect_run(bench.out).state
    if state is not State.COMPLETE:
        return [] if state in (State.ABSENT, State.RESUMABLE) else [f"the state is {state}"]
    try:
        verify_run(bench.out)
    except WsisegError as error:
        return [f"complete, but {error}"]
    found = digests(bench.out)
    return [f"{name} differs" for name, digest in bench.reference.items() if found.get(name) != digest]


def recorded(bench: Bench) -> list[Operation]:
    """Trace an undisturbed run with all that it writes."""
    log = bench.folder / "operations"
    families = ",".join(name for names in FAMILIES.values() for name in names)
    bench.clear()
    traced(bench, ["-y", "-xx", "-s", "100000000", "-e", f"trace={families}"], log)
    parent = f"{bench.out.parent}/"
    found = []
    for line in _whole_lines(log):
        call = _LINE.match(line)
        if call and int(call["result"]) >= 0:
            operation = _operation(call["name"], call["arguments"], int(call["result"]))
            if operation and operation.path.startswith(str(bench.out)):
                found.append(_relative(operation, parent))
    log.unlink()
    return found


def _whole_lines(log: Path) -> list[str]:
    """Join calls that another thread interrupted."""
    waiting: dict[str, str] = {}
    lines = []
    for line in log.read_text(encoding="ascii", errors="replace").splitlines():
        if line.endswith("<unfinished ...>"):
            waiting[line.split()[0]] = line.removesuffix("<unfinished ...>").rstrip()
        elif resumed := _RESUMED.match(line):
            lines.append(waiting.pop(resumed[1], "") + resumed[2])
        else:
            lines.append(line)
    return lines


def _operation(name: str, arguments: str, result: int) -> Operation | None:
    strings = [_bytes(text) for text in _STRING.findall(_FD.sub("", arguments))]
    folders = [_bytes(text).decode() for text in _FD.findall(arguments)]
    if name == "openat" and "O_CREAT" in arguments:
        return Operation("truncate" if "O_TRUNC" in arguments else "create", _joined(folders, strings[0]))
    if name in ("write", "pwrite64"):
        where = arguments.rsplit(",", 1)[1].strip() if name == "pwrite64" else ""
        return Operation("write", folders[0], strings[0][:result], where)
    if name in ("fsync", "fdatasync"):
        return Operation("flush", folders[0])
    if name in FAMILIES["rename"]:
        return Operation("rename", strings[0].decode(), other=strings[1].decode())
    if name in FAMILIES["mkdir"]:
        return Operation("mkdir", _joined(folders, strings[0]))
    if name in FAMILIES["unlink"]:
        return Operation("remove", _joined(folders, strings[0]))
    if name == "ftruncate":
        return Operation("cut", folders[0], other=arguments.rsplit(",", 1)[1].strip())
    return None


def _bytes(text: str) -> bytes:
    return ast.literal_eval(f"b'{text}'")


def _joined(folders: list[str], name: bytes) -> str:
    path = name.decode()
    return path if path.startswith("/") else f"{folders[0]}/{path}"


def _relative(operation: Operation, parent: str) -> Operation:
    other = operation.other.removeprefix(parent)
    return Operation(operation.kind, operation.path.removeprefix(parent), operation.data, other)


# -- the modelled disk ------------------------------------------------------------------------------------


def apply(root: Folder, operation: Operation) -> None:
    """Change the modelled disk."""
    folder, name = _find(root, operation.path)
    match operation.kind:
        case "create":
            folder.names.setdefault(name, File())
        case "truncate":
            folder.names.setdefault(name, File()).content = b""
        case "mkdir":
            folder.names[name] = Folder()
        case "remove":
            folder.names.pop(name, None)
        case "rename":
            target, new = _find(root, operation.other)
            target.names[new] = folder.names.pop(name)
        case "flush":
            _flush(folder.names[name])
        case "cut":
            file = folder.names[name]
            file.content = file.content[: int(operation.other)]
        case "write":
            _write(folder.names[name], operation)


def _write(file: File, operation: Operation) -> None:
    start = int(operation.other) if operation.other else len(file.content)
    padded = file.content[:start].ljust(start, b"\0")
    file.content = padded + operation.data + file.content[start + len(operation.data) :]


def _flush(entry: File | Folder) -> None:
    if isinstance(entry, File):
        entry.safe = entry.content
    else:
        entry.safe = dict(entry.names)


def _find(root: Folder, path: str) -> tuple[Folder, str]:
    *parents, name = path.split("/")
    for parent in parents:
        root = root.names.setdefault(parent, Folder())
    return root, name


WAYS = ("all arrived", "only what was flushed", "names without content", "content without names", "torn", "random")


def _materialise(folder: Folder, where: Path, way: str, chance: random.Random) -> None:
    """Write what the disk holds after the cut."""
    where.mkdir()
    unflushed = way == "random" and chance.random() < 0.5
    names = folder.safe if unflushed or way in ("only what was flushed", "content without names") else folder.names
    for name, entry in names.items():
        if isinstance(entry, Folder):
            _materialise(entry, where / name, way, chance)
        else:
            (where / name).write_bytes(_content(entry, way, chance))


def _content(file: File, way: str, chance: random.Random) -> bytes:
    if file.content == file.safe:
        return file.safe
    torn = file.content[: (len(file.safe) + len(file.content)) // 2]
    match way:
        case "only what was flushed" | "names without content":
            return file.safe
        case "torn":
            return torn
        case "random":
            return chance.choice((file.content, file.safe, torn))
    return file.content
