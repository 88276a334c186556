#!/usr/bin/env python
"""Check a description file: `rskt-seg knowledge` from a checkout."""

from rskt_seg.commands.knowledge import main

if __name__ == "__main__":
    raise SystemExit(main())
