"""What a download may ask of the machine: limits that are checked before anything is written.

An archive of a few kilobytes can hold terabytes, millions of files, or archives in archives without end.
"""

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from rskt_seg.errors import DatasetError

_GB = 10**9


@dataclass(frozen=True)
class Limits:
    """The most that a download may ask for; official ones need far less.

    Attributes:
        unpacked_gb: All that its archives hold, unpacked, archives in archives included (GB, 10^9 bytes).
        file_gb: One image or label, which is read into memory (GB).
        ratio: Bytes of an archive or of a file in it, unpacked, for each byte packed. Deflate cannot exceed
            1032, so that this stops only other methods, overlapping files and forged sizes.
        files: Files and folders.
        archive_depth: Archives around a file.
        folder_depth: Folders around a file in a source or an archive.

    Raises:
        DatasetError: One of them is not above 0.
    """

    unpacked_gb: float = 500
    file_gb: float = 2
    ratio: float = 1100
    files: float = 1_000_000
    archive_depth: float = 5
    folder_depth: float = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            if not (value := getattr(self, field.name)) > 0:
                raise DatasetError(f"the limit {field.name} must be above 0; found {value}")

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Limits":
        """Return the limits with those replaced that a command line names.

        Args:
            texts: Texts NAME=NUMBER, such as "unpacked_gb=800".

        Returns:
            The limits.

        Raises:
            DatasetError: A text has another form, no such limit, or a number that is not above 0.
        """
        names = [field.name for field in fields(cls)]
        values: dict[str, float] = {}
        for text in texts:
            name, _, number = text.partition("=")
            try:
                values[name] = float(number)
            except ValueError:
                name = ""
            if name not in names:
                raise DatasetError(f"--limit takes NAME=NUMBER with {', '.join(names)}; found {text!r}")
        return cls(**values)

    def require(self, name: str, found: float, what: str) -> None:
        """Raise unless a limit is kept.

        Args:
            name: The limit, a field of this class.
            found: What a download asks for, in the unit of the limit.
            what: Archive and file, and what they ask for, up to the verb.

        Raises:
            DatasetError: It is more than the limit.
        """
        limit = getattr(self, name)
        if found > limit:
            raise DatasetError(
                f"{what} {_number(found)}, limit {_number(limit)}; no official download needs more, and "
                "nothing is written. "
                f"Download it again from its owner or, if it is right, raise the limit: --limit {name}=NUMBER"
            )


DEFAULT_LIMITS = Limits()


class Tally:
    """What was found in a download so far, held to its limits.

    Args:
        limits: The limits.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._files = 0
        self._bytes = 0

    def add_files(self, count: int, where: str) -> None:
        """Count files and folders.

        Args:
            count: How many.
            where: The archive or folder that holds them.

        Raises:
            DatasetError: There are too many.
        """
        self._files += count
        self.limits.require("files", self._files, f"{where}: files and folders of the download up to here:")

    def add_archive(self, path: str, packed: int, infos: Sequence[zipfile.ZipInfo]) -> None:
        """Count what an archive states that it holds.

        Args:
            path: The archive, for messages.
            packed: Its size in bytes.
            infos: Its files and folders.

        Raises:
            DatasetError: A file expands too much or lies too deep, or all together are too much.
        """
        for info in infos:
            where = f"{path}: {info.filename!r}"
            ratio = info.file_size / max(info.compress_size, 1)
            self.limits.require("ratio", ratio, f"{where} expands by a factor of")
            depth = len([part for part in info.filename.replace("\\", "/").split("/") if part]) - 1
            self.limits.require("folder_depth", depth, f"{where} lies in folders:")
        total = sum(info.file_size for info in infos)
        self.limits.require("ratio", total / max(packed, 1), f"{path} expands by a factor of")
        self._bytes += total
        self.limits.require("unpacked_gb", self._bytes / _GB, f"{path}: GB of the download, unpacked:")

    def require_memory(self, sizes: Mapping[str, int]) -> None:
        """Raise unless files can be read into memory.

        Args:
            sizes: Path -> size in bytes.

        Raises:
            DatasetError: One is too large.
        """
        for path, size in sizes.items():
            self.limits.require("file_gb", size / _GB, f"{path}: GB of this file, which is read as a whole:")


def _number(value: float) -> str:
    return f"{value:,.6f}".rstrip("0").rstrip(".")
