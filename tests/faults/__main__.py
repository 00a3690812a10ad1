"""`make faults`: every sweep, then the table in docs/reliability.md."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from faults.sweeps import sweeps
from faults.table import DOCUMENT, as_markdown, put_into
from faults.tracing import why_not


def main() -> int:
    """Sweep, print and write the table; exit 1 if a fault was not survived."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="part of each sweep, 0 to 1")
    parser.add_argument("--folder", type=Path, help="where the runs lie; a memory file system is quickest")
    arguments = parser.parse_args()
    if why_not():
        print(f"system calls cannot be swept: {why_not()}", file=sys.stderr)
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="wsiseg-faults-", dir=arguments.folder))
    try:
        rows = sweeps(folder, arguments.share)
    finally:
        shutil.rmtree(folder)
    table = as_markdown(rows, arguments.share)
    print(table)
    put_into(DOCUMENT, table)
    notes = [f"{row.group} {row.fault}: {note}" for row in rows for note in row.notes]
    print("\n".join(notes), file=sys.stderr)
    return 1 if notes else 0


if __name__ == "__main__":
    sys.exit(main())
