"""The benchmark of `tools/bench.py`: forms of RSKT-Seg in one process, and the limit of the machine."""
