#!/usr/bin/env python
"""Write the image-level labels of a dataset: `rskt-seg image-labels` from a checkout."""

from rskt_seg.commands.image_labels import main

if __name__ == "__main__":
    raise SystemExit(main())
