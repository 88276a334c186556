"""CLIP's byte-pair encoding of texts, with the vocabulary that open_clip carries.

Importing open_clip takes twice as long as importing torch, of which a tokenizer needs nothing but this file.
"""

import gzip
import html
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import ftfy
import regex

START, END = 49406, 49407
"""Ids of the start and the end of a text."""
_MARKS = {"<start_of_text>": START, "<end_of_text>": END}
_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 48894
"""Merges of the file that CLIP uses: its 49,408 ids are these, every byte twice, start and end."""
_WORD_END = "</w>"
_WORDS = regex.compile(
    r"<start_of_text>|<end_of_text>|'(?:s|t|re|ve|m|ll|d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+", regex.IGNORECASE
)


class BytePairEncoder:
    """Text to ids: words are bytes at first, of which neighbours are merged in the order of the vocabulary.

    Args:
        merges: The pairs of symbols, most frequent first. A symbol is written in letters that stand for
            bytes, and `</w>` behind the last one of a word.
    """

    def __init__(self, merges: list[tuple[str, str]]) -> None:
        self._letters = _byte_letters()
        symbols = list(self._letters.values())
        symbols += [letter + _WORD_END for letter in symbols]
        symbols += [first + second for first, second in merges]
        self._ids = {symbol: number for number, symbol in enumerate(symbols)}
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, which is repaired, unescaped and lower-cased as by CLIP's own code.

        Args:
            text: Any text.

        Returns:
            Its ids, without start and end.
        """
        clean = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()
        ids: list[int] = []
        for word in _WORDS.findall(clean):
            if word in _MARKS:
                ids.append(_MARKS[word])
            else:
                letters = [self._letters[byte] for byte in word.encode()]
                symbols = self._merge([*letters[:-1], letters[-1] + _WORD_END])
                ids += [self._ids[symbol] for symbol in symbols]
        return ids

    def _merge(self, symbols: list[str]) -> list[str]:
        """Merge neighbours until no two of them are a pair; always the most frequent pair, wherever it is."""
        while known := [pair for pair in pairwise(symbols) if pair in self._ranks]:
            best = min(known, key=self._ranks.__getitem__)
            merged: list[str] = []
            for symbol in symbols:
                if merged and (merged[-1], symbol) == best:
                    merged[-1] += symbol
                else:
                    merged.append(symbol)
            symbols = merged
        return symbols


def load_byte_pair_encoder() -> BytePairEncoder:
    """Read the vocabulary of the installed open_clip, without importing it.

    Returns:
        The encoder.

    Raises:
        ModuleNotFoundError: open_clip is not installed.
    """
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("open_clip is not installed; install open_clip_torch", name="open_clip")
    with gzip.open(Path(spec.origin).with_name(_VOCABULARY), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : _MERGES + 1]
    pairs = (line.split() for line in lines)
    return BytePairEncoder([(first, second) for first, second in pairs])


def _byte_letters() -> dict[int, str]:
    """Return the letter that stands for each byte in the vocabulary, in the order of their ids.

    Bytes that Latin-1 shows stand for themselves; the others follow, as the letters from 256 on.
    """
    shown = [byte for byte in range(256) if 33 <= byte <= 126 or (byte >= 161 and byte != 173)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}
