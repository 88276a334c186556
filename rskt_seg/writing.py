"""Atomic writing of files: a file appears whole or not at all."""

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a hidden temporary file beside `path` and rename it to `path` when the block ends.

    The parent folder is created. Every thread of every process has a temporary file of its own: of several
    writers of one path, the last to finish wins, with a complete file.

    Args:
        path: The file to write or to replace.

    Yields:
        The temporary file to write to. If the block raises, it is removed and `path` is left as it was; a
        process killed inside the block leaves it behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing_with_companions(path: str | os.PathLike[str], companions: Sequence[str]) -> Iterator[Path]:
    """Replace `path` together with the files beside it that belong to it, such as `a.tif.aux.xml` to `a.tif`.

    As `replacing`, but the block writes into a hidden temporary folder beside `path`, where the file has its
    final name and companions can be made. Companions of the former file that the new one lacks are removed,
    because they describe data that is gone. `path` itself is renamed last.

    Args:
        path: The file to write or to replace.
        companions: What the names of companions add to that of the file, such as ".aux.xml".

    Yields:
        The temporary file to write to. If the block or a renaming fails, `path` and its companions are left
        as they were, and nothing else is left; a process killed inside the block leaves the folder behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    shutil.rmtree(work, ignore_errors=True)  # of a killed process that had the same number
    work.mkdir()
    former: list[Path] = []
    placed: list[Path] = []
    try:
        yield work / path.name
        for companion in (path.with_name(path.name + suffix) for suffix in companions):
            if companion.exists():
                os.replace(companion, work / f"former-{companion.name}")
                former.append(companion)
            if (work / companion.name).exists():
                os.replace(work / companion.name, companion)
                placed.append(companion)
        os.replace(work / path.name, path)
    except BaseException:
        for companion in placed:
            companion.unlink()
        for companion in former:
            os.replace(work / f"former-{companion.name}", companion)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
