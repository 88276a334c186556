"""From class names to text embeddings: prompts, open_clip's tokenizer, and a cache of embeddings.

Shapes: T class, P prompt template, E embedding.
"""

import difflib
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.amp.autocast_mode import is_autocast_available

from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.open_clip_modules import open_clip_module
from rskt_seg.encoders.presets import TextPreset
from rskt_seg.encoders.text_files import TextFiles, TextQuery, computing_context, encoder_digest
from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.vocabulary import check_names
from rskt_seg.wording import shortened

_START, _END = 49406, 49407
_FULL_VOCABULARY = 49408
_CACHED_VOCABULARIES = 16
_PROMPTS = 1024
"""Prompts that are encoded at a time; bounds memory."""
_Key = tuple[tuple[str, ...], tuple[str, bool, torch.dtype | None], tuple[tuple[int, int], ...]]
_TEMPLATE_SETS = {
    "imagenet": "OPENAI_IMAGENET_TEMPLATES",
    "imagenet_select": "SIMPLE_IMAGENET_TEMPLATES",
}


@cache
def _byte_pairs() -> Any:
    return open_clip_module("tokenizer").SimpleTokenizer(clean="lower")


@lru_cache(maxsize=1 << 14)
def _encode(text: str) -> tuple[int, ...]:
    """Return the byte-pair ids of a text: of a prompt, or of a word, which most prompts share with others."""
    return tuple(_byte_pairs().encode(text))


@cache
def _known_words(words: str) -> tuple[str, ...]:
    """Return the words of a word list beside this module, each once."""
    text = files("rskt_seg.encoders").joinpath(words).read_text(encoding="utf-8")
    return tuple(dict.fromkeys(text.split()))


@cache
def _known_tokens(words: str) -> tuple[int, ...]:
    """Return the sorted byte-pair ids of a word list beside this module, start and end token included."""
    ids = {token for word in _known_words(words) for token in _encode(word)}
    return tuple(sorted(ids | {_START, _END}))


def vocabulary_size(preset: TextPreset) -> int:
    """Count the rows of the token table.

    Args:
        preset: The text tower.

    Returns:
        49408, or with a word list the number of its tokens and one more for padding.
    """
    return _FULL_VOCABULARY if preset.words is None else 1 + len(_known_tokens(preset.words))


class Tokenizer:
    """CLIP's byte-pair tokenizer for a text tower.

    Texts are lower-cased and cleaned as by CLIP's own; start and end token are added. Nothing is truncated.

    Attributes:
        context_length: Greatest number of tokens of a text.
        rows: Byte-pair id -> row of the token table, of a preset with a word list; None: ids are rows.
        reads_unknown: Whether words outside the word list are read as noise, each token as noise of its own
            (see `CLIP.encode_text`), in place of an error: for runs that are to show that they run. Set it by
            `read_any_words`.
    """

    def __init__(self, preset: TextPreset) -> None:
        self.context_length = preset.context_length
        self.rows: dict[int, int] | None = None
        self.reads_unknown = False
        self._words: tuple[str, ...] = ()
        if preset.words is not None:
            self.rows = {token: row for row, token in enumerate(_known_tokens(preset.words), start=1)}
            self._words = _known_words(preset.words)

    def length(self, text: str) -> int:
        """Return the number of tokens of a text, start and end included.

        Args:
            text: Any text, however long.

        Returns:
            The number of tokens before cutting; CLIP reads the first 77.
        """
        return len(_ids(text))

    def pieces(self, text: str) -> tuple[str, ...]:
        """Return a text as it is cut into tokens, without start and end.

        Args:
            text: Any text.

        Returns:
            The tokens in lower case; parts of a character that takes several are shown as U+FFFD.
        """
        return tuple(_byte_pairs().decode([token]).strip() for token in _encode(text))

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Encode texts.

        Args:
            texts: N texts.

        Returns:
            Token ids (n, context_length) int64, zero-padded at the end; -1 - ID stands for a
            byte-pair ID outside the word list.

        Raises:
            VocabularyError: A text is longer than the context length, or the preset has a word list and the
                text a word outside of it that is not read as noise.
        """
        table = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in zip(table, texts, strict=True):
            ids = _ids(text)
            if len(ids) > self.context_length:
                raise VocabularyError(
                    f"the text encoder reads at most {self.context_length} tokens; {shortened(text)!r} has "
                    f"{len(ids)}: shorten the class name or the template"
                )
            if self.rows is not None:
                unknown = () if self.reads_unknown else self.unknown_words(text)
                if unknown:
                    raise VocabularyError(self._refusal(unknown, text))
                ids = [self.rows.get(token, -1 - token) for token in ids]
            row[: len(ids)] = torch.tensor(ids)
        return table

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Return the words of a text that the text encoder never saw, each once.

        Args:
            text: Any text.

        Returns:
            The words in their order; () for a preset without a word list, which knows every token.
        """
        if (rows := self.rows) is None:
            return ()
        words = [word for word in text.split() if any(token not in rows for token in _encode(word))]
        if not words and any(token not in rows for token in _encode(text)):
            words = [text]
        return tuple(dict.fromkeys(words))

    def near_words(self, word: str) -> tuple[str, ...]:
        """Return the known words that are spelled most like a word.

        Args:
            word: Any word.

        Returns:
            At most three, the nearest first; () if none is near.
        """
        words = [each for each in self._words if len(each) > 2]
        return tuple(difflib.get_close_matches(word.lower(), words, n=3, cutoff=0.6))

    def _refusal(self, unknown: Sequence[str], text: str) -> str:
        near = dict.fromkeys(each for word in unknown for each in self.near_words(word))
        spelled = f" (near in spelling: {', '.join(near)})" if near else ""
        words = ", ".join(repr(shortened(word)) for word in unknown)
        return (
            f"the tiny text encoder never saw {words} of {shortened(text)!r} in training{spelled}; use the "
            "words of rskt_seg/encoders/tiny_words.txt, or a full model"
        )


