"""How configuration files are found and read: names, bases, rows of ablation tables, and what is refused."""

import logging
import socket
from argparse import Namespace
from pathlib import Path

import pytest
import yaml

from rskt_seg.commands.train import parse_args
from rskt_seg.d2 import config_files, find_config, load_config
from rskt_seg.d2.config_files import ConfigSource, config_names, read_config, read_rows, resolve_config
from rskt_seg.d2.launch import Run, set_up
from rskt_seg.errors import ConfigError
from rskt_seg.metrics.published import read_table
from tests.d2.configurations import ROOT, TABLES, name_of

OVRSIS = ROOT / "ovrsis"
TABLE = """
output: output/mine/{row}
tables:
  - table: mine_table1
    column: mIoU
    base: base.yaml
    overrides: {SOLVER: {MAX_ITER: 7}, MODEL.RSKT.FUSION: mean}
    rows:
      plain:
      deeper: {row: "two, layers", overrides: {MODEL.RSKT: {NUM_LAYERS: 2}, SOLVER.BASE_LR: 0.5}}
      elsewhere: {base: other.yaml}
"""


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """A working folder with a table of one's own and its bases."""
    monkeypatch.chdir(tmp_path)
    for name in ("base", "other"):
        (tmp_path / f"{name}.yaml").write_text(f"_BASE_: {OVRSIS}/tiny_dlrsd.yaml\nSEED: {len(name)}\n")
    (tmp_path / "ablations.yaml").write_text(TABLE)
    return tmp_path


def fails(name: str) -> str:
    """The message with which a configuration is refused, which must be one line."""
    with pytest.raises(ConfigError) as caught:
        load_config(name)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


# Names


@pytest.mark.parametrize("name", ["ovrsis/vitb_dlrsd.yaml", "configs/ovrsis/vitb_dlrsd.yaml"])
def test_the_projects_configurations_are_found_by_name_from_any_folder(mine, name):
    assert find_config(name) == OVRSIS / "vitb_dlrsd.yaml"
    assert load_config(name) == load_config(str(OVRSIS / "vitb_dlrsd.yaml"))


def test_rows_are_found_by_name_from_any_folder(mine):
    name = "ovrsis/ablations.yaml:table2_dlrsd_ri"
    assert find_config(name) == OVRSIS / "ablations.yaml"
    assert resolve_config(name) == ConfigSource(OVRSIS / "ablations.yaml", "table2_dlrsd_ri")
    assert not load_config(name).MODEL.RSKT.DINO


def test_a_path_that_exists_comes_before_a_name_of_the_project(mine):
    (mine / "ovrsis").mkdir()
    (mine / "ovrsis" / "vitb_dlrsd.yaml").write_text("_BASE_: configs/ovrsis/tiny_dlrsd.yaml\nSEED: 99\n")
    assert find_config("ovrsis/vitb_dlrsd.yaml") == Path("ovrsis/vitb_dlrsd.yaml")
    assert load_config("ovrsis/vitb_dlrsd.yaml").SEED == 99


def test_an_installed_package_brings_its_configurations(mine, monkeypatch):
    inside = mine / "site" / "rskt_seg" / "configs" / "own"
    inside.mkdir(parents=True)
    (inside / "one.yaml").write_text("SEED: 1\n")
    monkeypatch.setattr(config_files.resources, "files", lambda package: mine / "site" / package)
    assert find_config("own/one.yaml") == inside / "one.yaml"
    assert config_names() == ["own/one.yaml"]


def test_an_unknown_name_gets_the_near_ones(mine):
    assert "did you mean ovrsis/vitb_dlrsd.yaml" in fails("ovrsis/vitb_dlsrd.yaml")
    assert "did you mean bicor/vaihingen.yaml" in fails("configs/bicor/vahingen.yaml")
    for name in ("", "nothing like it", "x\0y", "n" * 300, "~nobody/x.yaml"):
        assert "does not exist" in fails(name)


def test_all_names_of_the_project_are_found(mine):
    assert len(config_names()) > 70
    for name in config_names():
        assert find_config(name) == ROOT / name


# Rows


