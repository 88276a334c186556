#!/usr/bin/env python
"""Check every file of datasets before a run: `rskt-seg check` from a checkout."""

from rskt_seg.commands.check import main

if __name__ == "__main__":
    raise SystemExit(main())
