"""Notebooks of the documentation: run, and turned into pages (`tools/docs_site.py`).

They are kept without outputs, so that a change of one is a change of its text, and run by the tests and by
`make docs`: no picture on the site is older than the code.
"""

import base64
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Self

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
SHOWN = ("image/png", "text/html", "text/plain")
"""Kinds of output that a page shows, the first that an output has."""
TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
SECONDS = 300
"""Longest time of a cell."""


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook."""
    return nbformat.read(path, as_version=4)


class Kernel:
    """One process that runs notebooks one after the other, each in an empty folder and without names.

    torch is imported once. The programs of this Python come first on the search path, as `rskt-seg` of a
    notebook is that of the environment it runs in.
    """

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="docs-site-")
        connection = str(Path(self._folder.name, "kernel.json"))
        self._manager = KernelManager(kernel_name="python3", transport="ipc", connection_file=connection)
        programs = str(Path(sys.executable).parent)
        own = {
            "PATH": os.pathsep.join([programs, os.environ.get("PATH", "")]),
            "IPYTHONDIR": self._folder.name,  # not the start-up files and the history of the user
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        }
        self._manager.start_kernel(env={**os.environ, **own}, cwd=self._folder.name)
        return self

    def __exit__(self, *error: object) -> None:
        self._manager.shutdown_kernel(now=True)
        self._folder.cleanup()

    def run(self, notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
        """Run a notebook.

        Args:
            notebook: The notebook, which is left as it is.

        Returns:
            A copy with the outputs.

        Raises:
            nbclient.exceptions.CellExecutionError: A cell failed.
        """
        folder = tempfile.mkdtemp(dir=self._folder.name)
        first = nbformat.v4.new_code_cell(f"%cd -q {folder}\n%reset -f")
        run = nbformat.from_dict({**notebook, "cells": [first, *notebook.cells]})
        NotebookClient(run, km=self._manager, timeout=SECONDS, coalesce_streams=True).execute()
        for cell in run.cells[1:]:
            for output in cell.get("outputs", ()):
                if output.output_type == "stream":
                    output.text = output.text.replace(f"{folder}/", "").replace(f"{ROOT}/", "")
        return nbformat.from_dict({**run, "cells": run.cells[1:]})


def page_of(notebook: nbformat.NotebookNode, file: str) -> tuple[str, dict[str, bytes]]:
    """Turn a notebook into a page.

    Args:
        notebook: The notebook, with outputs or without.
        file: Name of its file, which the page offers.

    Returns:
        The page as Markdown, and its pictures: name of a file beside it -> PNG.
    """
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```{'sh' if cell.source.startswith('%%bash') else 'python'}\n{cell.source}\n```")
        for output in cell.outputs:
            name = f"{Path(file).stem}_{len(pictures)}.png"
            parts.append(_shown(output, name, pictures))
    parts.insert(1, f'<a class="md-button" href="{file}" download>Download this notebook</a>')
    return "\n\n".join(filter(None, parts)) + "\n", pictures


def _shown(output: nbformat.NotebookNode, name: str, pictures: dict[str, bytes]) -> str:
    """Return an output as Markdown; the bytes of a picture go to `pictures`."""
    if output.output_type == "stream":
        return _text(output.text)
    kind = next((kind for kind in SHOWN if kind in output.get("data", {})), None)
    if kind is None:
        return ""
    value = output.data[kind]
    if kind == "image/png":
        pictures[name] = base64.b64decode(value)
        return f"![Output of the cell above]({name})"
    if kind == "text/html":
        return f'<div class="output">\n{value}\n</div>'
    return _text(value)


def _text(text: str) -> str:
    plain = TERMINAL.sub("", text).strip("\n")
    return f"``` {{.text .output}}\n{plain}\n```" if plain else ""