def test_a_row_is_its_base_with_the_overrides_of_its_table_and_its_own(mine):
    cfg = load_config("ablations.yaml:deeper")
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR) == (4, 7, 0.5)
    assert (cfg.MODEL.RSKT.NUM_LAYERS, cfg.MODEL.RSKT.FUSION) == (2, "mean")
    assert cfg.OUTPUT_DIR == "output/mine/deeper"
    plain, elsewhere = (load_config(f"ablations.yaml:{row}") for row in ("plain", "elsewhere"))
    assert (plain.SOLVER.MAX_ITER, plain.MODEL.RSKT.NUM_LAYERS) == (7, 2)
    assert (plain.SEED, elsewhere.SEED) == (4, 5)
    row = read_rows(mine / "ablations.yaml")["deeper"]
    assert (row.table, row.row, row.column) == ("mine_table1", "two, layers", "mIoU")


def test_a_file_can_have_a_row_as_its_base(mine):
    (mine / "leaf.yaml").write_text("_BASE_: ablations.yaml:deeper\nSEED: 8\n")
    cfg = load_config("leaf.yaml")
    assert (cfg.SEED, cfg.SOLVER.BASE_LR, cfg.OUTPUT_DIR) == (8, 0.5, "output/mine/deeper")


def test_rows_that_are_missing_unknown_or_out_of_place_are_refused_with_those_that_there_are(mine):
    assert "has no row 'deper'; did you mean deeper?" in fails("ablations.yaml:deper")
    assert "has no row 'x'; it holds 3 rows such as plain, deeper" in fails("ablations.yaml:x")
    for name in ("ablations.yaml", "ablations.yaml:"):
        message = fails(name)
        assert "holds 3 rows" in message and "ablations.yaml:ROW" in message and "deeper" in message
    assert "base.yaml holds no ablation tables" in fails("base.yaml:deeper")
    (mine / "leaf.yaml").write_text("_BASE_: ablations.yaml\n")
    assert "name one as" in fails("leaf.yaml")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("overrides: {MODEL.RSKT", "overides: {MODEL.RSKT", "row deeper: unknown key 'overides'"),
        ("column:", "colunm:", "table 1: unknown key 'colunm'; did you mean column?"),
        ("output:", "OUTPUT_DIR:", "unknown key 'OUTPUT_DIR'"),
        ("    base: base.yaml\n", "", "row plain: base must name a YAML file; found None"),
        ("base.yaml", "gone.yaml", "configuration 'gone.yaml' does not exist"),
        ("tables:\n  -", "tables:\n   ", "tables must be a list"),
        ("plain:", "plain: 3", "row plain: KEY: VALUE lines expected; found a int"),
        ("plain:", "3:", "keys must be names; found 3"),
        ("NUM_LAYERS", "NUM_LAYER", "unknown key MODEL.RSKT.NUM_LAYER; did you mean"),
        ("MODEL.RSKT.FUSION: mean", "SOLVER.MAX_ITER: {A: 1}", "MAX_ITER is a section of keys"),
    ],
)  # fmt: skip
def test_a_table_that_is_not_one_is_refused(mine, old, new, words):
    assert old in TABLE
    (mine / "ablations.yaml").write_text(TABLE.replace(old, new))
    assert words in fails("ablations.yaml:deeper" if "plain" not in old else "ablations.yaml:plain")


def test_a_row_of_two_tables_is_refused(mine):
    again = TABLE + TABLE.partition("tables:\n")[2]
    (mine / "ablations.yaml").write_text(again)
    assert "table 2: row plain stands in an earlier table too" in fails("ablations.yaml:plain")


# Names that rows had as files


def test_the_path_of_a_row_that_was_a_file_loads_it_and_names_the_new_one(caplog, monkeypatch):
    monkeypatch.chdir(ROOT.parent)
    with caplog.at_level(logging.WARNING, "rskt_seg"):
        cfg = load_config("configs/ovrsis/ablation_table2_dlrsd_ri.yaml")
    (message,) = [record.getMessage() for record in caplog.records]
    new = "configs/ovrsis/ablations.yaml:table2_dlrsd_ri"
    assert message == f"configs/ovrsis/ablation_table2_dlrsd_ri.yaml is now called {new}"
    assert cfg == load_config("ovrsis/ablations.yaml:table2_dlrsd_ri")


def test_every_row_still_has_its_old_path(mine):
    for table in TABLES:
        for row in read_rows(table):
            assert resolve_config(str(table.with_name(f"ablation_{row}.yaml"))) == ConfigSource(table, row)


def test_an_old_path_of_no_row_gets_the_near_rows(mine):
    assert "did you mean table3_rsdino" in fails("ovrsis/ablation_table3_rsdin.yaml")