def read_any_words(clip: CLIP, tokenizer: Tokenizer) -> None:
    """Make a small text tower read words that it never saw, as noise; one that knows all tokens stays.

    Args:
        clip: The CLIP of the text tower; changed in place.
        tokenizer: Its tokenizer; changed in place.
    """
    clip.reads_unknown = tokenizer.reads_unknown = tokenizer.rows is not None


def cut_padding(tokens: Tensor) -> Tensor:
    """Return the columns up to the end of the longest text, all that a text tower has to compute.

    Args:
        tokens: Token ids (n, context_length) of a `Tokenizer`, on the CPU: their length is read.

    Returns:
        (n, longest) int64.
    """
    return tokens[:, : int(tokens.argmax(dim=1).max()) + 1]


def build_tokenizer(preset: TextPreset) -> Tokenizer:
    """Return the tokenizer of a text tower.

    Args:
        preset: The text tower.

    Returns:
        A tokenizer whose ids are rows of the token table of that tower.
    """
    return Tokenizer(preset)


def _ids(text: str) -> list[int]:
    return [_START, *_encode(text), _END]


def expand_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Replace the names of open_clip's template sets by their templates.

    Args:
        templates: Prompt templates with one `{}` each, or names: "imagenet" for the set of 80,
            "imagenet_select" for the set of 7.

    Returns:
        The templates, one `{}` each.

    Raises:
        ConfigError: `templates` is a plain string or empty, or an entry is neither a template nor a name.
    """
    if isinstance(templates, str) or not templates:
        raise ConfigError(f"templates must be a non-empty list of strings; found {templates!r}")
    expanded: list[str] = []
    for template in templates:
        if template in _TEMPLATE_SETS:
            sets = open_clip_module("zero_shot_metadata")
            expanded += [make("{}") for make in getattr(sets, _TEMPLATE_SETS[template])]
        elif template.count("{}") == 1:
            expanded.append(template)
        else:
            raise ConfigError(
                f"each prompt template needs exactly one {{}}, or must be one of "
                f"{', '.join(_TEMPLATE_SETS)}; found {template!r}"
            )
    return tuple(expanded)


def first_names(vocabulary: Sequence[str]) -> tuple[str, ...]:
    """Return the name by which each class is encoded.

    Args:
        vocabulary: Class names, each with synonyms after ", ".

    Returns:
        Of `"a, b"` the name `a`, as published.

    Raises:
        VocabularyError: The list cannot be used (see `check_names`), or two classes have the same first name.
    """
    return check_names([name.split(", ")[0] for name in check_names(vocabulary)])


def prompts(names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Return every name in every template.

    Args:
        names: T class names.
        templates: P templates with one `{}` each.

    Returns:
        T * P prompts, grouped by class.
    """
    return [template.replace("{}", name) for name in names for template in templates]


