"""Official downloads as one list of files: unpacked, zipped, zipped twice or split into volumes.

Only archives inside archives and joined volumes are written to disk, to a temporary folder and under
generated names: no path stated by an archive is ever written to. All other files are read in place, by any
number of threads.
"""

import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from rskt_seg.errors import DatasetError

_FIRST_VOLUME = re.compile(r"\.zip\.0*1$", re.IGNORECASE)
_LATER_VOLUME = re.compile(r"\.zip\.\d+$|\.z\d\d$", re.IGNORECASE)
_OTHER_ARCHIVE = re.compile(r"\.(rar|7z|tar|tgz|tar\.\w+)$", re.IGNORECASE)
_READ_ERRORS = (OSError, zipfile.BadZipFile, EOFError, RuntimeError, zlib.error)
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Member:
    """A file of a download, on disk or inside a zip archive.

    Attributes:
        path: Its path with `/`, through folders and archives, starting with the name of the source.
        size: Number of bytes.
        stamp: Changes with the content: the CRC-32 inside an archive, the modification time on disk.
        file: The file on disk, or the archive that contains it.
        inner: Its name in that archive; empty for a file on disk.
    """

    path: str
    size: int
    stamp: int
    file: Path
    inner: str = ""

    def checksum(self) -> int:
        """Return the CRC-32 of the content."""
        return self.stamp if self.inner else zlib.crc32(self.file.read_bytes())