def test_a_file_of_ones_own_that_is_called_ablation_is_read(mine):
    (mine / "ablation_deeper.yaml").write_text("_BASE_: base.yaml\nSEED: 21\n")
    assert load_config("ablation_deeper.yaml").SEED == 21


def test_an_old_path_as_a_base_loads_the_row(mine):
    (mine / "leaf.yaml").write_text("_BASE_: configs/bicor/ablation_table5_loveda_l3.yaml\n")
    assert load_config("leaf.yaml").MODEL.BICOR.NUM_LAYERS == 3


def test_the_command_line_says_once_that_a_row_has_another_name(mine, caplog):
    args = parse_args("train", None, ["--config-file", "ablation_deeper.yaml"])
    load_config(args.config_file)
    assert args.config_file == "ablations.yaml:deeper"
    assert len([r for r in caplog.records if "is now called" in r.getMessage()]) == 1


def test_the_log_of_a_run_holds_the_row_that_it_came_from(mine):
    flags = {"config_file": "ablations.yaml:deeper", "eval_only": True, "resume": False}
    cfg = set_up(Run(Namespace(opts=["MODEL.DEVICE", "cpu"], **flags)))
    log = (mine / "output" / "mine" / "deeper" / "log.txt").read_text()
    assert cfg.SOLVER.BASE_LR == 0.5 and "--config-file ablations.yaml:deeper sets, with its bases:" in log


# The tables of this project


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.parent.name)
def test_every_row_that_is_printed_points_to_its_row_and_every_printed_row_has_one(table):
    named: dict[tuple[str, str], list[str]] = {}
    for name, row in read_rows(table).items():
        assert name.startswith(row.table.split("_")[1] + "_"), name
        if row.row:
            named.setdefault((row.table, row.column), []).append(row.row)
        else:
            assert row.table == "bicor_figure3"  # only one of its points is printed
    for (name, column), rows in named.items():
        published = read_table(name)
        assert not column or column in published.columns
        printed = [", ".join(row.labels.values()) for row in published.rows]
        if name == "fctl_table5":
            own = "DeepGlobe" if table.parent.name == "deepglobe" else "Inria Aerial"
            printed = [labels for labels in printed if labels.startswith(own)]
        assert sorted(rows) == sorted(printed)


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.parent.name)
def test_no_row_is_written_twice_and_lines_are_as_short_as_those_of_the_code(table):
    text = table.read_text()
    for name in read_rows(table):
        assert text.count(f"      {name}:") == 1
    assert all(len(line) <= 110 for line in text.splitlines())


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.parent.name)
def test_a_table_states_no_printed_figure(table):
    for name in {row.table for row in read_rows(table).values()}:
        for row in read_table(name).rows:
            for figure in row.figures.values():
                assert figure is None or f"{figure:.2f}" not in table.read_text()


def test_the_example_of_a_table_in_each_file_is_one_of_its_rows(mine):
    for table in TABLES:
        (example,) = [line for line in table.read_text().splitlines() if "--config-file" in line]
        name = example.split("--config-file ")[1]
        assert find_config(name) == table and read_config(name)
        assert name == f"configs/{name_of(resolve_config(name))}"