class TextBank:
    """Cache of the text embeddings of vocabularies, valid while nothing they depend on has changed.

    An entry is keyed by the class names, by the address and version of every parameter of the text tower, and
    by the precision in force, so that it is not found again after an optimiser step, after loading a
    checkpoint, or on another device. PyTorch does not count writes through `parameter.data` as new versions:
    call `clear` after them. Nothing is kept while the text tower is being trained.

    Attributes:
        tokenizer: Tokenizer of the text tower.
        templates: P prompt templates, one `{}` each.
        files: Where embeddings are found and kept beyond this process, with the same bits; None: nowhere.
        held: Names and embeddings that are constants of a graph that is being traced; None: there are none.
    """

    def __init__(
        self, tokenizer: Tokenizer, templates: Sequence[str], files: TextFiles | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.templates = tuple(templates)
        self.files = files
        self._entries: dict[_Key, Tensor] = {}
        self.held: tuple[tuple[str, ...], Tensor] | None = None
        self._encoder: tuple[tuple[tuple[int, int], ...], str] | None = None

    def emptied(self) -> "TextBank":
        """Return a bank with the same prompts and files, and nothing in it, for another form of the model."""
        return TextBank(self.tokenizer, self.templates, self.files)

    def __call__(self, clip: CLIP, vocabulary: Sequence[str]) -> Tensor:
        """Return the embeddings of a vocabulary, computed or from the cache.

        Args:
            clip: Model whose text tower encodes the prompts.
            vocabulary: T class names.

        Returns:
            Embeddings (T, P, E), each of unit length.

        Raises:
            VocabularyError: The names cannot be used (see `first_names`), or a prompt cannot be encoded.
        """
        if self.held is not None and self.held[0] == tuple(vocabulary):
            return self.held[1]
        names, parameters = first_names(vocabulary), clip.text_parameters()
        learning = torch.is_grad_enabled() and any(p.requires_grad for p in parameters)
        if learning or any(p.is_inference() for p in parameters):
            return self._encode(clip, names)
        device = parameters[0].device.type
        # Not every device has it: "meta" has none.
        enabled = is_autocast_available(device) and torch.is_autocast_enabled(device)
        autocast = torch.get_autocast_dtype(device) if enabled else None
        # Whatever decides which tensor an encoding gives.
        context = (device, torch.is_inference_mode_enabled(), autocast)
        key = (names, context, tuple((p.data_ptr(), p._version) for p in parameters))
        if key not in self._entries:
            while len(self._entries) >= _CACHED_VOCABULARIES:
                self._entries.pop(next(iter(self._entries)))
            self._entries[key] = self._from_files(clip, key)
        return self._entries[key]

    def clear(self) -> None:
        """Remove every entry; files stay."""
        self._entries.clear()
        self._encoder = None

    def _from_files(self, clip: CLIP, key: _Key) -> Tensor:
        names, (_, _, autocast), weights = key
        device = clip.text_projection.device
        if self.files is None or device.type == "meta":
            return self._encode(clip, names)
        if self._encoder is None or self._encoder[0] != weights:
            self._encoder = (weights, encoder_digest(clip))  # costs as much as a dozen prompts
        tokens = self.tokenizer(prompts(names, self.templates))
        context = computing_context(device, autocast)
        query = TextQuery(self._encoder[1], names, self.templates, tokens, context)
        found = self.files.find(query, clip.text_projection.shape[1])
        if found is None:
            found = self._encode(clip, names)
            self.files.keep(query, found)
        return found.to(device)

    def _encode(self, clip: CLIP, names: tuple[str, ...]) -> Tensor:
        tokens = cut_padding(self.tokenizer(prompts(names, self.templates)))
        parts = tokens.to(clip.text_projection.device).split(_PROMPTS)
        encoded = torch.cat([clip.encode_text(part) for part in parts])  # (T * P, E)
        embeddings = F.normalize(encoded, dim=-1)
        return embeddings.unflatten(0, (len(names), len(self.templates)))


class TextTower(NamedTuple):
    """The part of a model that encodes class names.

    Attributes:
        clip: The CLIP whose text tower it is.
        bank: Its prompts and embeddings.
    """

    clip: CLIP
    bank: TextBank

    @classmethod
    def of(cls, model: Any) -> "TextTower":
        """Return the text tower of a model.

        Args:
            model: One with the attributes `clip` and `text_bank`.

        Returns:
            Its text tower.
        """
        return cls(model.clip, model.text_bank)
