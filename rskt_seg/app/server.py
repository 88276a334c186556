"""The server of the page: Gradio behind the guard, with a route for results."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse

from rskt_seg.app import html
from rskt_seg.app.examples import write_examples
from rskt_seg.app.guard import OWNER, Guard
from rskt_seg.app.limits import Limits
from rskt_seg.app.models import Models
from rskt_seg.app.page import Page, theme
from rskt_seg.app.sessions import Sessions
from rskt_seg.errors import ConfigError

_PATIENCE = 2
"""Seconds that open connections have when the server ends; those of pages stay open for ever."""


def listen(host: str, port: int) -> socket.socket:
    """Open the port of a server.

    Args:
        host: Address or name of an interface of this machine.
        port: Its number; 0 for any that is free.

    Returns:
        The socket, which takes connections already.

    Raises:
        ConfigError: The port is taken, or the address is none of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        is_address = isinstance(error, socket.gaierror)  # its numbers are not those of the system
        reason = error.strerror if is_address or not error.errno else os.strerror(error.errno)
        raise ConfigError(
            f"cannot listen at {host} port {port}: {reason}; choose others by --host and --port"
        ) from error


def make_application(root: Path, uploads: Path, models: Models, limits: Limits, root_path: str = "") -> Guard:
    """Return the application of the page.

    Args:
        root: Empty folder of the files of sessions, which nobody else can read.
        uploads: Folder in which Gradio puts what is sent, the value of `GRADIO_TEMP_DIR`.
        models: What it offers.
        limits: What users may ask for.
        root_path: Path in front of all addresses, where a proxy puts one there.

    Returns:
        An application of ASGI.
    """
    sessions = Sessions(root / "sessions", limits)
    sessions.root.mkdir(mode=0o700)
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    application.router.on_shutdown.append(sessions.close)

    @application.get("/results/{token}/{name}")
    def result(token: str, name: str, request: Request) -> FileResponse:
        file = sessions.find_result(token, name, request.scope[OWNER])
        if file is None:
            raise HTTPException(404, "this result is not there, or is that of someone else")
        return FileResponse(file, filename=name, headers={"Cache-Control": "private, no-store"})

    page = Page(sessions, models, write_examples(root / "examples")).build()
    mounted = gr.mount_gradio_app(
        application,
        page,
        path="/",
        root_path=root_path or None,
        theme=theme(),
        css=html.CSS,
        allowed_paths=[],
        max_file_size=limits.upload_bytes,
        show_error=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
    )
    return Guard(mounted, sessions, uploads)


def serve(sockets: Sequence[socket.socket], application: Guard) -> None:
    """Answer requests until the process is asked to end."""
    config = uvicorn.Config(
        application, log_level="critical", access_log=False, timeout_graceful_shutdown=_PATIENCE
    )
    uvicorn.Server(config).run(sockets=list(sockets))