# Files that cannot be read


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"SEED: 1  # caf\xe9\n", "is not UTF-8"),
        ("SEED: 1\n".encode("utf-16"), "is not UTF-8"),
        (b"- SEED\n- 1\n", "KEY: VALUE lines expected; found a list"),
        (b"42\n", "found a int"),
        (b"just words\n", "found a str"),
        (b"# nothing\n", "found nothing"),
        (b"1: 2\n", "keys must be names; found 1"),
        (b"MODEL: [\n", "cannot be read"),
        (b"SEED: \0\n", "cannot be read"),
        (b"SEED: 2024-13-45\n", "month must be in 1..12"),
        (b"SEED: !!int ''\n", "cannot be read"),
        (b"SEED: !!bool maybe\n", "cannot be read"),
        (b"SEED: !!python/name:os.system\n", "cannot be read"),
        (b"SEED: " + b"[" * 40 + b"]" * 40, "over 32 levels"),
        (b"SEED: " + b"{a: " * 40 + b"1" + b"}" * 40, "over 32 levels"),
        (b"SEED: " + b"[" * 100_000, "recursion"),
        (b"MODEL: &model {RSKT: *model}\n", "over 32 levels"),
        (b"A: &a [1,1,1,1,1,1,1,1,1]\nB: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nC: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
         b"D: &d [*c,*c,*c,*c,*c,*c,*c,*c]\nE: [*d,*d,*d,*d,*d,*d,*d,*d]\n", "10000 values"),
        (b"_BASE_: {a: 1}\n", "_BASE_ must name a YAML file"),
        (b"_BASE_: [base.yaml, 3]\n", "_BASE_ must name a YAML file; found 3"),
        (b"SEED: 1\nSOLVER: {}\nSEED: 2\n", "the key 'SEED' repeats in line 3"),
        (b"_BASE_: .\n", "is a folder"),
        (b"_BASE_: 7\n", "_BASE_ must name a YAML file; found 7"),
        (b"_BASE_: [" + b"base.yaml, " * 33 + b"]\n", "_BASE_ must name at most 32 files; found 33"),
        (b"_BASE_: gone.yaml\n", "its _BASE_: configuration 'gone.yaml' does not exist"),
        (b"_BASE_: base.yaml\nSEED: {A: 1}\n", "SEED is a section of keys, and in its base the value 4"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_configuration_is_refused_in_one_line(mine, content, words):
    (mine / "c.yaml").write_bytes(content)
    message = fails("c.yaml")
    assert words in message and "c.yaml" in message


def test_a_folder_is_refused(mine):
    (mine / "folder.yaml").mkdir()
    assert "is a folder; name a YAML file in it" in fails("folder.yaml")
    assert "is a folder" in fails(str(mine))


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:1/c.yaml", "HTTPS://example.org/c.yaml", "detectron2://c"]
)
def test_no_configuration_comes_from_the_network(mine, monkeypatch, name):
    monkeypatch.setattr(socket, "socket", None)
    assert "is an address" in fails(name)
    (mine / "c.yaml").write_text(f"_BASE_: {name}\n")
    assert f"c.yaml: its _BASE_: {name!r} is an address" in fails("c.yaml")


def test_bases_that_make_a_circle_are_refused_with_the_way_round(mine):
    (mine / "a.yaml").write_text("_BASE_: b.yaml\n")
    (mine / "b.yaml").write_text("_BASE_: sub/../c.yaml\n")
    (mine / "sub").mkdir()
    (mine / "c.yaml").write_text("_BASE_: [base.yaml, a.yaml]\n")
    assert "_BASE_ makes a circle: a.yaml -> b.yaml -> sub/../c.yaml -> sub/../a.yaml" in fails("a.yaml")
    (mine / "base.yaml").write_text("_BASE_: ablations.yaml:plain\n")
    assert "circle: ablations.yaml:plain -> base.yaml -> ablations.yaml:plain" in fails(
        "ablations.yaml:plain"
    )


def test_a_file_that_many_bases_share_is_read_once(mine):
    # Each names the next twice: read on every path, these would be 2 ** 25 files.
    for number in range(25):
        (mine / f"f{number}.yaml").write_text(f"_BASE_: [f{number + 1}.yaml, f{number + 1}.yaml]\n")
    (mine / "f25.yaml").write_text("_BASE_: base.yaml\nSEED: 30\n")
    assert load_config("f0.yaml").SEED == 30


def test_an_endless_chain_of_bases_is_refused(mine):
    for number in range(40):
        (mine / f"f{number}.yaml").write_text(f"_BASE_: f{number + 1}.yaml\n")
    assert "f0.yaml: its _BASE_ lead through over 32 files" in fails("f0.yaml")


def test_two_bases_may_share_their_base_and_the_later_wins(mine):
    (mine / "c.yaml").write_text("_BASE_: [base.yaml, other.yaml]\nSOLVER: {MAX_ITER: 3}\n")
    cfg = load_config("c.yaml")
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER, cfg.MODEL.RSKT.ENCODER) == (5, 3, "tiny")


def test_a_shared_section_of_a_file_is_not_changed_by_what_inherits_from_it(mine):
    (mine / "below.yaml").write_text(
        yaml.safe_dump({"_BASE_": "base.yaml", "MODEL": {"RSKT": {"NUM_LAYERS": 1}}, "SEED": 3})
    )
    (mine / "c.yaml").write_text("_BASE_: below.yaml\nMODEL: {RSKT: {FUSION: mean}}\n")
    assert load_config("c.yaml").MODEL.RSKT.FUSION == "mean"
    assert load_config("below.yaml").MODEL.RSKT.FUSION != "mean"
