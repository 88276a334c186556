#!/usr/bin/env python
"""Convert the official downloads of a dataset: `rskt-seg prepare` from a checkout."""

from rskt_seg.commands.prepare import main

if __name__ == "__main__":
    raise SystemExit(main())
