"""The docs site: built as `make docs` does it, without a link that leads nowhere."""

import importlib
import re
import shutil
from pathlib import Path

import nbformat
import pytest
import yaml
from docs_notebooks import page_of, read_notebook
from docs_site import gather, notebooks, write_notebook_page

import rskt_seg
from tests.pages import ROOT

MINIMAL = {"plugins": [], "theme": "mkdocs", "extra_css": []}


def build(pages: Path, site: Path, **settings) -> None:
    """Build a site strictly with the settings of the project."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        config = load_config(
            str(ROOT / "mkdocs.yml"), docs_dir=str(pages), site_dir=str(site), strict=True, **settings
        )
        config.plugins.on_startup(command="build", dirty=False)
        build(config)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The whole site, with the notebooks as they stand."""
    folder = tmp_path_factory.mktemp("site")
    gather(ROOT, folder / "pages")
    for path in notebooks(ROOT):
        write_notebook_page(read_notebook(path), path, ROOT, folder / "pages")
    build(folder / "pages", folder / "site")
    return folder / "site"


def test_every_page_is_in_the_site_and_its_navigation(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    pages |= {path.relative_to(ROOT / "docs").with_suffix(".html") for path in notebooks(ROOT)}
    home = (site / "index.html").read_text()
    for page in pages:
        assert (site / page).is_file(), page
    tabs = ("Start", "Tutorials", "How-to", "Methods", "Reference", "Project")
    for title in tabs:
        assert title in home


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", text)
        assert not [tag for tag in tags if re.search(r'(?:src|href)="(?:https?:)?//', tag)], page
        assert ('class="mermaid"' in text) == (page.name == "architecture.html"), page  # see CONTRIBUTING.md


def test_no_list_and_no_table_is_left_as_text(site):
    for page in site.rglob("*.html"):
        paragraphs = re.findall(r"<p>(.*?)</p>", page.read_text(), re.DOTALL)
        assert not [text for text in paragraphs if re.search(r"^(?:[-*] |\|.*\|$)", text, re.MULTILINE)], page


def test_what_pages_link_to_in_the_repository_comes_along(site):
    spec = (site / "repository/rskt_seg/models/rskt/spec.py.html").read_text()
    assert "RSKTSpec" in spec
    assert "vitb_dlrsd.yaml" in (site / "repository/configs/ovrsis/files.html").read_text()
    page = (site / "open_vocabulary.html").read_text()
    assert 'href="repository/configs/ovrsis/paper.yaml.html"' in page


def test_the_reference_has_everything_that_the_package_offers(site):
    page = (site / "api/index.html").read_text()
    documented = []
    for target in re.findall(r"^::: (\S+)", (ROOT / "docs/api/index.md").read_text(), re.MULTILINE):
        module, _, name = target.rpartition(".")
        documented.append(getattr(importlib.import_module(module), name))
        assert f'id="{target}"' in page
    assert len(documented) == len(rskt_seg.__all__)
    assert all(getattr(rskt_seg, name) in documented for name in rskt_seg.__all__)


# What must end a build.


@pytest.fixture
def small(tmp_path) -> Path:
    """A repository with two pages and a notebook, which builds."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/a.yaml").write_text("answer: 42\n")
    (tmp_path / "docs/index.md").write_text(
        "# Home\n\n[other](other.md#there) [file](../configs/a.yaml) [notebook](walk.ipynb)\n"
    )
    (tmp_path / "docs/other.md").write_text("# Other\n\n## There\n\n[folder](../configs)\n")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Walk")])
    nbformat.write(notebook, tmp_path / "docs/walk.ipynb")
    return tmp_path


def build_small(root: Path) -> Path:
    shutil.rmtree(root / "site", ignore_errors=True)
    gather(root, root / "pages")
    for path in notebooks(root):
        write_notebook_page(read_notebook(path), path, root, root / "pages")
    nav = ["index.md", "other.md", "walk.md"]
    build(root / "pages", root / "site", nav=nav, **MINIMAL)
    return root / "site"


def test_a_site_without_a_fault_is_built(small):
    site = build_small(small)
    assert 'href="walk.html"' in (site / "index.html").read_text()
    assert "42" in (site / "repository/configs/a.yaml.html").read_text()
    assert "a.yaml" in (site / "repository/configs/files.html").read_text()
    assert (site / "walk.ipynb").is_file()


@pytest.mark.parametrize(
    "text",
    [
        "[page](nowhere.md)",
        "[heading](other.md#nowhere)",
        "[file of the repository](../configs/nowhere.yaml)",
        "[outside of the repository](../../../etc/hosts)",
        "[notebook](nowhere.ipynb)",
        "![picture](nowhere.png)",
    ],
)
def test_a_link_that_leads_nowhere_ends_the_build(small, text):
    with (small / "docs/other.md").open("a") as page:
        page.write(f"\n{text}\n")
    with pytest.raises(SystemExit):
        build_small(small)


def test_a_page_that_the_navigation_lacks_ends_the_build(small):
    (small / "docs/third.md").write_text("# Third\n")
    with pytest.raises(SystemExit):
        build_small(small)


def test_links_in_blocks_of_code_are_text(small):
    with (small / "docs/other.md").open("a") as page:
        page.write("\n```text\n[page](nowhere.md) [file](../configs/a.yaml)\n```\n")
    site = build_small(small)
    assert "(../configs/a.yaml)" in (site / "other.html").read_text()


# Notebooks as pages.


def test_a_page_of_a_notebook_shows_text_pictures_and_tables():
    outputs = [
        nbformat.v4.new_output("stream", text="\x1b[31m3 classes\x1b[0m\n"),
        nbformat.v4.new_output("display_data", data={"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"}),
        nbformat.v4.new_output("execute_result", data={"text/html": "<table></table>", "text/plain": "4"}),
    ]
    cell = nbformat.v4.new_code_cell("predict()", outputs=outputs)
    title = nbformat.v4.new_markdown_cell("# Walk")
    page, pictures = page_of(nbformat.v4.new_notebook(cells=[title, cell]), "walk.ipynb")
    assert page.startswith("# Walk\n") and "```python\npredict()\n```" in page
    assert (
        "``` {.text .output}\n3 classes\n```" in page and "<table></table>" in page and "<Figure>" not in page
    )
    assert pictures == {"walk_0.png": b"\x89PNG\r\n\x1a\n"} and "(walk_0.png)" in page


def test_the_navigation_has_the_six_sections():
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(), loader)["nav"]
    assert [next(iter(each)) for each in nav] == [
        "Start",
        "Tutorials",
        "How-to",
        "Methods",
        "Reference",
        "Project",
    ]
