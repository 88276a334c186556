"""The models that a page offers, each loaded when it is first asked for."""

import threading
from collections.abc import Sequence

from rskt_seg.devices import default_device, move_to
from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.methods import TrainedModel, load
from rskt_seg.methods.load import is_closed_set
from rskt_seg.segmenter import Segmenter
from rskt_seg.vocabulary import read_typed


class Models:
    """Models by name. Those that are loaded stay in memory, and one thread at a time uses them.

    Attributes:
        names: What `rskt_seg.load` takes: names of models, or checkpoints; the first is the default.
        lock: Held while a model is loaded or computes.
    """

    def __init__(self, names: Sequence[str], device: str | None = None, classes: int = 100) -> None:
        self.names = tuple(dict.fromkeys(names))
        self.lock = threading.Lock()
        self._device = device or default_device()
        self._classes = classes
        self._loaded: dict[str, TrainedModel] = {}

    def load(self, name: str) -> TrainedModel:
        """Return a model that is offered.

        Args:
            name: One of `names`.

        Returns:
            The model, on its device.

        Raises:
            ConfigError: It is not offered.
            RSKTSegError: Its weights cannot be had or read.
        """
        if name not in self.names:
            raise ConfigError(f"this page does not offer the model {name!r}; it has {', '.join(self.names)}")
        if name not in self._loaded:
            trained = load(name)
            move_to(trained.model, self._device)
            self._loaded[name] = trained
        return self._loaded[name]

    def segmenter(self, name: str, words: str) -> Segmenter:
        """Return a segmenter of a request, which shares nothing but the model with others.

        Args:
            name: One of `names`.
            words: Class names as `rskt_seg.vocabulary.read_typed` takes them; may be empty for a closed-set
                model, which knows its classes.

        Returns:
            The segmenter.

        Raises:
            VocabularyError: The names cannot be used, are missing or too many.
            RSKTSegError: As `load`.
        """
        trained = self.load(name)
        if not words.strip() and is_closed_set(trained.model):
            return Segmenter(trained)
        vocabulary = read_typed(words)
        if len(vocabulary.names) > self._classes:
            raise VocabularyError(
                f"expected at most {self._classes} classes; found {len(vocabulary.names)}: ask for fewer"
            )
        return Segmenter(trained, vocabulary)
