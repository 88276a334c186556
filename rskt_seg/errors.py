"""Errors that the package raises for a mistake of a caller or a user.

All derive from `RSKTSegError`, and each also from the builtin that a caller would expect to catch.
Messages say what was expected, what was found, where, and what to do. The command-line entries
catch `RSKTSegError`, print one line and exit with status 2 (see `rskt_seg.commands.entry`).
"""

from collections.abc import Iterator, Mapping, Sequence


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then what it comes from, step by step.

    A library makes an error of its own of one that comes while it clears up; `from None` hides it only from
    tracebacks.

    Args:
        error: Any error.

    Yields:
        The error itself first.
    """
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


class RSKTSegError(Exception):
    """Base class of all errors that this package raises on purpose."""


class ConfigError(RSKTSegError, ValueError):
    """An invalid value of a configuration key, an argument or a model option."""


class UnreadableError(RSKTSegError, ValueError):
    """A text, YAML or JSON file that cannot be read; callers turn it into the error of what it describes."""


class VocabularyError(RSKTSegError, ValueError):
    """A list of class names that is empty, repeats names, or has one that the text encoder cannot read."""


class DatasetError(RSKTSegError, ValueError):
    """A dataset whose files or description cannot be used, such as an image without a label."""


class DatasetNotFoundError(DatasetError, FileNotFoundError):
    """A missing folder of a dataset; the message shows the expected layout."""


class LabelError(DatasetError):
    """A label map with something other than the class ids of its dataset."""


class ImageReadError(RSKTSegError, OSError):
    """An image file that cannot be read, or lacks the requested bands."""


class CheckpointError(RSKTSegError, RuntimeError):
    """A checkpoint that does not fit the model, or cannot be read safely."""


class OtherModelError(CheckpointError):
    """A checkpoint of another model than the one at hand.

    Its message is the finding with advice for Python. Whoever called by other means, such as a configuration,
    gives advice from the other attributes.

    Attributes:
        finding: What the checkpoint is and what the model, without a full stop.
        advice: How to build the right model in Python.
        presets: Names of `create_model`, one for each method that the checkpoint may be of.
        options: What is known of the options of its model: name -> value. A method reads those that it has.
    """

    def __init__(
        self,
        finding: str,
        advice: str,
        presets: Sequence[str],
        options: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(finding, advice, presets, options)  # so that it can be sent to another process
        self.finding = finding
        self.advice = advice
        self.presets = tuple(presets)
        self.options = dict(options or {})

    def __str__(self) -> str:
        return f"{self.finding}; {self.advice}"


class WeightsNotFoundError(CheckpointError, FileNotFoundError):
    """A missing checkpoint; the message says where to get it."""


class DeviceError(RSKTSegError, RuntimeError):
    """A device, a number of devices or a precision that this machine does not have."""


class ProcessDiedError(RSKTSegError, RuntimeError):
    """A process of a run that was killed or ended without a word, such as one that took too much memory."""


class DiskFullError(RSKTSegError, OSError):
    """A file that the disk, a quota or a limit of file sizes has no room for; what was there is unchanged."""


class NotFiniteError(RSKTSegError, FloatingPointError):
    """Class scores, a loss or weights in training that are NaN or infinite."""
