"""What stands between the network and Gradio: who asks, and what may be asked for.

Gradio gives files by their path to whoever names it. Here it gives none: results have a route of their own
that asks for the secret in their address and for the browser that they were made for. It also takes files by
their path or address in the values of a call, from anywhere; here only those that were sent.
"""

import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs

from rskt_seg.app.sessions import Sessions

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

COOKIE = "rskt_seg_browser"
OWNER = "rskt_seg.owner"
"""Where the scope of a request has the secret of its browser."""
_SECRET_BYTES, _LEAST_LETTERS = 32, 43
_PAGES = ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt")
_FOLDERS = ("/assets/", "/static/", "/results/", "/gradio_api/heartbeat/")
_CALLS = ("queue/join", "queue/data", "upload", "upload_progress", "startup-events", "app_id", "reset")
_OPEN = {*_PAGES, *(f"/gradio_api/{call}" for call in _CALLS)}
_UPLOAD, _CALL = "/gradio_api/upload", "/gradio_api/queue/join"
_DATA, _HEARTBEAT = "/gradio_api/queue/data", "/gradio_api/heartbeat/"
_LONGEST_CALL = 2**18
"""Bytes of a call, without its files."""
_ENVELOPE = 2**16
"""Bytes of a request around the file that it sends."""
_SWEEP_SECONDS = 600.0
_HEADERS = (
    (b"content-security-policy", b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
     b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
     b"worker-src 'self' blob:; form-action 'self'; base-uri 'self'; frame-ancestors 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)  # fmt: skip
"""Browsers ask no other machine for anything, and tell none of addresses with secrets."""


class Guard:
    """Application of ASGI around another: gives each browser a secret, and refuses what no page needs.

    Attributes:
        app: The application behind.
        sessions: Its sessions.
        uploads: Folder in which Gradio puts what is sent, until a session takes it.
    """

    def __init__(self, app: Application, sessions: Sessions, uploads: Path) -> None:
        self.app = app
        self.sessions = sessions
        self.uploads = uploads

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """See the specification of ASGI."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        secret = _secret(headers.get(b"cookie", b""))
        owner = secret or token_urlsafe(_SECRET_BYTES)
        added = list(_HEADERS)
        if not secret:
            secure = "; Secure" if scope.get("scheme") == "https" else ""
            cookie = f"{COOKIE}={owner}; Path=/; HttpOnly; SameSite=Strict{secure}"
            added.append((b"set-cookie", cookie.encode()))

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        status, reason = self._refusal(path, scope, headers, owner)
        if not status and path == _CALL:
            body = await _read(receive, _LONGEST_CALL)
            status, reason = self._refuse_call(body, owner)
            receive = _again(body, receive)
        if status:
            await _answer(send_more, status, reason)
            return
        scope[OWNER] = owner
        await self.app(scope, receive, send_more)

    def _refusal(self, path: str, scope: Message, headers: dict[bytes, bytes], owner: str) -> tuple[int, str]:
        """Return the status and the reason of a refusal; status 0 lets the request through."""
        if path not in _OPEN and not path.startswith(_FOLDERS):
            return 404, "there is nothing here"
        key = ""
        if path == _DATA:
            query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
            key = query.get("session_hash", [""])[0]
        elif path.startswith(_HEARTBEAT):
            key = path.removeprefix(_HEARTBEAT)
        if key and not self.sessions.may_use(key, owner):
            return 403, "this is the session of someone else"
        return self._refuse_upload(headers) if path == _UPLOAD else (0, "")

    def _refuse_call(self, body: bytes, owner: str) -> tuple[int, str]:
        if len(body) > _LONGEST_CALL:
            return 413, "a call is not so long"
        try:
            call = json.loads(body)
            key, paths = call.get("session_hash", ""), list(_paths(call))
        except (ValueError, RecursionError, AttributeError):
            return 400, "expected a call as JSON"
        if isinstance(key, str) and key and not self.sessions.may_use(key, owner):
            return 403, "this is the session of someone else"
        folder = f"{os.path.realpath(self.uploads)}{os.sep}"
        for path in paths:
            if not isinstance(path, str) or "\0" in path or not os.path.realpath(path).startswith(folder):
                return 403, "this is no file that was sent to this page"
        return 0, ""

    def _refuse_upload(self, headers: dict[bytes, bytes]) -> tuple[int, str]:
        limits = self.sessions.limits
        length = headers.get(b"content-length", b"")
        if not length.isdigit():
            return 411, "an upload has to state its length"
        if int(length) > limits.upload_bytes + _ENVELOPE:
            return 413, f"a file may have {limits.upload_bytes / 2**20:g} MiB at most"
        _sweep(self.uploads)
        kept = sum(size for _, size in _sizes(self.uploads))
        if kept + int(length) > limits.upload_bytes * limits.sessions:
            return 503, "too much was sent in the last minutes; try again later"
        return 0, ""


def _secret(header: bytes) -> str:
    """Return the secret of a browser from its cookies, "" if it has none that is long enough."""
    try:
        found = SimpleCookie(header.decode("latin-1")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None and len(found.value) >= _LEAST_LETTERS else ""


def _sizes(folder: Path) -> Iterable[tuple[Path, int]]:
    """Yield the files in a folder and below, with their bytes."""
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                yield path, path.stat().st_size
        except OSError:  # taken away meanwhile
            continue


def _sweep(folder: Path) -> None:
    """Delete uploads that sessions have long taken or left."""
    oldest = time.time() - _SWEEP_SECONDS
    for path, _ in list(_sizes(folder)):
        try:
            if path.stat().st_mtime < oldest:
                path.unlink()
        except OSError:  # another request did it
            continue


async def _read(receive: Receive, most: int) -> bytes:
    """Return the body of a request, or somewhat more than `most` bytes of it."""
    body = b""
    while len(body) <= most:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read, and then what comes after it."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return left.pop() if left else await receive()

    return receive_again


def _paths(value: Any) -> Iterator[Any]:
    """Yield what is called a path anywhere in a value of JSON."""
    if isinstance(value, dict):
        if "path" in value:
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _paths(each)


async def _answer(send: Send, status: int, reason: str) -> None:
    body = reason.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
