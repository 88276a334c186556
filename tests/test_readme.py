"""README, docs and the other pages: examples run, commands parse, links and names lead somewhere."""

import argparse
import importlib
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import rskt_seg
from tests.test_architecture import ALLOWED, BASE

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "datasets/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
ARCHITECTURE, EXTENDING = ROOT / "docs/architecture.md", ROOT / "docs/extending.md"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=named)


def test_the_readme_is_short_and_shows_one_picture():
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 900
    assert len(re.findall(r"!\[.*?\]\(", text)) == 1


# Python examples.

SMALL = {
    '"rskt_vitb16", num_layers=5': '"rskt_tiny"',
    '"bicor_convnextb"': '"bicor_tiny"',
    '"fctl_vgg16"': '"fctl_tiny"',
    '"prior_wsss_vitb16"': '"prior_wsss_tiny"',
    'dino="vitb14"': 'dino="tiny"',
    "ViT-B-16.pt": "tiny",
}
"""What the examples build or load -> the tiny one that stands in for it."""
EXAMPLES = [
    pytest.param(block, id=f"{named(page)}:{number}")
    for page in PAGES
    for number, block in enumerate(blocks(page, "python"))
    if "rskt_seg.create_model(" in block and page != EXTENDING
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_inference_run_and_their_results_have_the_stated_shapes(
    tmp_path, monkeypatch, example
):
    """With a tiny model in place of the full one, whose untrained weights are the checkpoint."""
    monkeypatch.chdir(tmp_path)
    small = example
    for full, tiny in SMALL.items():
        small = small.replace(full, tiny)
    torch.manual_seed(0)
    names: dict = {"rskt_seg": rskt_seg}
    exec(next(line for line in small.splitlines() if line.startswith("model =")), names)
    model = names["model"]
    if "load_encoder" in small:
        torch.save(model.dinov2.state_dict(), "dinov2_vitb14_pretrain.pth")
        rskt_seg.load_encoder(model, "clip", "tiny")
        model.encode_classes()
    torch.save({"model": model.state_dict()}, "model_final.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("scene.tif")
    exec(compile(small, "example", "exec"), names)
    if "result" in names:
        listed = [name.split(",")[0] for name in re.findall(r'"(.*?)"', re.search(r"\[(.*?)\]", example)[1])]
        classes = ["background", *listed] if "wsss" in example else listed
        assert list(names["result"].class_names) == classes
        assert names["result"].labels.shape == (20, 30)
        assert names["result"].scores.shape == (len(classes), 20, 30)


def test_there_is_an_example_of_every_method():
    shown = "".join(example.values[0] for example in EXAMPLES)
    assert all(full in shown for full in SMALL)


@every_page
def test_python_blocks_compile(page):
    for block in blocks(page, "python"):
        compile(block, named(page), "exec")


@pytest.fixture
def fcn(tmp_path, monkeypatch) -> Iterator[Path]:
    """The package of docs/extending.md on disk and importable; forgotten afterwards."""
    from rskt_seg.methods import registered_methods, unregister_method

    (tmp_path / "my_fcn").mkdir()
    for language in ("python", "yaml", "toml"):
        for block in blocks(EXTENDING, language):
            if path := re.match(r"# ([\w/]+\.\w+)\n", block):
                (tmp_path / path[1]).write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    if "fcn" in {method.name for method in registered_methods()}:
        unregister_method("fcn")
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_fcn"]:
        del sys.modules[name]


def use_fcn() -> dict:
    """What docs/extending.md does with its package in a script."""
    (block,) = [block for block in blocks(EXTENDING, "python") if block.startswith("# use it")]
    names: dict = {}
    exec(compile(block, "docs/extending.md", "exec"), names)
    return names


def test_the_method_of_the_page_on_extending_is_built_used_saved_and_loaded(fcn):
    model = use_fcn()["model"]
    torch.save({"model": model.state_dict()}, "model_final.pth")
    other = rskt_seg.create_model("fcn", class_names=["water", "land"], width=16)
    rskt_seg.load_checkpoint(other, "model_final.pth")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_its_entry_point_names_its_record(fcn):
    project = tomllib.loads((fcn / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["rskt_seg.methods"] == {"fcn": "my_fcn:METHOD"}
    from rskt_seg.methods import Method

    assert isinstance(importlib.import_module("my_fcn").METHOD, Method)


def test_its_configuration_builds_a_segmentor_that_learns_and_predicts(fcn):
    from rskt_seg.d2 import load_config  # isort: skip  # prepares Detectron2 for the imports below
    from detectron2.modeling import SEM_SEG_HEADS_REGISTRY, build_model

    use_fcn()
    try:
        segmentor = build_model(load_config("fcn.yaml", ["MODEL.DEVICE", "cpu"]))
        model = segmentor.sem_seg_head.model
        assert model.spec.width == 64 and len(model.class_names) == 17
        image, target = torch.rand(3, 32, 48) * 255, torch.zeros(32, 48, dtype=torch.uint8)
        entry = {"image": image, "sem_seg": target, "vocabulary": model.class_names}
        losses = segmentor.train()([entry, entry])
        sum(losses.values()).backward()
        assert set(losses) == {"loss_ce"} and all(p.grad is not None for p in model.parameters())
        (result,) = segmentor.eval()([{**entry, "height": 64, "width": 96}])
        assert result["sem_seg"].shape == (17, 64, 96)
    finally:
        SEM_SEG_HEADS_REGISTRY._obj_map.pop("FCNHead", None)


# Commands.

OTHERS_CONFIGS = {"fcn.yaml"}
"""Configurations in commands that are no files of this project."""


class Parsed(BaseException):
    """Raised in place of running a command whose command line has been parsed."""

    def __init__(self, namespace: argparse.Namespace) -> None:
        super().__init__()
        self.namespace = namespace


@pytest.fixture
def parse(monkeypatch) -> Callable[[list[str]], argparse.Namespace]:
    """Parse the words of a command by the parser of that command, without running it."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(self, args=None, namespace=None):
        result = original(self, args, namespace)
        if self.prog == "rskt-seg":  # the choice of the subcommand
            return result
        raise Parsed(result)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)

    def parse(words: list[str]) -> argparse.Namespace:
        try:
            if words[0] == "rskt-seg":
                raise SystemExit(console_command()(words[1:]))
            monkeypatch.setattr(sys, "argv", words[1:])
            runpy.run_path(str(ROOT / words[1]), run_name="__main__")
        except Parsed as parsed:
            return parsed.namespace
        except SystemExit as error:
            pytest.fail(f"{shlex.join(words)}: exit status {error.code}")
        pytest.fail(f"{shlex.join(words)}: parses no command line")

    return parse


def console_command() -> Callable[[list[str]], int]:
    """The function that `rskt-seg` calls."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["rskt-seg"].partition(":")
    return getattr(importlib.import_module(module), function)


def commands(page: Path) -> list[list[str]]:
    """The commands of the shell blocks of a page as words, without variables in front of them."""
    lines = [
        line
        for block in blocks(page, "sh") + [text.replace("$ ", "") for text in blocks(page, "console")]
        for line in block.replace("\\\n", " ").splitlines()
    ]
    found = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    for words in found:
        while words and re.match(r"\w+=", words[0]):
            del words[0]
    return [words for words in found if words]


def is_ours(words: list[str]) -> bool:
    script = len(words) > 1 and words[0].endswith("python") and words[1].endswith(".py")
    return words[0] == "rskt-seg" or script


OURS = [
    pytest.param(words, id=f"{named(page)}:{number}")
    for page in PAGES
    for number, words in enumerate(filter(is_ours, commands(page)))
]


@pytest.mark.parametrize("words", OURS)
def test_every_command_shown_parses_and_its_configuration_exists(words, parse, tmp_path, monkeypatch):
    if words[1:] == ["--help"]:
        return
    from rskt_seg.d2 import load_config

    monkeypatch.chdir(tmp_path)  # configurations are found from any folder
    given = vars(parse(words))
    config = given.get("config_file") or given.get("all_for")
    opts = given.get("opts") or []
    assert len(opts) % 2 == 0, f"KEY VALUE pairs expected; found {opts}"
    if config and config not in OTHERS_CONFIGS:
        load_config(config, opts)


def test_the_commands_of_the_first_minute_are_shown():
    shown = [words[:2] for words in commands(ROOT / "README.md")]
    for command in (["make", "demo"], ["make", "test"], ["rskt-seg", "segment"], ["rskt-seg", "train"]):
        assert command in shown


@every_page
def test_targets_of_make_and_files_of_pytest_exist(page):
    rules = (ROOT / "Makefile").read_text().replace("$(READY)", ".venv/.ready")
    targets = re.findall(r"^([\w./-]+):", rules, re.MULTILINE)
    for words in commands(page):
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= set(targets), words
        if words[1:3] == ["-m", "pytest"]:
            for word in words[3:]:
                path = word.partition("::")[0]
                assert not path.startswith("tests") or (ROOT / path).exists(), words
    for target in re.findall(r"`make ([\w./-]+)`", prose(page)):
        assert target in targets


@every_page
def test_subcommands_in_the_text_exist(page, capsys):
    for name in set(re.findall(r"`rskt-seg ([a-z-]+)", prose(page))) - {"--help"}:
        with pytest.raises(SystemExit) as ended:
            console_command()([name, "--help"])
        assert ended.value.code == 0, name
    capsys.readouterr()


def test_the_citation_is_that_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == rskt_seg.__version__ and citation["license"] == "Apache-2.0"


def test_the_hooks_run_the_tools_of_the_environment_without_a_network():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    assert repository["repo"] == "local" and set(hooks) == {"ruff-check", "ruff-format", "mypy"}
    assert all(hook["language"] == "system" for hook in hooks.values())
    assert all(hook["entry"].startswith(".venv/bin/") for hook in hooks.values())


# Links and names.


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
    [("closed_set.md", ("bicor", "fctl/deepglobe", "fctl/inria")), ("weak_supervision.md", ("wsss",))],
)
def test_the_pages_list_exactly_the_rows_of_the_ablation_tables(page, folders):
    listed = set(re.findall(r"`((?:table\d|figure\d)_\w+)`", (ROOT / "docs" / page).read_text()))
    rows = {row.partition(":")[2] for row in rows_of_tables() if row.startswith(folders)}
    assert listed == rows


def test_the_table_of_configurations_states_their_layers():
    page = (ROOT / "docs/open_vocabulary.md").read_text()
    rows = re.findall(r"\[`(\w+\.yaml)`\].*?\|.*?\| (\d) \|", page)
    assert len(rows) == 5
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
