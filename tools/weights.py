#!/usr/bin/env python
"""List, fetch, verify and convert weight files: `rskt-seg weights` from a checkout."""

from rskt_seg.commands.weights import main

if __name__ == "__main__":
    raise SystemExit(main())
