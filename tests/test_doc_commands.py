"""README, docs and the other pages: every command shown parses, and its configuration exists."""

import argparse
import importlib
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import rskt_seg
from tests.pages import PAGES, ROOT, blocks, every_page, named, prose

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
            script = ROOT / words[1]
            monkeypatch.syspath_prepend(script.parent)  # as Python does for a script
            runpy.run_path(str(script), run_name="__main__")
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
    from rskt_seg.d2.shorthand import choose_config

    monkeypatch.chdir(tmp_path)  # configurations are found from any folder
    given = vars(parse(words))
    model = given.get("model") if words[1] in ("train", "eval") else None
    config = given.get("config_file") or given.get("all_for") or (choose_config(model) if model else None)
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
