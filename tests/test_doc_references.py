"""README, docs and the other pages: links, paths, names and rows lead somewhere."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

import rskt_seg
from tests.pages import ARCHITECTURE, PAGES, ROOT, blocks, every_page, named, prose
from tests.test_architecture import ALLOWED, BASE


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@every_page
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


FOLDERS = "rskt_seg|configs|tests|tools|demo|datasets|docs"
PRESENT = [page for page in PAGES if page.name != "CHANGELOG.md"]
"""Pages that speak of the present alone."""


@pytest.mark.parametrize("page", PRESENT, ids=named)
def test_every_path_of_the_repository_in_the_text_exists(page):
    for path in re.findall(rf"`((?:{FOLDERS})/[\w./*<>-]*\w\*?)(?::\w+)?`", prose(page)):
        if path != "rskt_seg/configs":  # in installed packages
            pattern = re.sub(r"<\w+>", "*", path)
            assert list(ROOT.glob(pattern)), path


@pytest.mark.parametrize("page", PRESENT, ids=named)
def test_every_name_of_the_package_in_the_text_exists(page):
    for name in set(re.findall(r"`(rskt_seg(?:\.\w+)+)", prose(page))):
        parts = name.split(".")
        module = rskt_seg
        while len(parts) > 1:
            try:
                module = importlib.import_module(".".join(parts))
                break
            except ModuleNotFoundError:
                parts.pop()
        for attribute in name.split(".")[len(parts) :]:
            assert hasattr(module, attribute), name
            module = getattr(module, attribute)


def rows_of_tables() -> set[str]:
    """`FILE:ROW` of every row of an ablation table, without its folder `configs`."""
    return {
        f"{path.relative_to(ROOT / 'configs').as_posix()}:{row}"
        for path in (ROOT / "configs").rglob("ablations.yaml")
        for table in yaml.safe_load(path.read_text())["tables"]
        for row in table["rows"]
    }


@pytest.mark.parametrize(
    ("page", "folders"),
    [
        ("closed_set.md", ("bicor", "fctl/deepglobe", "fctl/inria")),
        ("open_vocabulary.md", ("ovrsis",)),
        ("weak_supervision.md", ("wsss",)),
    ],
)
def test_the_pages_list_exactly_the_rows_of_the_ablation_tables(page, folders):
    listed = set(re.findall(r"`((?:table\d|figure\d)_\w+)`", (ROOT / "docs" / page).read_text()))
    rows = {row.partition(":")[2] for row in rows_of_tables() if row.startswith(folders)}
    assert listed == rows


def test_the_table_of_configurations_states_their_layers():
    page = (ROOT / "docs/open_vocabulary.md").read_text()
    rows = re.findall(r"\[`(\w+\.yaml)`\].*?\|.*?\| (\d) \|", page)
    assert len(rows) == 7
    for name, layers in rows:
        tree = yaml.safe_load((ROOT / "configs/ovrsis" / name).read_text())
        assert tree["MODEL"]["RSKT"].get("NUM_LAYERS", 5) == int(layers), name


def test_the_readme_names_every_preset_of_the_package():
    from rskt_seg.methods.builtin import BUILTIN

    text = (ROOT / "README.md").read_text()
    for method in BUILTIN:
        assert all(f"`{preset}`" in text for preset in method.presets), method.name


# The map of the rooms.


def drawn_map() -> str:
    """The Mermaid diagram of what may import what, by the rules that the tests enforce."""
    names = {room: room.removesuffix(".py") for room in ALLOWED} | {"__init__.py": "rskt_seg"}
    rooms = [room for room in reversed(ALLOWED) if names[room] not in BASE]
    anywhere = [room for room in rooms if ALLOWED[room] is None]
    checked = [room for room in rooms if ALLOWED[room] is not None]
    arrows = [f"{names[room]} --> {' & '.join(sorted(ALLOWED[room]))}" for room in checked if ALLOWED[room]]
    lines = ["flowchart TD", "    subgraph rooms"]
    lines += [f"        {line}" for line in (*map(names.get, checked), *arrows)]
    lines += ["    end", "    subgraph ground", *(f"        {name}" for name in sorted(BASE)), "    end"]
    lines += [*(f"    {room} ==> rooms" for room in anywhere), "    rooms ==> ground", ""]
    return "\n".join(lines)


def test_the_map_of_the_rooms_is_that_of_the_enforced_rules():
    drawn = blocks(ARCHITECTURE, "mermaid")[0]
    assert drawn == drawn_map(), f"docs/architecture.md should have this map:\n{drawn_map()}"


def test_every_room_is_described():
    table = ARCHITECTURE.read_text().partition("## What is where")[2].partition("## Records")[0]
    described = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))))
    rooms = {room.removesuffix(".py") for room in ALLOWED} - {"__init__"}
    assert described == rooms
