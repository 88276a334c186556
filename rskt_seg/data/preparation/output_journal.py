"""What runs have written for which source, so that a later run continues and deletes no other file.

The first line names the set. A line follows when a source is begun, with the files that will be written for
it, and another when it is done.
"""

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TextIO, TypeVar

from rskt_seg.errors import DatasetError


class Result(Protocol):
    """What became of a source.

    Attributes:
        outputs: The files written, relative to the root.
    """

    @property
    def outputs(self) -> tuple[str, ...]: ...

    def to_row(self) -> dict[str, Any]:
        """Return plain values for JSON, the fields of the key among them."""


R = TypeVar("R", bound=Result)
Key = tuple[str, ...]


@contextmanager
def locked_journal(path: Path) -> Iterator[TextIO]:
    """Open a journal to append to, or begin one; no other process can open it meanwhile.

    Args:
        path: The file; its folder is made.

    Yields:
        The open file.

    Raises:
        DatasetError: Another process has it open.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DatasetError(
                f"{path} is in use: another process prepares this set; wait until it ends"
            ) from error
        yield file


class OutputJournal(Generic[R]):
    """The lines of a journal, of earlier runs and of this one. `begin` and `add` may be called by any thread.

    Args:
        path: The journal.
        file: The same, from `locked_journal`.
        root: The folder that outputs are relative to.
        head: The first line: the set and the format.
        fields: The names of the fields that tell sources apart.
        from_row: Makes a result from the values that `Result.to_row` gave.

    Attributes:
        results: Source -> what became of it, of those that are done.
        outputs: Source -> the files that were or are being written for it, relative to the root.
    """

    def __init__(
        self,
        path: Path,
        file: TextIO,
        root: Path,
        head: dict[str, Any],
        fields: Sequence[str],
        from_row: Callable[[Mapping[str, Any]], R],
    ) -> None:
        self._path, self._file, self._root, self._head = path, file, root, head
        self._fields, self._from_row = tuple(fields), from_row
        self._lock = threading.Lock()
        self.results: dict[Key, R] = {}
        self.outputs: dict[Key, tuple[str, ...]] = {}

    def resume(self, belongs: Callable[[str], bool], overwrite: bool) -> None:
        """Read what earlier runs have written, or delete it.

        Args:
            belongs: Whether a folder, relative to the root, may be one of the set: no file elsewhere is
                touched.
            overwrite: Whether the files of earlier runs are deleted.

        Raises:
            DatasetError: The journal is damaged, of another set or format, or lists files elsewhere.
        """
        rows = self._read_rows()
        if rows and overwrite:
            self._replay(rows[1:], belongs)
            for output in (output for outputs in self.outputs.values() for output in outputs):
                (self._root / output).unlink(missing_ok=True)
            self.outputs.clear()
            self.results.clear()
            rows = []
        if not rows:
            self._file.truncate(0)
            self._append(self._head)
            return
        if rows[0] != self._head:
            raise DatasetError(
                f"{self._path}: a journal of {self._head} was expected, found {rows[0]}; choose another root"
            )
        self._replay(rows[1:], belongs)

    def is_complete(self, key: Key) -> bool:
        """Return whether a source is done and its files exist."""
        result = self.results.get(key)
        return result is not None and all((self._root / output).exists() for output in result.outputs)

    def begin(self, key: Key, outputs: tuple[str, ...]) -> None:
        """Record what will be written for a source; delete files of it that will not be written again.

        Args:
            key: The source.
            outputs: The files that will be written, relative to the root.

        Raises:
            DatasetError: If a file exists that no run has written.
        """
        with self._lock:
            earlier = set(self.outputs.get(key, ()))
            for output in set(outputs) - earlier:
                if (self._root / output).exists():
                    raise DatasetError(
                        f"{self._root / output} exists and was not written by an earlier run; nothing is "
                        "overwritten: move it away"
                    )
            for stale in earlier - set(outputs):
                (self._root / stale).unlink(missing_ok=True)
            self.outputs[key] = outputs
            self.results.pop(key, None)
            self._append({**dict(zip(self._fields, key, strict=True)), "begun": outputs})

    def add(self, key: Key, result: R) -> None:
        """Record a source that is done."""
        with self._lock:
            self.results[key] = result
            self._append(result.to_row())

    def refuse_foreign(self, folders: Sequence[str]) -> None:
        """Check that folders of the set contain nothing but what is recorded as done.

        Args:
            folders: Folders relative to the root; they need not exist.

        Raises:
            DatasetError: There are other files.
        """
        expected = {output for result in self.results.values() for output in result.outputs}
        for folder in folders:
            present = {f"{folder}/{p.name}" for p in (self._root / folder).glob("[!.]*")}
            if foreign := sorted(present - expected):
                raise DatasetError(
                    f"{self._root / folder} contains {len(foreign)} files that do not belong to this set, "
                    f"first of them {foreign[0]}; they would be trained on and scored: move them away"
                )

    def _read_rows(self) -> list[dict[str, Any]]:
        """Return the complete lines of the journal; a line that was cut off by a kill is removed."""
        content = self._path.read_bytes()
        if content and not content.endswith(b"\n"):
            content = content[: content.rfind(b"\n") + 1]
            os.truncate(self._path, len(content))
        try:
            return [json.loads(line) for line in content.splitlines()]
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{self._path} is damaged ({error}); choose another root") from error

    def _replay(self, rows: Sequence[Mapping[str, Any]], belongs: Callable[[str], bool]) -> None:
        """Take over the lines of earlier runs."""
        try:
            for row in rows:
                key = tuple(row[field] for field in self._fields)
                if "begun" in row:
                    self.outputs[key] = tuple(row["begun"])
                    self.results.pop(key, None)
                else:
                    self.results[key] = self._from_row(row)
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{self._path} cannot be read ({error!r}); choose another root") from error
        for output in (output for outputs in self.outputs.values() for output in outputs):
            if not belongs(output.rpartition("/")[0]):
                raise DatasetError(
                    f"{self._path} lists {output!r}, which is outside the folders of this set; choose "
                    "another root"
                )

    def _append(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
