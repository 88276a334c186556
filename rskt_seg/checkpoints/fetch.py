"""Download and verification of the files of the manifest.

All downloads go through huggingface_hub, those from other hosts too: it resumes interrupted transfers, shows
progress and obeys `HF_HUB_OFFLINE`; `HF_ENDPOINT` names a mirror of the hub. No token is ever sent.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import urljoin, urlsplit

from tqdm import tqdm

from rskt_seg.checkpoints.manifest import FOLDER, Weights
from rskt_seg.checkpoints.mistaken import find_mistaken
from rskt_seg.errors import CheckpointError, WeightsNotFoundError

State = Literal["absent", "verified", "unknown", "wrong"]
ABSENT: State = "absent"
VERIFIED: State = "verified"
UNKNOWN: State = "unknown"
WRONG: State = "wrong"
_CHUNK = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PART, _ASIDE = ".part", ".wrong"


@dataclass(frozen=True)
class Finding:
    """Result of the verification of a file.

    Attributes:
        path: The file.
        state: "absent", "verified", "wrong", or "unknown": the manifest has nothing to compare with.
        digest: sha256, 64 hexadecimal digits; None if absent.
        text: One line about the result.
    """

    path: Path
    state: State
    digest: str | None
    text: str


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a file, 64 hexadecimal digits; shows a progress bar on a terminal."""
    digest, name = hashlib.sha256(), f"sha256 {Path(path).name}"
    with (
        open(path, "rb") as file,
        tqdm(
            total=os.path.getsize(path), desc=name, unit="B", unit_scale=True, disable=None, leave=False
        ) as progress,
    ):
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            progress.update(len(chunk))
    return digest.hexdigest()


def verify(row: Weights, path: str | os.PathLike[str], stated: str | None = None) -> Finding:
    """Compare the size and sha256 of a file with its row, as far as the manifest knows them.

    An empty file, a pointer of Git LFS and a web page are always wrong. Nothing is downloaded.

    Args:
        row: Row of the manifest.
        path: The file, which need not exist.
        stated: sha256 that the server states, used if the manifest has none.

    Returns:
        What was found: the file is absent, verified, wrong, or there is nothing to compare it with.
    """
    path = Path(path)
    if not path.is_file():
        return Finding(path, ABSENT, None, "not here")
    digest, size = sha256_of(path), path.stat().st_size
    if mistaken := find_mistaken(path):
        return Finding(path, WRONG, digest, f"{mistaken.what}, not a weight file")
    if row.size is not None and size != row.size:
        return Finding(path, WRONG, digest, f"expected {row.size} bytes, found {size}")
    expected = row.sha256 or stated
    if expected is not None and not digest.startswith(expected):
        return Finding(path, WRONG, digest, f"expected sha256 {expected}, found {digest}")
    if row.sha256 is not None:
        part = "" if _SHA256.fullmatch(row.sha256) else f" as far as published ({row.sha256}...)"
        return Finding(path, VERIFIED, digest, f"sha256 fits{part}")
    claim = "" if stated is None else ", as the hub states"
    return Finding(
        path,
        UNKNOWN,
        digest,
        f"found sha256 {digest}{claim}; the manifest has none ({row.unknown['sha256']})",
    )


def fetch(
    row: Weights,
    folder: str | os.PathLike[str] = FOLDER,
    announce: Callable[[str], None] = lambda line: None,
) -> Finding:
    """Download the file of a row, unless it exists.

    An existing file that is not wrong is kept without using the network. A download is written to a `.part`
    file and renamed when it is complete and verified. The next call resumes an interrupted download if a
    digest can tell whether the pieces fit together, and otherwise starts over.

    Args:
        row: Row of the manifest.
        folder: Folder of the file; created if missing.
        announce: Called before a download begins, with one line on its size, its licence and its origin.

    Returns:
        The verification of the file.

    Raises:
        CheckpointError: The existing file (which is kept) or the download (kept as `.wrong`) has another size
            or digest than expected, or is no weight file; the server answers with nothing, or redirects to
            plain http; or another process is downloading it.
        WeightsNotFoundError: It cannot be downloaded. The message says how to get it by hand.
    """
    target = row.place(folder)
    found = verify(row, target)
    if found.state == WRONG:
        raise CheckpointError(
            f"{target} is not {row.name}: {found.text}. It is not overwritten: move it away and fetch again"
        )
    if found.state != ABSENT:
        return found
    if row.package:
        raise WeightsNotFoundError(
            f"{target} came with {row.package} and is gone: install this package again"
        )
    if not (row.hub or row.url):
        raise WeightsNotFoundError(f"{row.name}: no address is known. {_by_hand(row, target)}")
    return _download(row, target, announce)


