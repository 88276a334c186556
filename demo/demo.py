#!/usr/bin/env python
"""Segment images: `rskt-seg segment` under its old name."""

from rskt_seg.commands.segment import main

if __name__ == "__main__":
    raise SystemExit(main())
