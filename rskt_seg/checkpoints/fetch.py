"""Getting the files of the manifest, and telling whether a file is the one that the manifest means.

Everything goes through huggingface_hub, for plain addresses too: it resumes what breaks off, shows progress
and obeys `HF_HUB_OFFLINE`; `HF_ENDPOINT` names a mirror of the hub. No token is ever sent.
"""

import fcntl
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from rskt_seg.checkpoints.manifest import FOLDER, Weights
from rskt_seg.errors import CheckpointError, WeightsNotFoundError

ABSENT, VERIFIED, UNKNOWN, WRONG = "absent", "verified", "unknown", "wrong"
_CHUNK = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PART, _ASIDE = ".part", ".wrong"


@dataclass(frozen=True)
class Finding:
    """What is known of one file: `state` is "absent", "verified", "unknown" (nothing to compare with) or
    "wrong"; `digest` its sha256 (None if absent); `text` one line for people."""

    path: Path
    state: str
    digest: str | None
    text: str


def sha256_of(path: str | os.PathLike) -> str:
    """The sha256 of a file as 64 hexadecimal digits, with a progress bar on a terminal."""
    digest = hashlib.sha256()
    bar = {"unit": "B", "unit_scale": True, "disable": None, "leave": False}
    with (
        open(path, "rb") as file,
        tqdm(total=os.path.getsize(path), desc=f"sha256 {Path(path).name}", **bar) as progress,
    ):
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            progress.update(len(chunk))
    return digest.hexdigest()


def verify(row: Weights, path: str | os.PathLike, stated: str | None = None) -> Finding:
    """Compare a file with its row: size and sha256, as far as the manifest knows them.

    `stated`: a sha256 that the server claims, looked at where the manifest has none. A web page under the
    name of a weight file is wrong whatever the manifest knows. Nothing is downloaded.
    """
    path = Path(path)
    if not path.is_file():
        return Finding(path, ABSENT, None, "not here")
    digest, size = sha256_of(path), path.stat().st_size
    if row.size is not None and size != row.size:
        return Finding(path, WRONG, digest, f"expected {row.size} bytes, found {size}")
    expected = row.sha256 or stated
    if expected is not None and not digest.startswith(expected):
        return Finding(path, WRONG, digest, f"expected sha256 {expected}, found {digest}")
    if row.sha256 is not None:
        part = "" if _SHA256.fullmatch(row.sha256) else f" as far as published ({row.sha256}...)"
        return Finding(path, VERIFIED, digest, f"sha256 fits{part}")
    if _is_page(path):
        return Finding(path, WRONG, digest, "a web page, not a weight file")
    claim = "" if stated is None else ", as the hub states"
    return Finding(
        path,
        UNKNOWN,
        digest,
        f"found sha256 {digest}{claim}; the manifest has none ({row.unknown['sha256']})",
    )


def fetch(row: Weights, folder: str | os.PathLike = FOLDER) -> Finding:
    """Put the file of a row into `folder`, unless it is there.

    A file that is there and not wrong is kept, without any use of the network. A download goes to a
    `.part` file beside it and takes its name when it is complete and fits; one that broke off is resumed
    by the next call where a digest will tell whether the pieces fit, and begun anew otherwise.

    Raises `CheckpointError` for a file that is not what it should be (a wrong file that was there is left
    alone, a wrong download is kept as `.wrong`), or where another process fetches it;
    `WeightsNotFoundError` where it cannot be had, with what to do by hand.
    """
    target = Path(folder, row.file)
    found = verify(row, target)
    if found.state == WRONG:
        raise CheckpointError(
            f"{target} is not {row.name}: {found.text}. Nothing was changed: move the file away, fetch again"
        )
    if found.state != ABSENT:
        return found
    if not (row.hub or row.url):
        raise WeightsNotFoundError(f"{row.name}: no address is known. {_by_hand(row, target)}")
    return _download(row, target)


def _download(row: Weights, target: Path) -> Finding:
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.file_download import http_get

    url, part = _address(row), target.with_name(target.name + _PART)
    try:
        head = get_hf_file_metadata(url, token=False)
        stated = head.etag if row.hub and _SHA256.fullmatch(head.etag or "") else None
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part) as file:
            start = _resume_at(file, head.size if row.sha256 or stated else None)
            http_get(url, file, resume_size=start, expected_size=head.size, displayed_filename=row.file)
            file.flush()
            os.fsync(file.fileno())
            return _accept(row, part, target, stated)
    except CheckpointError:
        raise
    except Exception as error:  # the library, its transport and the disk have their own ways to fail
        raise WeightsNotFoundError(
            f"{row.name}: {url} could not be had ({_reason(error)}). {_by_hand(row, target)}"
        ) from error


def _accept(row: Weights, part: Path, target: Path, stated: str | None) -> Finding:
    """Give a complete download its name, or put it aside."""
    found = verify(row, part, stated)
    if found.state == WRONG:
        aside = target.with_name(target.name + _ASIDE)
        os.replace(part, aside)
        raise CheckpointError(
            f"{row.name}: what came from {_address(row)} is not what it should be: {found.text}. It is kept "
            f"as {aside}. Fetch again; if the same comes, do not load it: the published file has changed or "
            f"somebody altered it; see {row.page}"
        )
    os.replace(part, target)
    return Finding(target, found.state, found.digest, found.text)


def _locked(part: Path) -> BinaryIO:
    """The `.part` file, open for reading and writing, which no other process has."""
    file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between opening and locking, the other process may have given the file its final name.
        if os.path.samestat(os.fstat(file.fileno()), os.stat(part)):
            return file
    except OSError:
        pass
    file.close()
    raise CheckpointError(f"{part} is being written by another process; wait for it to end")


def _resume_at(file: BinaryIO, size: int | None) -> int:
    """Where to go on in a `.part` file of `size` bytes when complete; None means from the start."""
    start = file.seek(0, os.SEEK_END)
    if size is None or start > size:
        file.seek(0)
        file.truncate()
        return 0
    return start


def _address(row: Weights) -> str:
    if not row.hub:
        return row.url
    from huggingface_hub import hf_hub_url

    return hf_hub_url(row.hub, row.file)


def _by_hand(row: Weights, target: Path) -> str:
    how = f"open {row.page} and {row.by_hand}" if row.by_hand else f"from that address, or see {row.page}"
    hints = [f"By hand: {how}; save the file as {target.absolute()}."]
    if row.hub:
        hints.append("Where the hub cannot be reached, set HF_ENDPOINT to the address of a mirror of it.")
    if row.instead:
        hints.append(f"Or: {row.instead}.")
    return " ".join(hints)


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"HTTP status {status}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _is_page(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(64).lstrip().startswith(b"<")
