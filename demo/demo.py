#!/usr/bin/env python
"""Segment images: `rskt-seg segment` from a checkout."""

from rskt_seg.commands.segment import main

if __name__ == "__main__":
    raise SystemExit(main())
