"""The layout of the page in Gradio, and what its controls call. Everything else is in the modules beside."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from rskt_seg.app import html
from rskt_seg.app.examples import Example
from rskt_seg.app.guard import OWNER
from rskt_seg.app.models import Models
from rskt_seg.app.results import VIEWS, Result
from rskt_seg.app.segmenting import Watch, segment_upload, watched
from rskt_seg.app.sessions import Session, Sessions
from rskt_seg.app.uploads import take_upload
from rskt_seg.errors import ConfigError, RSKTSegError

_TITLE = "rskt_seg"
_OPACITY = 0.45
_DRAWING = 4
"""Requests for pictures that are answered at a time; they do not wait for the model."""
_LONGEST_WORDS, _LONGEST_WINDOW = 50_000, 20
"""Letters of a text; `rskt_seg.app.guard` takes no longer call, and 100 classes are long before."""
_IDLE = "nothing is running, and what waits will not begin"
_WORDS = "buildings #c83c32\nroad\ntrees\nwater #2060ff"
_FONT = ["system-ui", "sans-serif"]


class Page:
    """The page of a server.

    Attributes:
        sessions: Its users.
        models: Its models.
        examples: Title -> example.
    """

    def __init__(self, sessions: Sessions, models: Models, examples: Sequence[Example]) -> None:
        self.sessions = sessions
        self.models = models
        self.examples = {example.title: example for example in examples}

    def build(self) -> gr.Blocks:
        """Return the page with its queue. Nothing of it asks another machine for anything."""
        with gr.Blocks(title=_TITLE, analytics_enabled=False, fill_width=True) as page:
            gr.Markdown("## Segment aerial and satellite images by words")
            with gr.Row():
                with gr.Column(scale=2, min_width=300):
                    asked = self._ask()
                with gr.Column(scale=5, min_width=320):
                    shown = self._show()
            self._connect(page, asked, shown)
        page.queue(max_size=self.sessions.limits.waiting, api_open=False)
        return page

    def _ask(self) -> dict[str, Any]:
        """Lay out what a user sends and chooses."""
        limits = self.sessions.limits
        mebibytes = limits.upload_bytes / 2**20
        asked: dict[str, Any] = {
            "file": gr.File(
                label=f"Image or GeoTIFF, up to {mebibytes:g} MiB",
                type="filepath",
                height=150,
                elem_id="rs-file",
            ),
            "example": gr.Dropdown(
                list(self.examples), value=None, label="or an example", elem_id="rs-example"
            ),
            "words": gr.Textbox(
                label="Classes",
                info="one a line; synonyms after commas, a colour at the end",
                placeholder=_WORDS,
                lines=5,
                max_lines=12,
                max_length=_LONGEST_WORDS,
                elem_id="rs-words",
            ),
            "model": gr.Dropdown(
                list(self.models.names), value=self.models.names[0], label="Model", elem_id="rs-model"
            ),
            "window": gr.Textbox(
                label="Window",
                info="what the model sees at a time: pixels (384) or metres (120m); empty: what suits it",
                max_lines=1,
                max_length=_LONGEST_WINDOW,
                elem_id="rs-window",
            ),
        }
        with gr.Row():
            asked["segment"] = gr.Button("Segment", variant="primary", elem_id="rs-segment", min_width=120)
            asked["cancel"] = gr.Button("Cancel", elem_id="rs-cancel", min_width=80)
        asked["status"] = gr.HTML(elem_id="rs-status", js_on_load=None, padding=False)
        return asked

    def _show(self) -> dict[str, Any]:
        """Lay out what a user sees."""
        shown: dict[str, Any] = {"picture": gr.HTML(html.nothing(), elem_id="rs-picture", js_on_load=None)}
        with gr.Row():
            shown["view"] = gr.Radio(
                list(VIEWS), value=VIEWS[0], label="Show", elem_id="rs-view", min_width=240
            )
            shown["opacity"] = gr.Slider(
                0, 1, value=_OPACITY, step=0.05, label="Opacity", elem_id="rs-opacity", min_width=200
            )
        shown["classes"] = gr.CheckboxGroup([], label="Legend", elem_id="rs-classes", visible=False)
        shown["areas"] = gr.HTML(elem_id="rs-areas", js_on_load=None)
        shown["files"] = gr.HTML(elem_id="rs-files", js_on_load=None)
        return shown

    def _connect(self, page: gr.Blocks, asked: dict[str, Any], shown: dict[str, Any]) -> None:
        """Say what each control calls."""
        status, words = asked["status"], asked["words"]
        results = [shown[name] for name in ("picture", "classes", "areas", "files")]
        drawn = [shown[name] for name in ("classes", "opacity", "view")]
        quick: dict[str, Any] = {
            "concurrency_limit": _DRAWING, "concurrency_id": "drawing", "api_visibility": "private",
            "show_progress": "hidden",
        }  # fmt: skip
        blank, kept = [html.nothing(), *_no_result()], [gr.skip()] * len(results)
        asked["file"].upload(self._told(self.take, blank), [asked["file"]], [status, *results], **quick)
        asked["example"].input(
            self._told(self.pick, [gr.skip(), *blank]),
            [asked["example"]], [status, words, *results], **quick,
        )  # fmt: skip
        asked["segment"].click(self._told(self.ask, []), None, [status], **quick).then(
            self._told(self.segment, kept),
            [words, asked["model"], asked["window"], shown["opacity"], shown["view"]],
            [status, *results],
            concurrency_limit=1,
            concurrency_id="model",
            api_visibility="private",
            show_progress="hidden",
        )
        asked["cancel"].click(self._told(self.cancel, []), None, [status], **quick)
        for control in drawn:
            control.input(
                self._told(self.redraw, [gr.skip()]),
                drawn, [status, shown["picture"]], trigger_mode="always_last", **quick,
            )  # fmt: skip
        page.unload(self.leave)

    def _told(self, call: Callable[..., Iterator[list[Any]]], otherwise: list[Any]) -> Callable[..., Any]:
        """Give a call the session of its request, and its user the message of an error.

        Args:
            call: Yields the contents of the outputs, the status first.
            otherwise: Those of the outputs behind the status after an error.
        """

        def answer(request: gr.Request, *values: Any) -> Iterator[list[Any]]:
            session = None
            try:
                owner = request.request.scope[OWNER] if request.request else ""
                session = self.sessions.enter(request.session_hash, owner)
                yield from call(session, *values)
            except (RSKTSegError, OSError) as error:
                message = str(error) if session is None else session.tell(error)
                yield [html.note([message], "error"), *otherwise]

        return answer

    def take(self, session: Session, sent: str) -> Iterator[list[Any]]:
        """Take a file that was sent, and show it."""
        yield self._open(session, Path(sent))

    def pick(self, session: Session, title: str) -> Iterator[list[Any]]:
        """Take an example with its words, and show it."""
        example = self.examples.get(title)
        if example is None:
            raise ConfigError(f"there is no example {title!r}")
        status, *others = self._open(session, example.file)
        yield [status, example.words, *others]

    def _open(self, session: Session, file: Path) -> list[Any]:
        with _running(session):
            session.upload = session.result = None
            folder = session.new_folder("upload")
            session.upload = take_upload(file, file.name, folder, self.sessions.limits.pixels)
        return [
            html.note([session.upload.facts]),
            html.picture(session.upload.picture, session.upload.name),
            *_no_result(),
        ]

    def ask(self, session: Session) -> Iterator[list[Any]]:
        """Forget an earlier Cancel, before the request waits for its turn; from now on one is for it."""
        if not session.running.locked():
            session.stop.clear()
        yield [gr.skip()]

    def segment(
        self, session: Session, words: str, model: str, window: str, opacity: float, view: str
    ) -> Iterator[list[Any]]:
        """Segment what was taken: yield how far it is, and the result in the end."""
        with _running(session):
            upload = session.upload
            if upload is None:
                raise ConfigError("there is no image yet: send one, or pick an example")
            session.result = None
            folder = session.new_folder("results")

            def work(watch: Watch) -> Result:
                with self.models.lock:
                    segmenter = self.models.segmenter(model, words)
                    most = self.sessions.limits.windows
                    return segment_upload(segmenter, upload, window, folder, watch, most)

            yield [html.bar(0), html.picture(upload.picture, upload.name), *_no_result()]
            for found in watched(work, session.stop):
                if isinstance(found, Result):
                    session.result = found
                else:
                    yield [html.bar(found), *[gr.skip()] * 4]
        result = session.result
        if result is not None:
            links = {title: session.link(file) for title, file in result.files.items()}
            yield [
                html.note(["done"], "done") + html.note([session.clean(each) for each in result.notices]),
                _draw(result, list(result.present), opacity, view),
                _legend(result),
                html.legend_colors(result) + html.areas(result),
                html.downloads(links),
            ]

    def cancel(self, session: Session) -> Iterator[list[Any]]:
        """Stop what runs, which then says so itself: two answers to one status could change places."""
        session.stop.set()
        yield [gr.skip() if session.running.locked() else html.note([_IDLE])]

    def redraw(self, session: Session, classes: list[str], opacity: float, view: str) -> Iterator[list[Any]]:
        """Draw the result anew with other classes, opacity or view."""
        if session.result is None and classes:
            raise ConfigError("the result is no longer here, for the page was left for long; segment again")
        if session.result is not None:
            yield [gr.skip(), _draw(session.result, [int(each) for each in classes], opacity, view)]

    def leave(self, request: gr.Request) -> None:
        """Forget a user whose page is closed."""
        self.sessions.leave(request.session_hash)


@contextmanager
def _running(session: Session) -> Iterator[None]:
    """Let nothing else use the files of a session.

    Raises:
        ConfigError: Something else does.
    """
    if not session.running.acquire(blocking=False):
        raise ConfigError("a segmentation is running; cancel it first, or wait for it")
    try:
        yield
    finally:
        session.running.release()


def _draw(result: Result, shown: Sequence[int], opacity: float, view: str) -> str:
    heights, widths = result.ids.shape
    drawn = result.draw(shown, opacity, view)
    return html.picture(drawn, f"{view}, {widths} x {heights} px", ramp=view == "confidence")


def _legend(result: Result) -> Any:
    """Return the boxes of the classes that have pixels, all of them checked."""
    names = [result.legend.entries[k].name for k in result.present]
    choices = [(name, str(k)) for name, k in zip(names, result.present, strict=True)]
    return gr.CheckboxGroup(choices, value=[value for _, value in choices], visible=True)


def _no_result() -> list[Any]:
    """Return the contents of legend, areas and files without a result."""
    return [gr.CheckboxGroup([], value=[], visible=False), "", ""]


def theme() -> gr.Theme:
    """Return the look of the page, which needs no fonts but those of the machine of the user."""
    dark, light = "*neutral_600", "*neutral_300"  # enough contrast for small letters
    look = gr.themes.Default(font=_FONT, font_mono=["monospace"])
    return look.set(block_info_text_color=dark, block_info_text_color_dark=light)
