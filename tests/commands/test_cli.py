"""`rskt-seg`: every subcommand is found, helps, and is what the script of the repository runs."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import rskt_seg
from rskt_seg.commands.cli import COMMANDS, main
from rskt_seg.commands.segment_flags import BUILTIN, registered_facts

ROOT = Path(__file__).parents[2]
SCRIPTS = {
    "train_net.py": "train",
    "demo/demo.py": "segment",
    "datasets/prepare.py": "prepare",
    "datasets/check.py": "check",
    "datasets/image_labels.py": "image-labels",
    "tools/weights.py": "weights",
    "tools/knowledge.py": "knowledge",
    "tools/loveda_submission.py": "loveda-submission",
}


def ends(argv: list[str]) -> int:
    """Exit status of `rskt-seg`, whether it returns or argparse exits."""
    try:
        return main(argv)
    except SystemExit as error:
        return error.code


def test_help_lists_every_command_and_loads_neither_torch_nor_detectron2():
    code = (
        "import sys, rskt_seg.commands.cli as cli\n"
        "try: cli.main(['--help'])\n"
        "finally: print([name for name in ('torch', 'numpy', 'detectron2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    for name, summary in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", done.stdout, re.MULTILINE)


def test_the_version_is_that_of_the_package(capsys):
    assert ends(["--version"]) == 0 and capsys.readouterr().out == f"rskt-seg {rskt_seg.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_answers_help_under_its_own_name(name, capsys):
    assert ends([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: rskt-seg {name} ") and f"\n    rskt-seg {name} " in out


def test_neither_help_nor_a_wrong_flag_loads_a_library_that_takes_seconds():
    code = (
        "import sys, rskt_seg.commands.cli as cli\n"
        "for name in sys.argv[1:]:\n"
        "    for flag in ('--help', '--no-such-flag'):\n"
        "        try: cli.main([name, flag])\n"
        "        except SystemExit: pass\n"
        "        for heavy in ('torch', 'detectron2', 'rasterio', 'open_clip', 'matplotlib'):\n"
        "            if heavy in sys.modules: print('HEAVY', name, flag, heavy, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *COMMANDS], capture_output=True, text=True, check=True)
    assert done.stderr.count("unrecognized") + done.stderr.count("required") >= len(COMMANDS)
    assert "HEAVY" not in done.stderr


def test_what_help_says_of_the_methods_is_what_their_records_say():
    assert registered_facts() == BUILTIN


@pytest.mark.parametrize("name", ["train", "eval"])
def test_a_run_is_described_in_its_own_words_and_needs_a_configuration(name, capsys):
    assert ends([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert "KEY VALUE" in out and "keys of the configuration, after all flags" in out
    assert not any(word in out for word in ("Yacs", "LazyConfig", "DefaultTrainer"))
    assert ends([name]) == 2
    assert "one of the arguments --config-file --model is required" in capsys.readouterr().err


def test_an_unknown_command_gets_the_nearest_name_or_all_of_them(capsys):
    assert ends(["chek"]) == 2
    assert capsys.readouterr().err == "rskt-seg: error: no command is called 'chek'; did you mean check?\n"
    assert ends(["zzz"]) == 2 and f"known are {', '.join(COMMANDS)}" in capsys.readouterr().err
    assert ends([]) == 2 and "COMMAND" in capsys.readouterr().err


def test_a_mistake_is_reported_under_the_name_of_the_command(capsys):
    assert ends(["eval", "--config-file", "gone.yaml"]) == 2
    assert re.fullmatch(r"rskt-seg eval: error: .*gone\.yaml.*\n", capsys.readouterr().err)


def test_a_missing_detectron2_is_one_line(monkeypatch, capsys):
    from rskt_seg.d2 import compat

    def refuse():
        raise compat.MissingDetectron2Error("Detectron2 is not installed")

    for name in [name for name in sys.modules if name.startswith("rskt_seg.d2") and name != compat.__name__]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(compat, "prepare", refuse)
    assert ends(["train", "--config-file", "any.yaml"]) == 2
    assert capsys.readouterr().err == "rskt-seg train: error: Detectron2 is not installed\n"


@pytest.mark.parametrize(("script", "name"), SCRIPTS.items())
def test_a_script_imports_a_command_and_calls_it(script, name):
    _docstring, imported, guarded = ast.parse((ROOT / script).read_text()).body
    module = f"rskt_seg.commands.{name.replace('-', '_')}"
    assert ast.unparse(imported) == f"from {module} import main"
    assert ast.unparse(guarded) == "if __name__ == '__main__':\n    raise SystemExit(main())"
    assert f"rskt-seg {name}" == import_module(module).PROGRAM


def test_only_tools_of_a_checkout_and_probing_processes_change_the_path_of_modules():
    folders = (ROOT / name for name in ("rskt_seg", "demo", "datasets", "tools"))
    files = [path for folder in folders for path in folder.rglob("*.py")]
    changing = {path.name for path in files if "sys.path" in path.read_text()}
    # The tools share demo/mini_benchmark.py; a probing process gets the path of the one that starts it; the
    # published code imports from its own folder.
    tools = {"against.py", "mini_ablation.py", "train_tiny_model.py", "wsss_ablation.py"}
    assert changing == tools | {"doctor_probes.py"}
