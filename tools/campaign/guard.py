"""The guard of a try: it notices code that is run, connections, and writing outside of the try's folder."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

CANARY = "rskt_seg_canary"
"""A word that the campaign's hostile files, and nothing else, hold in the code that they would run."""
CODE, OUTSIDE = "code run", "write outside"
_CODE = ("os.system", "os.exec", "os.posix_spawn", "os.startfile", "subprocess.Popen", "pty.spawn",
         "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request",
         "webbrowser.open")  # fmt: skip
_CHANGES = {  # event -> positions of the paths that it changes, position of the folder that they are in
    "os.rename": ((0, 1), 2), "os.remove": ((0,), 1), "os.mkdir": ((0,), 2), "os.rmdir": ((0,), 1),
    "os.symlink": ((1,), 2), "os.link": ((1,), 3), "os.truncate": ((0,), None), "os.chmod": ((0,), 2),
    "os.chown": ((0,), 3), "shutil.rmtree": ((0,), None),
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_DEVICES = ("/dev/", "/proc/self/")


def watch(folder: Path, pipe: int) -> None:
    """Write a line of JSON, [kind, text], to a pipe for everything that this process does and should not.

    The hook stays until the process ends.

    Args:
        folder: The only folder that may be written to.
        pipe: The file descriptor.
    """
    inside = os.path.realpath(folder)

    def tell(kind: str, text: str) -> None:
        os.write(pipe, f"{json.dumps([kind, text[:300]])}\n".encode())

    busy = False

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal busy
        if busy:
            return
        busy = True
        try:
            _judge(event, arguments, inside, tell)
        finally:
            busy = False

    sys.addaudithook(hook)


def _judge(event: str, arguments: tuple[object, ...], inside: str, tell: Callable[[str, str], None]) -> None:
    if event == "socket.connect" and isinstance(address := arguments[1], str):
        if not _outside(address, None, inside):
            return  # between the processes of one run
        tell(CODE, f"{event} {address}")
    elif event in _CODE:
        tell(CODE, f"{event} {arguments[:2]!r}")
    elif event == "compile" and CANARY in _text(arguments[0]):
        tell(CODE, "compile of a hostile text")
    elif event == "exec" and CANARY in repr(getattr(arguments[0], "co_consts", "")):
        tell(CODE, "exec of hostile code")
    elif event == "import" and CANARY in str(arguments[0]):
        tell(CODE, "import of a hostile module")
    elif event == "open":
        path, mode, flags = arguments
        writing = (isinstance(flags, int) and flags & _WRITING) or any(c in str(mode or "") for c in "wax+")
        if writing and (place := _outside(path, None, inside)):
            tell(OUTSIDE, f"open {place}")
    elif event in _CHANGES:
        positions, at = _CHANGES[event]
        for position in positions:
            if place := _outside(arguments[position], None if at is None else arguments[at], inside):
                tell(OUTSIDE, f"{event} {place}")


def _outside(path: object, folder: object, inside: str) -> str:
    """Return the place of a path that lies outside of the folder; "" of any other."""
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not isinstance(path, str | os.PathLike):  # a file descriptor, which was opened before
        return ""
    if isinstance(folder, int) and folder >= 0:
        path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
    head, tail = os.path.split(os.path.abspath(path))
    place = os.path.join(os.path.realpath(head), tail)
    if os.path.islink(place):
        place = os.path.realpath(place)
    if place == inside or place.startswith((f"{inside}/", *_DEVICES)):
        return ""
    return place


def _text(source: object) -> str:
    return source.decode(errors="replace") if isinstance(source, bytes) else str(source)
