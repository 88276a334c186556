#!/usr/bin/env python
"""Predict the test images of LoveDA for its server: `rskt-seg loveda-submission` from a checkout."""

from rskt_seg.commands.loveda_submission import main

if __name__ == "__main__":
    raise SystemExit(main())
