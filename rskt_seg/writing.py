"""Files that are written whole or not at all."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A hidden file beside `path` to write to, which takes the name `path` when the block ends.

    Where the block raises, `path` is as it was and the hidden file is gone; a process killed inside leaves
    the hidden file alone. The folder is made. Threads and processes do not share hidden files, so that of
    several writers the last to end wins, whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