class Download:
    """The files below one or several sources: folders, zip archives, or both.

    Enter it as a context manager; archives stay open and temporary files exist until it exits.

    Args:
        sources: Folders and zip archives (or the first volumes `.zip.001` of split ones).
        skip: Regular expression, in any case, of paths (files or archives) to pass over.

    Attributes:
        members: The files in the order of their paths, once the context is entered.
        unread: Paths of archives of other kinds (rar, 7z, tar), which are not read.

    Raises:
        DatasetError: On entering, if a source is missing or is neither a folder nor a zip archive; if an
            archive is damaged, encrypted or lacks volumes; if it contains a link or a path outside itself.
    """

    def __init__(self, sources: Sequence[str | os.PathLike[str]], skip: str = "") -> None:
        self._skip = re.compile(skip, re.IGNORECASE) if skip else None
        self._sources = [Path(source) for source in sources]
        self._archives: dict[Path, zipfile.ZipFile] = {}
        self._stack = ExitStack()
        self._scratch: Path | None = None
        self.members: list[Member] = []
        self.unread: list[str] = []

    def __enter__(self) -> "Download":
        try:
            found = [member for source in self._sources for member in self._list_source(source)]
        except BaseException:
            self._stack.close()
            raise
        self.members = sorted(found, key=lambda member: member.path)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, member: Member) -> bytes:
        """Return the content of a file.

        Args:
            member: One of the files that the download lists.

        Returns:
            The content, decompressed.

        Raises:
            DatasetError: If the file is damaged or compressed by a method that Python does not know.
        """
        try:
            if not member.inner:
                return member.file.read_bytes()
            return self._archives[member.file].read(member.inner)
        except NotImplementedError as error:
            raise DatasetError(
                f"{member.path}: {error}; unpack its archive with 7z and pass the folder"
            ) from error
        except _READ_ERRORS as error:
            raise DatasetError(f"{member.path} cannot be read, download it again: {error}") from error

    def _list_source(self, source: Path) -> Iterator[Member]:
        if not source.exists():
            raise DatasetError(f"{source} does not exist; pass the folder with the downloads, or an archive")
        if source.is_dir():
            for folder, folders, names in os.walk(source, followlinks=True):
                folders.sort()
                for name in sorted(names):
                    file = Path(folder, name)
                    path = f"{source.resolve().name}/{file.relative_to(source).as_posix()}"
                    yield from self._list_file(file, path)
        elif source.suffix.lower() == ".zip" or _FIRST_VOLUME.search(source.name):
            yield from self._list_file(source, source.name)
        else:
            raise DatasetError(f"a folder or a zip archive was expected as source, found {source}")

    def _list_file(self, file: Path, path: str) -> Iterator[Member]:
        """Yield a file on disk, or the files in it if it is an archive."""
        if self._is_skipped(path):
            return
        if _FIRST_VOLUME.search(path):
            yield from self._list_archive(self._join_volumes(file), _FIRST_VOLUME.sub(".zip", path))
        elif _LATER_VOLUME.search(path):
            _require_first_volume(file)
        elif path.lower().endswith(".zip"):
            yield from self._list_archive(file, path)
        elif _OTHER_ARCHIVE.search(path):
            self.unread.append(path)
        else:
            try:
                info = file.stat()
            except OSError as error:
                raise DatasetError(f"{file} cannot be read, is it a broken link? {error}") from error
            yield Member(path, info.st_size, info.st_mtime_ns, file)

    def _list_archive(self, file: Path, path: str) -> Iterator[Member]:
        for info in self._open_archive(file, path).infolist():
            # Old Windows tools write backslashes, which zipfile keeps.
            inside = f"{path}/{info.filename}".replace("\\", "/")
            _refuse_unsafe(info, path)
            if info.is_dir() or self._is_skipped(inside):
                continue
            if inside.lower().endswith(".zip"):
                yield from self._list_archive(self._extract(file, info, inside), inside)
            elif _OTHER_ARCHIVE.search(inside) or _LATER_VOLUME.search(inside):
                self.unread.append(inside)
            else:
                yield Member(inside, info.file_size, info.CRC, file, info.filename)

    def _open_archive(self, file: Path, path: str) -> zipfile.ZipFile:
        if file not in self._archives:
            if any(file.parent.glob(f"{file.stem}.[zZ]01")):
                raise DatasetError(
                    f"{path} is one of several volumes (.z01 ...); join them first: "
                    f"zip -s 0 {file.name} --out joined.zip"
                )
            try:
                self._archives[file] = self._stack.enter_context(zipfile.ZipFile(file))
            except (zipfile.BadZipFile, OSError) as error:
                raise DatasetError(
                    f"{path} is not a complete zip archive, download it again: {error}"
                ) from error
        return self._archives[file]

    def _join_volumes(self, first: Path) -> Path:
        """Concatenate the volumes `.zip.001`, `.zip.002` ... into a temporary file."""
        stem = re.sub(r"\d+$", "", first.name)
        volumes = sorted(
            (int(file.name[len(stem) :]), file)
            for file in first.parent.iterdir()
            if re.fullmatch(re.escape(stem) + r"\d+", file.name)
        )
        numbers = [number for number, _ in volumes]
        if numbers != list(range(1, len(numbers) + 1)):
            raise DatasetError(f"{first}: volumes 1..{numbers[-1]} are needed, found {numbers}")
        joined = self._new_scratch_file()
        with open(joined, "wb") as out:
            for _, file in tqdm(volumes, f"joining {stem}*", unit="volume", delay=2):
                with open(file, "rb") as volume:
                    shutil.copyfileobj(volume, out, _CHUNK)
        return joined

    def _extract(self, file: Path, info: zipfile.ZipInfo, inside: str) -> Path:
        """Extract an archive that lies inside the archive `file` to a temporary file."""
        extracted = self._new_scratch_file()
        bar = tqdm(total=info.file_size, desc=f"unpacking {inside}", unit="B", unit_scale=True, delay=2)
        try:
            with self._archives[file].open(info) as source, open(extracted, "wb") as out, bar:
                while chunk := source.read(_CHUNK):
                    out.write(chunk)
                    bar.update(len(chunk))
        except (*_READ_ERRORS, NotImplementedError) as error:
            raise DatasetError(
                f"{inside} cannot be unpacked to {extracted.parent} (set TMPDIR to use another folder): "
                f"{error}"
            ) from error
        return extracted

    def _new_scratch_file(self) -> Path:
        if self._scratch is None:
            self._scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rskt_seg_")))
        return self._scratch / f"{len(list(self._scratch.iterdir()))}.zip"

    def _is_skipped(self, path: str) -> bool:
        hidden = any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(path).parts[1:])
        return hidden or (self._skip is not None and self._skip.search(path) is not None)


def _require_first_volume(volume: Path) -> None:
    """Raise `DatasetError` unless the first volume, with which `volume` is read, lies beside it."""
    names = [
        file.name
        for file in volume.parent.iterdir()
        if _FIRST_VOLUME.search(file.name) or file.suffix.lower() == ".zip"
    ]
    if not any(volume.name.startswith(Path(name).stem) for name in names):
        raise DatasetError(
            f"{volume} is a later volume of an archive, but its first volume is not beside it; download all "
            "volumes into one folder"
        )


def _refuse_unsafe(info: zipfile.ZipInfo, path: str) -> None:
    """Raise `DatasetError` for a member that is a link, leads outside of its archive, or is encrypted."""
    name = info.filename
    outside = name.startswith(("/", "\\")) or ":" in name.split("/")[0] or ".." in re.split(r"[/\\]", name)
    link = stat.S_ISLNK(info.external_attr >> 16)
    if outside or link:
        what = "a link" if link else "a path that leads outside"
        raise DatasetError(
            f"{path} contains {what}, {name!r}, as no official archive does; nothing was extracted. Download "
            "it again from its owner"
        )
    if info.flag_bits & 1:
        raise DatasetError(f"{path}: {name} is encrypted; unpack the archive with its password first")
