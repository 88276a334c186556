"""Open a page in which images are segmented in a browser: send one, type words, look, download.

    rskt-seg serve
    rskt-seg serve --model tiny --model model_final.pth --port 8000

The page is at http://127.0.0.1:7860/ for this machine alone, unless --host says otherwise. Ctrl-C ends it and
deletes what users have sent and got. It needs the extra `app`.
"""

import argparse
import ipaddress
import logging
import os
import webbrowser
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rskt_seg.commands.entry import command_parser, echo, positive, run
from rskt_seg.errors import ConfigError

PROGRAM = "rskt-seg serve"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg serve`. Return the exit status."""
    return run(partial(_serve, parse_args(argv)), PROGRAM)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(PROGRAM, __doc__)
    add = parser.add_argument
    add(
        "--model", action="append", metavar="NAME",
        help="a model by name or a trained checkpoint, as for rskt-seg segment; may be given several times "
        "(default: the named models whose files are here, such as tiny)",
    )  # fmt: skip
    add("--device", help="where to compute (default: the GPU, or cpu without one)")
    add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for all (default: %(default)s)")
    add("--port", type=_port, default=7860, metavar="N", help="0: any that is free (default: %(default)s)")
    add("--root-path", default="", metavar="PATH", help="path that a proxy puts in front, such as /segment")
    add("--open", action="store_true", help="open the page in the browser of this machine")
    add = parser.add_argument_group("limits").add_argument
    add("--max-upload-mb", type=positive, default=200, metavar="N", help="MiB of a file (%(default)s)")
    add(
        "--max-scene-pixels", type=positive, default=100_000_000, metavar="N",
        help="pixels of an image (%(default)s)",
    )  # fmt: skip
    add("--max-users", type=positive, default=32, metavar="N", help="open pages at a time (%(default)s)")
    add("--max-waiting", type=positive, default=16, metavar="N", help="requests in the queue (%(default)s)")
    return parser.parse_args(argv)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535; found {text}")
    return int(text)


def _serve(args: argparse.Namespace) -> None:
    with TemporaryDirectory(prefix="rskt-seg-serve-") as folder:
        root = Path(folder)
        uploads = root / "uploads"
        uploads.mkdir(mode=0o700)
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)
        try:
            from rskt_seg.app.server import listen, make_application, serve
        except ImportError as error:
            raise ConfigError(f"it needs the extra app: pip install 'rskt_seg[app]' ({error})") from error
        from rskt_seg.app.limits import Limits
        from rskt_seg.app.models import Models

        # Users see what concerns them in the page; names of their files do not belong into a log.
        logging.getLogger("rskt_seg").setLevel(logging.CRITICAL)
        limits = Limits(args.max_upload_mb * 2**20, args.max_scene_pixels, args.max_users, args.max_waiting)
        models = Models(args.model or _models_here(), args.device, limits.classes)
        with listen(args.host, args.port) as listening:
            host, port = listening.getsockname()[:2]
            for name in args.model or models.names[:1]:
                models.load(name)
            application = make_application(root, uploads, models, limits, args.root_path.rstrip("/"))
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
            echo(f"{address} segments images in a browser; Ctrl-C ends it")
            if not ipaddress.ip_address(host).is_loopback:
                echo(f"everybody who can reach port {port} of this machine can use it, without a password")
            if args.open:
                webbrowser.open(address)
            serve([listening], application)


def _models_here() -> list[str]:
    """Return the named models whose files are here; the first is that of the package."""
    from rskt_seg.methods import list_models

    return [row.name for row in list_models() if row.present]
