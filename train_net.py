#!/usr/bin/env python
"""Train a configuration, or evaluate it with --eval-only: `rskt-seg train` from a checkout."""

from rskt_seg.commands.train import main

if __name__ == "__main__":
    raise SystemExit(main())
