"""Sessions of a page: what each user has sent and got, apart from that of all others."""

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from urllib.parse import quote

from rskt_seg.app.limits import Limits
from rskt_seg.app.results import Result
from rskt_seg.app.uploads import Upload
from rskt_seg.errors import RSKTSegError

_KEY_BYTES = 24
_PATIENCE = 30.0
"""Seconds that a segmentation has to end when its page is left."""


class SessionError(RSKTSegError):
    """A session that has ended, is that of someone else, or finds no room."""


@dataclass(eq=False)
class Session:
    """One open page of one user.

    Attributes:
        owner: Secret of the browser.
        token: Secret in the addresses of the results, and the name of the folder.
        folder: Where its files are, and no others.
        seen: When it last asked for something, in seconds of the clock of `Sessions`.
        upload: What was sent or chosen last.
        result: What came of it.
        stop: Set to end a running segmentation.
        running: Held while one runs.
    """

    owner: str
    token: str
    folder: Path
    seen: float
    upload: Upload | None = None
    result: Result | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    running: threading.Lock = field(default_factory=threading.Lock)

    def new_folder(self, name: str) -> Path:
        """Empty a folder of this session, or make it.

        Args:
            name: Its name, "upload" or "results".

        Returns:
            The folder.
        """
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def link(self, file: Path) -> str:
        """Return the address of a result, relative to the page."""
        return f"results/{self.token}/{quote(file.name)}"

    def tell(self, error: Exception) -> str:
        """Return the message of an error as its user may read it."""
        return self.clean(" ".join(str(error).split()))

    def clean(self, message: str) -> str:
        """Return a message without the names of folders of this machine."""
        for folder in (self.folder / "upload", self.folder / "results", self.folder):
            message = message.replace(f"{folder}/", "")
        return message


class Sessions:
    """The open pages of a server.

    Attributes:
        root: Folder of their folders, which nobody else can read.
        limits: What they may ask for.
    """

    def __init__(self, root: Path, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.root = root
        self.limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}

    def enter(self, key: str | None, owner: str) -> Session:
        """Return the session of a page, which is opened if there is none.

        Args:
            key: What the page calls itself.
            owner: Secret of its browser.

        Returns:
            The session.

        Raises:
            SessionError: It is that of another browser, or there are as many as there may be.
        """
        if not key or not owner:
            raise SessionError("this page needs its cookie; allow cookies of this address, and load it anew")
        with self._lock:
            session = self._open.get(key)
            if session is None:
                self._make_room()
                token = token_urlsafe(_KEY_BYTES)
                session = Session(owner, token, self.root / token, self._clock())
                session.folder.mkdir(mode=0o700)
                self._open[key] = session
            if session.owner != owner:
                raise SessionError("this is the session of someone else; load the page anew")
            session.seen = self._clock()
            return session

    def _make_room(self) -> None:
        """Close pages that nobody has used for long.

        Raises:
            SessionError: There is no room for another one.
        """
        now, limit = self._clock(), self.limits.idle_seconds
        for key, session in list(self._open.items()):
            if now - session.seen > limit and not session.running.locked():
                self._close(self._open.pop(key))
        if len(self._open) >= self.limits.sessions:
            raise SessionError(
                f"{len(self._open)} pages are open, as many as this server takes; try again later"
            )

    def may_use(self, key: str, owner: str) -> bool:
        """Return whether a browser may ask for what concerns a page: its own, or one that has no session."""
        session = self._open.get(key)
        return session is None or session.owner == owner

    def find_result(self, token: str, name: str, owner: str) -> Path | None:
        """Return a result of a session of this browser.

        Args:
            token: The secret in its address.
            name: Name of the file.
            owner: Secret of the browser.

        Returns:
            The file; None if there is none of this name, or it is that of another browser.
        """
        with self._lock:
            found = [each for each in self._open.values() if (each.token, each.owner) == (token, owner)]
        results = [each.result for each in found if each.result is not None]
        files = [file for each in results for file in each.files.values() if file.name == name]
        return files[0] if files and files[0].is_file() else None

    def leave(self, key: str | None) -> None:
        """Close the session of a page that is left: stop what runs, and delete its files."""
        with self._lock:
            session = self._open.pop(key, None) if key else None
        if session is not None:
            self._close(session)

    def close(self) -> None:
        """Close all sessions."""
        with self._lock:
            sessions = list(self._open.values())
            self._open.clear()
        for session in sessions:
            self._close(session)

    def _close(self, session: Session) -> None:
        session.stop.set()
        ended = session.running.acquire(timeout=_PATIENCE)  # what still runs writes files
        session.upload = session.result = None
        shutil.rmtree(session.folder, ignore_errors=True)
        if ended:
            session.running.release()
