"""A server of files on this machine that stands for the hosts of weights, and counts what is asked of it."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """`files`: path -> content. `headers`: path -> headers to add. `cuts`: path -> one number for each GET to
    come, the bytes after which it breaks off. `ranges`: whether parts of files can be asked for. `asked`:
    (method, path, first byte) of every request, in order; `sent`: the headers that came with them.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.cuts: dict[str, list[int]] = {}
        self.ranges = True
        self.asked: list[tuple[str, str, int]] = []
        self.sent: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def gets(self) -> list[int]:
        """The first byte that each GET asked for."""
        return [start for method, _, start in self.asked if method == "GET"]

    def __enter__(self) -> "FileServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.server.asked.append((self.command, self.path, start))
        self.server.sent.append({key.lower(): value for key, value in self.headers.items()})
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        partial = asked is not None and self.server.ranges
        rest = content[start:] if partial else content
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(rest)))
        for key, value in self.server.headers.get(self.path, {}).items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            cuts = self.server.cuts.get(self.path)
            self.wfile.write(rest[: cuts.pop(0)] if cuts else rest)
            self.close_connection = True
