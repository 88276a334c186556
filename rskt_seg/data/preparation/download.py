"""Official downloads as one list of files: unpacked, zipped, zipped twice or split into volumes.

Only archives inside archives and joined volumes are written to disk, to a temporary folder and under
generated names: no path stated by an archive is ever written to. All other files are read in place, by any
number of threads.
"""

import glob
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tqdm import tqdm

from rskt_seg.data.preparation.limits import DEFAULT_LIMITS, Limits, Tally
from rskt_seg.data.preparation.scratch import scratch_folder
from rskt_seg.data.preparation.zips import READ_ERRORS, count_entries, read_chunks, refuse_unsafe
from rskt_seg.errors import DatasetError
from rskt_seg.reading import file_name

_FIRST_VOLUME = re.compile(r"\.zip\.0*1$", re.IGNORECASE)
_LATER_VOLUME = re.compile(r"\.zip\.\d+$|\.z\d\d$", re.IGNORECASE)
_OTHER_ARCHIVE = re.compile(r"\.(rar|7z|tar|tgz|tar\.\w+)$", re.IGNORECASE)
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
        if self.inner:
            return self.stamp
        checksum = 0
        for chunk in _chunks([self.file]):
            checksum = zlib.crc32(chunk, checksum)
        return checksum


class _Archive(NamedTuple):
    """A zip archive that can be read."""

    path: str  # through folders and archives
    file: Path  # on disk
    depth: int  # archives around its files


class _Packed(NamedTuple):
    """An archive that must be written to the temporary folder before it can be read."""

    path: str
    size: int
    depth: int
    content: Callable[[], Iterator[bytes]]


