"""Types of the dicts that pass between loaders, models and evaluators, which Detectron2 does not annotate."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

DatasetDict = dict[str, Any]
"""One image in Detectron2's dataset format. Keys, where they apply:

* `file_name` (str): the image file.
* `sem_seg_file_name` (str): its label file of class ids.
* `vocabulary` (tuple of str): class names, in the order of their ids.
* `ignore` (int): the id that the label file ignores.
* `image_labels` (tuple of int): ids of the classes that the image shows.
* `window` (two str): registered name and stem of a window of scenes, which `EntryReader` reads; then the
  names above are no files, and `height` and `width` are known.

The mapper adds:

* `image` (3, H, W) uint8 RGB 0..255, augmented.
* `height`, `width` (int): size of the image file, in pixels.
* `sem_seg` (H, W) uint8, in training with masks: class ids.
* `truth` (`Truth`), in evaluation of a window: its label.
* `valid` (H, W) bool, in training without masks: False where the image is padded.
"""

Entry = Mapping[str, Any]
"""One input of a model: a mapped `DatasetDict`, read only."""

Entries = Sequence[Entry]
"""The inputs of a model: a batch or a part of one."""

Results = OrderedDict[str, dict[str, float]]
"""What an evaluator returns: `{"sem_seg": {name of a figure: percent}}`."""

NamedResults = OrderedDict[str, Results]
"""Name of a test set, with the suffix of the evaluation pass -> its results."""
