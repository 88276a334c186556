"""The guard: what is asked for, by whom, and how large it may be, before Gradio sees it."""

import asyncio
import json
import os

import pytest

from rskt_seg.app.guard import COOKIE, OWNER, Guard
from rskt_seg.app.limits import Limits
from rskt_seg.app.sessions import Sessions

ANN, BEN = "a" * 43, "b" * 43
MIB = 2**20


@pytest.fixture
def guard(tmp_path):
    """A guard around an application that answers with the browser that it is told of."""

    async def behind(scope, receive, send):
        body = scope[OWNER].encode()
        if scope["path"].endswith("join"):
            body += (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    (tmp_path / "uploads").mkdir()
    return Guard(behind, Sessions(tmp_path, Limits(upload_bytes=MIB, sessions=2)), tmp_path / "uploads")


def ask(guard, path, cookie=ANN, query="", method="GET", body=(), **more):
    """Return status, headers and body of an answer."""
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in more.items()]
    if cookie:
        headers.append((b"cookie", f"other=1; {COOKIE}={cookie}".encode()))
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "path": path, "headers": headers, "query_string": query.encode(), "method": method,
        "root_path": "", "scheme": "http",
    }  # fmt: skip
    parts = list(body)

    async def receive():
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"].decode()


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file=https://example.org/",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=https://example.org/", "/gradio_api/deep_link", "/gradio_api/runs", "/monitoring",
        "/monitoring/summary", "/gradio_api/component_server", "/gradio_api/run/predict",
        "/gradio_api/call/x",
        "/gradio_api/stream/1", "/docs", "/openapi.json", "/login", "/custom_component/1/client/a/b",
        "/gradio_api/process_recording",
    ],
)  # fmt: skip
def test_what_no_page_needs_is_not_there(guard, path):
    assert ask(guard, path)[0] == 404


def test_each_browser_gets_a_secret_of_its_own_and_keeps_it(guard):
    status, headers, first = ask(guard, "/", cookie=None)
    assert status == 200 and len(first) >= 43
    cookie = headers[b"set-cookie"].decode()
    assert cookie.startswith(f"{COOKIE}={first};") and "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert ask(guard, "/", cookie=None)[2] != first
    _, headers, again = ask(guard, "/", cookie=first)
    assert again == first and b"set-cookie" not in headers
    assert ask(guard, "/", cookie="short")[2] not in ("", "short")


def test_the_browser_is_told_to_ask_no_other_machine(guard):
    policy = ask(guard, "/")[1][b"content-security-policy"].decode()
    assert "default-src 'self'" in policy and "http" not in policy
    assert ask(guard, "/docs")[1][b"x-content-type-options"] == b"nosniff"


def test_events_and_the_end_of_a_session_are_for_its_browser(guard):
    guard.sessions.enter("key", ANN)
    for path, query in (("/gradio_api/queue/data", "session_hash=key"), ("/gradio_api/heartbeat/key", "")):
        assert ask(guard, path, ANN, query)[0] == 200
        assert ask(guard, path, BEN, query)[0] == 403
    assert ask(guard, "/gradio_api/queue/data", BEN, "session_hash=other")[0] == 200


def call(guard, values, owner=ANN, key="key"):
    body = values if isinstance(values, bytes) else json.dumps({"data": values, "session_hash": key}).encode()
    halves = [body[: len(body) // 2], body[len(body) // 2 :]]
    return ask(guard, "/gradio_api/queue/join", owner, method="POST", body=halves)


def test_a_call_names_files_that_were_sent_and_no_others(guard, tmp_path):
    sent = guard.uploads / "digest" / "a.tif"
    sent.parent.mkdir()
    sent.touch()
    (guard.uploads / "link").symlink_to("/etc")
    values = [{"path": str(sent), "meta": {}}, "words"]
    status, _, body = call(guard, values)
    assert status == 200 and json.loads(body.removeprefix(ANN))["data"] == values
    for path in (
        "/etc/passwd", f"{guard.uploads}/../other", f"{guard.uploads}/link/passwd", "http://192.0.2.1/a.png",
        str(guard.uploads), f"{guard.uploads}2/a", "", None, 7, [str(sent)], {"path": str(sent)}, f"{sent}\0",
    ):  # fmt: skip
        for values in ([{"path": path}], ["words", {"deep": [{"url": str(sent), "path": path}]}]):
            assert call(guard, values)[0] == 403, path


def test_a_call_is_for_the_session_of_its_browser_and_short(guard):
    guard.sessions.enter("key", ANN)
    assert call(guard, ["words"])[0] == 200 and call(guard, ["words"], BEN)[0] == 403
    assert call(guard, ["words"], BEN, "other")[0] == 200
    assert call(guard, ["x" * 2**18])[0] == 413
    for body in (b"no JSON", b"[1]", b"[" * 100_000, b"", b"\xff"):
        assert call(guard, body)[0] == 400, body[:20]


def upload(guard, length):
    return ask(guard, "/gradio_api/upload", method="POST", **({"content_length": length} if length else {}))


def test_uploads_are_limited_each_and_together_until_they_are_swept(guard):
    assert upload(guard, str(MIB))[0] == 200
    status, _, reason = upload(guard, str(2 * MIB))
    assert status == 413 and "1 MiB at most" in reason
    assert upload(guard, "")[0] == 411 and upload(guard, "many")[0] == 411
    kept = guard.uploads / "digest" / "a.tif"
    kept.parent.mkdir()
    kept.write_bytes(bytes(2 * MIB - 100))
    assert upload(guard, "100")[0] == 200
    assert upload(guard, "101")[0] == 503
    os.utime(kept, (0, 0))
    assert upload(guard, "101")[0] == 200 and not kept.exists()


def test_nothing_but_http_gets_through(guard):
    asyncio.run(guard({"type": "websocket", "path": "/"}, None, None))  # no answer closes it