class Download:
    """The files below one or several sources: folders, zip archives, or both.

    Enter it as a context manager; archives stay open and temporary files exist until it exits.

    Args:
        sources: Folders and zip archives (or the first volumes `.zip.001` of split ones).
        skip: Regular expression, in any case, of paths (files or archives) to pass over.
        limits: What the sources may ask for.

    Attributes:
        members: The files in the order of their paths, once the context is entered.
        unread: Paths of archives of other kinds (rar, 7z, tar), which are not read.

    Raises:
        DatasetError: On entering, if a source is missing or is neither a folder nor a zip archive; if an
            archive is damaged, encrypted or lacks volumes; if it contains a link or a path outside itself;
            if folders contain themselves through links; if there is more than `limits` allow, or no room for
            archives in archives.
    """

    def __init__(
        self, sources: Sequence[str | os.PathLike[str]], skip: str = "", limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._skip = re.compile(skip, re.IGNORECASE) if skip else None
        self._sources = [Path(source) for source in sources]
        self._tally = Tally(limits)
        self._archives: dict[Path, zipfile.ZipFile] = {}
        self._stack = ExitStack()
        self._scratch: Path | None = None
        self.members: list[Member] = []
        self.unread: list[str] = []

    def __enter__(self) -> "Download":
        try:
            ready, packed = self._list_sources()
            while ready or packed:
                # All archives of a level are held to the limits before any of the next is unpacked.
                for archive in ready:
                    packed += self._list_archive(archive)
                ready, packed = self._unpack(packed), []
        except BaseException:
            self._stack.close()
            raise
        self.members.sort(key=lambda member: member.path)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def require_memory(self, members: Iterable[Member]) -> None:
        """Raise unless each of some files can be read into memory.

        Args:
            members: Files that the download lists.

        Raises:
            DatasetError: One is above `Limits.file_gb`.
        """
        self._tally.require_memory({member.path: member.size for member in members})

    def read(self, member: Member) -> bytes:
        """Return the content of a file.

        Args:
            member: One of the files that the download lists.

        Returns:
            The content, decompressed.

        Raises:
            DatasetError: If the file is damaged or compressed by a method that Python does not know, or does
                not fit into memory.
        """
        try:
            if not member.inner:
                return member.file.read_bytes()
            archive = self._archives[member.file]
            return b"".join(read_chunks(archive, archive.getinfo(member.inner)))
        except NotImplementedError as error:
            raise DatasetError(
                f"{member.path}: {error}; unpack its archive with 7z and pass the folder"
            ) from error
        except MemoryError as error:
            raise DatasetError(
                f"{member.path} ({member.size} bytes) does not fit into memory; use fewer --workers"
            ) from error
        except READ_ERRORS as error:
            raise DatasetError(f"{member.path} cannot be read, download it again: {error}") from error

    def _list_sources(self) -> tuple[list[_Archive], list[_Packed]]:
        """List the files of all sources; return the archives among them, and those to be joined."""
        ready: list[_Archive] = []
        packed: list[_Packed] = []
        for source in self._sources:
            for file, path in self._walk(source):
                if self._is_skipped(path):
                    continue
                if _FIRST_VOLUME.search(path):
                    packed.append(_join_volumes(file, _FIRST_VOLUME.sub(".zip", path)))
                elif _LATER_VOLUME.search(path):
                    _require_first_volume(file)
                elif path.lower().endswith(".zip"):
                    ready.append(_Archive(path, file, 1))
                elif _OTHER_ARCHIVE.search(path):
                    self.unread.append(path)
                else:
                    self.members.append(_file_on_disk(file, path))
        return ready, packed

    def _walk(self, source: Path) -> Iterator[tuple[Path, str]]:
        """Yield each file of a source and its path with `/`, starting with the name of the source."""
        if not source.exists():
            raise DatasetError(f"{source} does not exist; pass the folder with the downloads, or an archive")
        if source.is_dir():
            for folder, names in _walk(source, self._tally):
                for name in names:
                    file = folder / name
                    yield file, f"{source.resolve().name}/{file.relative_to(source).as_posix()}"
        elif source.suffix.lower() == ".zip" or _FIRST_VOLUME.search(source.name):
            yield source, source.name
        else:
            raise DatasetError(f"a folder or a zip archive was expected as source, found {source}")

    def _list_archive(self, archive: _Archive) -> list[_Packed]:
        """List the files of an archive; return the archives among them."""
        self._tally.limits.require("archive_depth", archive.depth, f"{archive.path} lies in archives:")
        packed: list[_Packed] = []
        opened = self._open_archive(archive)
        infos: list[tuple[zipfile.ZipInfo, str]] = []
        for info in opened.infolist():
            # Old Windows tools write backslashes, which zipfile keeps.
            inside = file_name(f"{archive.path}/{info.filename}".replace("\\", "/"))
            refuse_unsafe(info, archive.path)
            if not info.is_dir() and not self._is_skipped(inside):
                infos.append((info, inside))
        self._tally.add_archive(archive.path, archive.file.stat().st_size, [info for info, _ in infos])
        for info, inside in infos:
            if inside.lower().endswith(".zip"):
                content = partial(read_chunks, opened, info)
                packed.append(_Packed(inside, info.file_size, archive.depth + 1, content))
            elif _OTHER_ARCHIVE.search(inside) or _LATER_VOLUME.search(inside):
                self.unread.append(inside)
            else:
                self.members.append(Member(inside, info.file_size, info.CRC, archive.file, info.filename))
        return packed

    def _open_archive(self, archive: _Archive) -> zipfile.ZipFile:
        path, file = archive.path, archive.file
        if file in self._archives:
            return self._archives[file]
        if any(file.parent.glob(f"{glob.escape(file.stem)}.[zZ]01")):
            raise DatasetError(
                f"{path} is one of several volumes (.z01 ...); join them first: "
                f"zip -s 0 {file.name} --out joined.zip"
            )
        try:
            self._tally.add_files(count_entries(file, self._tally.limits.files), path)
            self._archives[file] = self._stack.enter_context(zipfile.ZipFile(file))
        except DatasetError:
            raise
        except (*READ_ERRORS, NotImplementedError, MemoryError) as error:
            reason = str(error) or type(error).__name__
            raise DatasetError(
                f"{path} is not a complete zip archive, download it again: {reason}"
            ) from error
        return self._archives[file]

    def _unpack(self, packed: Sequence[_Packed]) -> list[_Archive]:
        """Write archives to the temporary folder; raise before that if there is no room for all of them."""
        if not packed:
            return []
        if self._scratch is None:
            self._scratch = self._stack.enter_context(scratch_folder())
        size, free = sum(each.size for each in packed), shutil.disk_usage(self._scratch).free
        if size > free:
            raise DatasetError(
                f"{packed[0].path}: this and {len(packed) - 1} other archives to unpack need "
                f"{size / 1e9:.1f} GB in {self._scratch.parent}, where {free / 1e9:.1f} GB are free; "
                "set TMPDIR to another folder, or unpack them yourself and pass the folder"
            )
        return [self._write(each, self._scratch) for each in packed]

    def _write(self, packed: _Packed, scratch: Path) -> _Archive:
        unpacked = scratch / f"{len(list(scratch.iterdir()))}.zip"
        bar = tqdm(total=packed.size, desc=f"unpacking {packed.path}", unit="B", unit_scale=True, delay=2)
        try:
            with open(unpacked, "wb") as out, bar:
                for chunk in packed.content():
                    out.write(chunk)
                    bar.update(len(chunk))
        except (*READ_ERRORS, NotImplementedError) as error:
            raise DatasetError(
                f"{packed.path} cannot be unpacked to {scratch} (set TMPDIR to use another folder): {error}"
            ) from error
        return _Archive(packed.path, unpacked, packed.depth)

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


def _file_on_disk(file: Path, path: str) -> Member:
    try:
        info = file.stat()
    except OSError as error:
        raise DatasetError(f"{file} cannot be read, is it a broken link? {error}") from error
    return Member(path, info.st_size, info.st_mtime_ns, file)


def _walk(source: Path, tally: Tally) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder below a source, itself first, with the sorted names of its files; links are followed.

    Raises:
        DatasetError: If a folder cannot be read or contains itself through a link, or there are more files or
            levels than allowed.
    """
    above: dict[Path, frozenset[tuple[int, int]]] = {source.parent: frozenset()}
    for name, folders, names in os.walk(source, followlinks=True, onerror=_refuse_unreadable):
        folder = Path(name)
        info = folder.stat()
        identity = info.st_dev, info.st_ino
        if identity in above[folder.parent]:
            raise DatasetError(
                f"{folder} is a link to a folder that contains it ({folder.resolve()}); remove the link"
            )
        above[folder] = above[folder.parent] | {identity}
        tally.limits.require(
            "folder_depth", len(folder.relative_to(source).parts), f"{folder} lies in folders:"
        )
        tally.add_files(len(names) + 1, name)
        folders.sort()
        yield folder, sorted(names)


def _refuse_unreadable(error: OSError) -> None:
    raise DatasetError(f"{error.filename} cannot be read: {error.strerror}") from error


def _join_volumes(first: Path, path: str) -> _Packed:
    """Find the volumes `.zip.001`, `.zip.002` ... of an archive."""
    stem = re.sub(r"\d+$", "", first.name)
    volumes = sorted(
        (int(file.name[len(stem) :]), file)
        for file in first.parent.iterdir()
        if re.fullmatch(re.escape(stem) + r"\d+", file.name)
    )
    numbers = [number for number, _ in volumes]
    if numbers != list(range(1, len(numbers) + 1)):
        raise DatasetError(f"{first}: volumes 1..{numbers[-1]} are needed, found {numbers}")
    files = [file for _, file in volumes]
    return _Packed(path, sum(file.stat().st_size for file in files), 1, partial(_chunks, files))


def _chunks(files: Sequence[Path]) -> Iterator[bytes]:
    for name in files:
        with open(name, "rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
