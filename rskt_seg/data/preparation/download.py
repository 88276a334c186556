"""Official downloads as one list of files, whether they are unpacked, zipped, zipped again or cut in parts.

Nothing is extracted but archives inside archives, and those under names of our own: no path that an
archive states is ever written to. Files are read where they lie, by any number of threads.
"""

import logging
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

logger = logging.getLogger(__name__)

_VOLUME = re.compile(r"\.zip\.0*1$", re.IGNORECASE)
_LATER_VOLUME = re.compile(r"\.zip\.\d+$|\.z\d\d$", re.IGNORECASE)
_DAMAGED = (OSError, zipfile.BadZipFile, EOFError, RuntimeError, zlib.error)
_OTHER_ARCHIVE = re.compile(r"\.(rar|7z|tar|tgz|tar\.\w+)$", re.IGNORECASE)


@dataclass(frozen=True)
class Member:
    """One file of a download. `path`: its place with `/`, through folders and archives, from the name of
    the source on; `size` in bytes; `stamp` changes with the content (checksum in an archive, time of change
    on the disk); `file`: the file on the disk, `inner`: its name in that archive if any."""

    path: str
    size: int
    stamp: int
    file: Path
    inner: str = ""

    def checksum(self) -> int:
        """CRC-32 of the content."""
        return self.stamp if self.inner else zlib.crc32(self.file.read_bytes())


