"""Sweeps of faults over whole runs: `make faults`, or `cd tests; python -m faults --share 0.1`.

Each module holds one kind of sweep: a function `sweep(bench, share)` that gives rows of the table in
docs/reliability.md. A sweep injects a fault, looks at what it left, runs the same command again, and compares with
a run that nothing disturbed.
"""
