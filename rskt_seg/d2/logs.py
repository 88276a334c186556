"""The console and the log file of a run: on the one what its user needs, in the other everything.

The console shows what this package says at INFO and above, and warnings and errors of Detectron2. The log
file has all of it, with what is said at DEBUG: the whole configuration, versions, sizes of the model's parts.
"""

import io
import logging
import sys
from contextlib import suppress
from pathlib import Path

from rskt_seg.quoting import show_hidden

FILE = "log.txt"
"""Name of the log file within the output folder; that of a further process ends in its number."""
_LOGGERS = ("rskt_seg", "detectron2", "fvcore")
_OWN = f"{_LOGGERS[0]}."
_LINE = "[%(asctime)s] %(name)s %(levelname)s: %(message)s"


class _ConsoleFormatter(logging.Formatter):
    """The time of day and the message, after the level of a warning or an error."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.levelno >= logging.WARNING:
            return f"{record.asctime} {record.levelname} {record.message}"
        return super().formatMessage(record)


def begin_log(folder: str | Path, rank: int) -> None:
    """Log to `<folder>/log.txt` and, in the main process, to the console, in place of an earlier run's log.

    Characters that a terminal obeys are escaped in both, and so are those that the console cannot write.

    Args:
        folder: The output folder, which is created.
        rank: Number of this process, from 0.
    """
    forget_logs()
    path = Path(folder, f"{FILE}.rank{rank}" if rank else FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    file.setFormatter(logging.Formatter(_LINE, "%m/%d %H:%M:%S"))
    handlers: list[logging.Handler] = [file]
    if rank == 0:
        if isinstance(sys.stdout, io.TextIOWrapper):  # names of classes may have what the locale has not
            sys.stdout.reconfigure(errors="backslashreplace")
        console = logging.StreamHandler(sys.stdout)
        console.setFormatter(_ConsoleFormatter())
        console.setLevel(logging.INFO)
        console.addFilter(_concerns_users)
        handlers.append(console)
    for handler in handlers:
        handler.addFilter(show_hidden)
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(handler)
    for name in _LOGGERS:
        log = logging.getLogger(name)
        log.setLevel(logging.DEBUG)
        log.propagate = False


def forget_logs() -> None:
    """Detach the log of a run that has ended from this process, so that the next run has one of its own."""
    for name in _LOGGERS:
        log = logging.getLogger(name)
        for handler in log.handlers[:]:
            log.removeHandler(handler)
            with suppress(OSError):  # of a disk that is full
                handler.close()


def _concerns_users(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.startswith(_OWN)