class Download:
    """The files below one or several sources: folders, zip archives, or both.

    To be used as a context; `members` are the files, in the order of their paths. Raises `DatasetError` for
    a source that is missing or no zip archive, and for an archive that cannot be read, is encrypted, lacks
    volumes or names a file outside itself. Archives of another kind are left in `unread`.
    """

    def __init__(self, sources: Sequence[str | os.PathLike], skip: str = "") -> None:
        """`skip`: regular expression of paths that are not looked at, archives included."""
        self._skip = re.compile(skip, re.IGNORECASE) if skip else None
        self._sources = [Path(source) for source in sources]
        self._archives: dict[Path, zipfile.ZipFile] = {}
        self._stack = ExitStack()
        self._scratch: Path | None = None
        self.members: list[Member] = []
        self.unread: list[str] = []

    def __enter__(self) -> "Download":
        try:
            found = [member for source in self._sources for member in self._in_source(source)]
        except BaseException:
            self._stack.close()
            raise
        self.members = sorted(found, key=lambda member: member.path)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, member: Member) -> bytes:
        """The content of a file. Raises `DatasetError` naming it where it is damaged."""
        try:
            if not member.inner:
                return member.file.read_bytes()
            return self._archives[member.file].read(member.inner)
        except NotImplementedError as error:
            raise DatasetError(
                f"{member.path}: {error}; unpack its archive with 7z, give the folder"
            ) from error
        except _DAMAGED as error:
            raise DatasetError(f"{member.path} cannot be read, download it again: {error}") from error

    def _in_source(self, source: Path) -> Iterator[Member]:
        if not source.exists():
            raise DatasetError(f"{source} does not exist; give the folder with the downloads, or an archive")
        if source.is_dir():
            for folder, folders, names in os.walk(source, followlinks=True):
                folders.sort()
                for name in sorted(names):
                    file = Path(folder, name)
                    yield from self._in_file(
                        file, f"{source.resolve().name}/{file.relative_to(source).as_posix()}"
                    )
        elif source.suffix.lower() == ".zip" or _VOLUME.search(source.name):
            yield from self._in_file(source, source.name)
        else:
            raise DatasetError(f"{source} is neither a folder nor a zip archive")

    def _in_file(self, file: Path, path: str) -> Iterator[Member]:
        if self._skipped(path):
            return
        if _VOLUME.search(path):
            yield from self._in_archive(self._joined(file), _VOLUME.sub(".zip", path))
        elif _LATER_VOLUME.search(path):
            _require_first(file)
        elif path.lower().endswith(".zip"):
            yield from self._in_archive(file, path)
        elif _OTHER_ARCHIVE.search(path):
            self.unread.append(path)
        else:
            try:
                facts = file.stat()
            except OSError as error:
                raise DatasetError(f"{file} cannot be read, is it a broken link? {error}") from error
            yield Member(path, facts.st_size, facts.st_mtime_ns, file)

    def _in_archive(self, file: Path, path: str) -> Iterator[Member]:
        for info in self._opened(file, path).infolist():
            # Old Windows tools write backslashes, which zipfile leaves as they are.
            inside = f"{path}/{info.filename}".replace("\\", "/")
            _refuse_unsafe(info, path)
            if info.is_dir() or self._skipped(inside):
                continue
            if inside.lower().endswith(".zip"):
                yield from self._in_archive(self._extracted(file, info, inside), inside)
            elif _OTHER_ARCHIVE.search(inside) or _LATER_VOLUME.search(inside):
                self.unread.append(inside)
            else:
                yield Member(inside, info.file_size, info.CRC, file, info.filename)

    def _opened(self, file: Path, path: str) -> zipfile.ZipFile:
        if file not in self._archives:
            if any(file.parent.glob(f"{file.stem}.[zZ]01")):
                raise DatasetError(
                    f"{path} is one of several volumes (.z01 ...), which must be joined first: "
                    f"zip -s 0 {file.name} --out joined.zip"
                )
            try:
                self._archives[file] = self._stack.enter_context(zipfile.ZipFile(file))
            except (zipfile.BadZipFile, OSError) as error:
                raise DatasetError(
                    f"{path} is not a whole zip archive, download it again: {error}"
                ) from error
        return self._archives[file]

    def _joined(self, first: Path) -> Path:
        """The volumes `.zip.001`, `.zip.002` ... behind each other."""
        stem = re.sub(r"\d+$", "", first.name)
        volumes = sorted(
            (p for p in first.parent.iterdir() if re.fullmatch(re.escape(stem) + r"\d+", p.name)),
            key=lambda p: int(p.name[len(stem) :]),
        )
        numbers = [int(p.name[len(stem) :]) for p in volumes]
        if numbers != list(range(1, len(numbers) + 1)):
            raise DatasetError(f"{first}: volumes 1..{numbers[-1]} are needed, found {numbers}")
        target = self._new_file()
        with open(target, "wb") as whole:
            for volume in tqdm(volumes, f"joining {stem}*", unit="volume", delay=2):
                with open(volume, "rb") as part:
                    shutil.copyfileobj(part, whole, 1 << 22)
        return target

    def _extracted(self, file: Path, info: zipfile.ZipInfo, inside: str) -> Path:
        target = self._new_file()
        bar = tqdm(total=info.file_size, desc=f"unpacking {inside}", unit="B", unit_scale=True, delay=2)
        try:
            with self._archives[file].open(info) as source, open(target, "wb") as out, bar:
                while chunk := source.read(1 << 22):
                    out.write(chunk)
                    bar.update(len(chunk))
        except (*_DAMAGED, NotImplementedError) as error:
            raise DatasetError(
                f"{inside} cannot be unpacked below {target.parent} (TMPDIR names another place): {error}"
            ) from error
        return target

    def _new_file(self) -> Path:
        if self._scratch is None:
            self._scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rskt_seg_")))
        return self._scratch / f"{len(list(self._scratch.iterdir()))}.zip"

    def _skipped(self, path: str) -> bool:
        hidden = any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(path).parts[1:])
        return hidden or (self._skip is not None and self._skip.search(path) is not None)


def _require_first(volume: Path) -> None:
    """A later volume is read with its first one, which must be there."""
    names = [p.name for p in volume.parent.iterdir() if _VOLUME.search(p.name) or p.suffix.lower() == ".zip"]
    if not any(volume.name.startswith(Path(name).stem) for name in names):
        raise DatasetError(f"{volume} is a later volume of an archive whose first one is not beside it")


def _refuse_unsafe(info: zipfile.ZipInfo, path: str) -> None:
    name = info.filename
    outside = name.startswith(("/", "\\")) or ":" in name.split("/")[0] or ".." in re.split(r"[/\\]", name)
    link = stat.S_ISLNK(info.external_attr >> 16)
    if outside or link:
        what = "a link" if link else "a path that leads outside"
        raise DatasetError(
            f"{path} holds {what}, {name!r}: this is no official archive; nothing was read of it"
        )
    if info.flag_bits & 1:
        raise DatasetError(f"{path}: {name} is encrypted; unpack the archive with its password first")
