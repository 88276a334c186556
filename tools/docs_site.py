#!/usr/bin/env python
"""Gather the pages of the docs site in one folder, from which MkDocs builds it (`make docs`).

    python tools/docs_site.py && mkdocs build --strict

Pages are written for a code host, where `../configs/ovrsis/paper.yaml` and `own_data.ipynb` are links. A site
has only what is in its folder. So the files and folders of the repository that pages link to come along below
`repository/`: a Markdown page as it is, another file as its text, a folder as a list of its files. Notebooks
become pages with what they show when they run. Links follow. A link that leads nowhere is left as it is, and
ends a strict build.
"""

import argparse
import ast
import posixpath
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from docs_notebooks import Kernel, page_of, read_notebook

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build/pages"
"""Where MkDocs finds the pages (`docs_dir` of mkdocs.yml)."""
FOLDER = "repository"
"""Where the site has files of the repository that are not below docs/."""
ALWAYS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "datasets/README.md")
"""Pages outside of docs/ that the navigation lists."""
LINK = re.compile(r"```.*?```|(?<=\]\()(?P<path>[^)\s#:]+)(?P<anchor>#[^)\s]*)?(?=\))", re.DOTALL)
"""A block of code, whose text is no link, or the target of a relative link."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".cff": "yaml", ".json": "json"}


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    gather(ROOT, PAGES)
    with Kernel() as kernel:
        for path in notebooks(ROOT):
            print(f"running {path.relative_to(ROOT)}")
            write_notebook_page(kernel.run(read_notebook(path)), path, ROOT, PAGES)


def gather(root: Path, output: Path) -> None:
    """Copy docs/ and what its pages link to, with links that fit; notebooks are copied as files alone.

    Args:
        root: The repository.
        output: Folder of the pages, which is emptied first.
    """
    shutil.rmtree(output, ignore_errors=True)
    shutil.copytree(root / "docs", output)
    pages = [path.relative_to(root).as_posix() for path in (root / "docs").rglob("*.md")]
    to_write = {*pages, *(path for path in ALWAYS if (root / path).exists())}
    written: set[str] = set()
    while to_write - written:
        for source in sorted(to_write - written):
            page = output / place_of(source, root)
            page.parent.mkdir(parents=True, exist_ok=True)
            text, linked = as_page(source, root)
            page.write_text(text)
            written.add(source)
            to_write |= {path for path in linked if not path.startswith("docs/")}


def notebooks(root: Path) -> list[Path]:
    """Return the notebooks of the documentation in the order of their names."""
    return sorted((root / "docs").rglob("*.ipynb"))


def write_notebook_page(notebook: dict, path: Path, root: Path, output: Path) -> None:
    """Write the page of a notebook, with the pictures of its outputs.

    Args:
        notebook: The notebook, as it was run or as it stands.
        path: Its file in the repository.
        root: The repository.
        output: Folder of the pages.
    """
    source = path.relative_to(root).as_posix()
    page = output / place_of(source, root)
    markdown, pictures = page_of(notebook, path.name)
    page.write_text(with_links(markdown, source, root)[0])
    for name, data in pictures.items():
        (page.parent / name).write_bytes(data)


def place_of(source: str, root: Path) -> str:
    """Return where the site has a file or folder of the repository, both with slashes."""
    if source.startswith("docs/"):
        return re.sub(r"\.ipynb$", ".md", source.removeprefix("docs/"))
    if (root / source).is_dir():
        return f"{FOLDER}/{source}/files.md"
    page = source.replace("README.md", "readme.md")  # a README would be the page of its section
    return f"{FOLDER}/{page}" if page.endswith(".md") else f"{FOLDER}/{page}.md"


def as_page(source: str, root: Path) -> tuple[str, set[str]]:
    """Return a file or folder of the repository as Markdown, and the paths that it links to."""
    path = root / source
    if path.suffix == ".md":
        return with_links(path.read_text(), source, root)
    body = "\n".join(listed(path)) if path.is_dir() else quoted(path)
    return f"---\ntitle: {path.name}\nsearch: {{exclude: true}}\n---\n\n# `{source}`\n\n{body}\n", set()


def with_links(markdown: str, source: str, root: Path) -> tuple[str, set[str]]:
    """Let the relative links of a text lead to where the site has what they name.

    Args:
        markdown: The text.
        source: Path of its file in the repository.
        root: The repository.

    Returns:
        The text with other links, and the paths in the repository that exist and are linked to.
    """
    linked: set[str] = set()

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match["path"] or ""))
        if not match["path"] or target.startswith("..") or not (root / target).exists():
            return match[0]
        linked.add(target)
        here = posixpath.dirname(place_of(source, root)) or "."
        return posixpath.relpath(place_of(target, root), here) + (match["anchor"] or "")

    return LINK.sub(moved, markdown), linked


def quoted(path: Path) -> str:
    """Return a file as a block of code."""
    return f"`````{LANGUAGES.get(path.suffix, 'text')}\n{path.read_text().rstrip()}\n`````"


def listed(folder: Path) -> Iterator[str]:
    """Yield a line for each file and folder of a folder, with what a module says of itself."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__pycache__")):
            continue
        module = path / "__init__.py" if path.is_dir() else path
        is_module = module.suffix == ".py" and module.is_file()
        says = ast.get_docstring(ast.parse(module.read_text())) if is_module else None
        name = f"{path.name}/" if path.is_dir() else path.name
        yield f"- `{name}`: {says.splitlines()[0]}" if says else f"- `{name}`"


if __name__ == "__main__":
    main()
