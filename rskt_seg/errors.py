"""Every error the project raises for a caller's or a user's mistake.

One root, `RSKTSegError`; each class is also the builtin that a caller would expect to catch.
Messages say what was expected, what was found, where, and what to do. The command-line entries
catch `RSKTSegError`, print one line and exit with status 2 (see `rskt_seg.commands.entry`).
"""


class RSKTSegError(Exception):
    """Root of all errors raised on purpose by this package."""


class ConfigError(RSKTSegError, ValueError):
    """A configuration key or a model option has a value that cannot be used."""


class VocabularyError(RSKTSegError, ValueError):
    """A list of class names is empty, repeats itself, or holds a name the text encoder cannot read."""


class DatasetError(RSKTSegError, ValueError):
    """Images and labels of a dataset do not fit together."""


class DatasetNotFoundError(DatasetError, FileNotFoundError):
    """A folder of a dataset is missing; the message shows the expected layout."""


class LabelError(DatasetError):
    """A label file holds something other than class ids of its dataset."""


class ImageReadError(RSKTSegError, OSError):
    """An image file cannot be read, or lacks the bands that were asked for."""


class CheckpointError(RSKTSegError, RuntimeError):
    """A weight file does not fit the model, or cannot be read safely."""


class WeightsNotFoundError(CheckpointError, FileNotFoundError):
    """A weight file is missing; the message says where to get it."""


class DeviceError(RSKTSegError, RuntimeError):
    """A device, a number of devices or a precision was asked for that this machine lacks."""