def _download(row: Weights, target: Path, announce: Callable[[str], None]) -> Finding:
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.file_download import http_get

    url, part = _address(row), target.with_name(target.name + _PART)
    try:
        with _refusing_plain_http(row, url):
            head = get_hf_file_metadata(url, token=False)
        size = head.size if row.size is None else row.size
        amount = "size unknown" if size is None else f"{size:,} bytes"
        announce(
            f"{row.name}: fetching {target} ({amount}) from {url}; licence "
            f"{row.licence or 'unknown'}, see {row.page}"
        )
        stated = head.etag if row.hub and _SHA256.fullmatch(head.etag or "") else None
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part) as file:
            start = file.seek(0, os.SEEK_END)
            # Only a digest can tell whether the pieces fit together; without one, start over.
            if head.size is None or start > head.size or not (row.sha256 or stated):
                start = file.seek(0)
                file.truncate()
            try:
                with _refusing_plain_http(row, url):
                    http_get(
                        url, file, resume_size=start, expected_size=head.size, displayed_filename=row.file
                    )
                file.flush()
                os.fsync(file.fileno())
                return _accept(row, part, target, stated)
            finally:
                _remove_empty(part, file)
    except CheckpointError:
        raise
    except Exception as error:  # the library, its transport and the disk raise exceptions of many kinds
        status = getattr(getattr(error, "response", None), "status_code", None)
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        reason = text if status is None else f"HTTP status {status}"
        raise WeightsNotFoundError(
            f"{row.name}: {url} could not be downloaded ({reason}). {_by_hand(row, target)}"
        ) from error


def _accept(row: Weights, part: Path, target: Path, stated: str | None) -> Finding:
    """Verify a complete download, and rename it to `target` or to `.wrong`; an empty one is not kept."""
    if not part.stat().st_size:
        raise CheckpointError(
            f"{row.name}: {_address(row)} answered with 0 bytes. Fetch again later. {_by_hand(row, target)}"
        )
    found = verify(row, part, stated)
    if found.state == WRONG:
        aside = target.with_name(target.name + _ASIDE)
        os.replace(part, aside)
        raise CheckpointError(
            f"{row.name}: the download from {_address(row)} is not the file of the manifest: {found.text}. "
            f"It is kept as {aside}. Fetch again; if the result is the same, do not load it: the published "
            f"file has changed or was tampered with; see {row.page}"
        )
    os.replace(part, target)
    return Finding(target, found.state, found.digest, found.text)


@contextmanager
def _refusing_plain_http(row: Weights, url: str) -> Iterator[None]:
    """Refuse a redirect from https to plain http, where anybody on the way can change the file.

    Any hop of a request may lead there, and only the client of the library, which follows them, sees all.
    """
    from huggingface_hub import get_session

    def check(response: Any) -> None:  # of httpx, under the name of the version that the library uses
        here = str(response.request.url)
        there = urljoin(here, response.headers["Location"]) if response.has_redirect_location else here
        if urlsplit(here).scheme == "https" and urlsplit(there).scheme != "https":
            way = "" if here == url else f" by way of {here}"
            raise CheckpointError(
                f"{row.name}: {url} redirects{way} to {there}, which is not encrypted; expected https. "
                f"Nothing is downloaded: see {row.page} for another address"
            )

    client = get_session()
    before = client.event_hooks
    client.event_hooks = {**before, "response": [*before["response"], check]}
    try:
        yield
    finally:
        client.event_hooks = before


def _remove_empty(part: Path, file: BinaryIO) -> None:
    """Remove the `.part` file that `file` holds open and locked, if nothing is in it."""
    with suppress(FileNotFoundError):  # it has another name by now
        found = os.stat(part)
        if found.st_size == 0 and os.path.samestat(os.fstat(file.fileno()), found):
            os.unlink(part)


def _locked(part: Path) -> BinaryIO:
    """Open the `.part` file for reading and writing, and lock it against other processes."""
    file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between opening and locking, the other process may have renamed the file.
        if os.path.samestat(os.fstat(file.fileno()), os.stat(part)):
            return file
    except OSError:
        pass
    file.close()
    raise CheckpointError(f"{part} is being written by another process; wait for it to end")


def _address(row: Weights) -> str:
    if not row.hub:
        return row.url
    from huggingface_hub import hf_hub_url

    return hf_hub_url(row.hub, row.file)


def _by_hand(row: Weights, target: Path) -> str:
    how = f"open {row.page} and {row.by_hand}" if row.by_hand else f"from that address, or see {row.page}"
    hints = [f"By hand: {how}; save the file as {target.absolute()}."]
    if row.hub:
        hints.append("If the hub cannot be reached, set HF_ENDPOINT to the address of a mirror.")
    if row.instead:
        hints.append(f"Or: {row.instead}.")
    return " ".join(hints)
