"""The rows of the RSKT-Seg ablations are the printed ones: each is built from its labels, and compared."""

from dataclasses import fields

import pytest

from rskt_seg.d2 import load_config
from rskt_seg.d2.benchmark import comparison
from rskt_seg.d2.config_files import AblationRow, read_rows
from rskt_seg.d2.methods import EvaluationPass
from rskt_seg.data.catalog import find_split
from rskt_seg.metrics.published import PublishedRow, read_table
from rskt_seg.models.rskt import RSKTSpec
from tests.d2.conftest import CONFIGS

FILE = CONFIGS / "ablations.yaml"
ROWS = read_rows(FILE)
PRINTED = [(f"rskt_table{n}", row) for n in range(2, 7) for row in read_table(f"rskt_table{n}").rows]
FOUR = ("DLRSD", "iSAID", "Potsdam", "Vaihingen")
EIGHT = ("DLRSD", "iSAID", "LoveDA", "Potsdam", "uavid", "UDD5", "Vaihingen", "VDD")
PLAIN = EvaluationPass()
LAYERS = {"DLRSD": 5, "iSAID": 3}
"""Of the model that the ablations change (docs/open_vocabulary.md, "Inconsistent cells")."""


def name_of(row: PublishedRow) -> str:
    return ", ".join(row.labels.values())


def identify(value: str | PublishedRow) -> str:
    return value if isinstance(value, str) else name_of(value)


def found(table: str, row: PublishedRow) -> dict[str, AblationRow]:
    """The configurations that point to a printed row."""
    return {name: each for name, each in ROWS.items() if (each.table, each.row) == (table, name_of(row))}


def options_of(table: str, labels) -> tuple[str, dict, str]:
    """The training set, the options and the DINO file that the labels of a row say."""
    trained_on = labels.get("trained_on", "iSAID" if table == "rskt_table6" else "DLRSD")
    options = {"encoder": "vitb16", "num_layers": LAYERS[trained_on]}
    dino = "pretrained/RSIB.pth"
    match table:
        case "rskt_table2":
            parts = set(labels["components"].split(" + ")) - {"none"}
            assert parts <= {"R-I", "DINO", "RST", "RSF"}
            options["rotations"] = "R-I" in parts
            options["dino"] = "DINO" in parts
            options["remote_clip"] = "RST" in parts
            options["aggregator"] = "efficient" if "RSF" in parts else "original"
        case "rskt_table3":
            parts = set(labels["components"].split(" + ")) - {"none"}
            assert parts <= {"rotate", "RS-DINO", "N-DINO", "RCLIP"} and not {"RS-DINO", "N-DINO"} <= parts
            options["rotations"] = "rotate" in parts
            options["dino"] = any(part.endswith("DINO") for part in parts)
            options["remote_clip"] = "RCLIP" in parts
            if "N-DINO" in parts:
                dino = "pretrained/dino_vitbase8_pretrain.pth"
        case "rskt_table4":
            options["fusion"] = {"mean": "mean", "cat": "concat", "separate": "separate"}[labels["fusion"]]
        case "rskt_table5":
            options["num_layers"] = int(labels["layers"])
        case "rskt_table6":
            assert {labels["clip"], labels["dino"]} <= {"attention", "frozen"}
            options |= {"aggregator": "original"}
            options |= {"clip_finetune": labels["clip"], "dino_finetune": labels["dino"]}
    return trained_on, options, dino


@pytest.mark.parametrize(("table", "row"), PRINTED, ids=identify)
def test_a_printed_row_has_one_configuration_which_is_what_its_labels_say(table, row):
    """Nothing but the options of the labels differs from the main configuration, and the test sets."""
    (name,) = found(table, row)
    cfg = load_config(f"{FILE}:{name}")
    trained_on, options, dino = options_of(table, row.labels)
    expected = load_config(str(CONFIGS / f"vitb_{trained_on.lower()}.yaml")).clone()
    expected.defrost()
    for field in fields(RSKTSpec):
        expected.MODEL.RSKT[field.name.upper()] = options.get(field.name, field.default)
    expected.MODEL.ENCODERS.DINO = dino
    expected.DATASETS.TRAIN = (f"{trained_on}_train_sem_seg",)
    expected.DATASETS.TEST = tuple(f"{dataset}_all_sem_seg" for dataset in FOUR)
    expected.TEST.EVAL_PERIOD = 0
    assert cfg.dump().splitlines() == expected.dump().splitlines()


def test_every_configuration_points_to_a_printed_row():
    assert len(PRINTED) == len(ROWS) == sum(len(found(*printed)) for printed in PRINTED) == 38
    assert all(row.column == "" for row in ROWS.values())


@pytest.mark.parametrize(("table", "row"), PRINTED, ids=identify)
def test_the_figures_of_a_row_stand_beside_its_configuration(table, row):
    (name,) = found(table, row)
    cfg = load_config(f"{FILE}:{name}")
    rows = comparison(cfg, cfg.DATASETS.TRAIN, PLAIN).rows
    (own,) = [each for each in rows if each.source.startswith(f"{read_table(table).source} (")]
    assert own.means == row.figures and own.labels == row.labels and not own.figures
    assert list(own.columns) == list(cfg.DATASETS.TEST) and tuple(own.columns.values()) == FOUR


def test_one_configuration_stands_for_several_printed_rows_and_all_are_compared():
    means = {}
    for name in ("vitb_dlrsd", "vitb_isaid"):
        cfg = load_config(str(CONFIGS / f"{name}.yaml"))
        rows = comparison(cfg, cfg.DATASETS.TRAIN, PLAIN).rows
        means[name] = {row.source.split(", ", 1)[1][:7]: row.means["mIoU"] for row in rows}
    assert means == {
        "vitb_dlrsd": {
            "table 1": 43.90,
            "table 2": 48.94,
            "table 3": 49.37,
            "table 4": 47.83,
            "table 5": 51.58,
        },
        "vitb_isaid": {"table 1": 30.03, "table 2": 39.80, "table 5": 38.93},
    }


@pytest.mark.parametrize("size", ["vitb", "vitl"])
@pytest.mark.parametrize("dataset", ["dlrsd", "isaid"])
def test_the_benchmarks_have_all_sets_of_the_mean_and_their_own_vocabularies(size, dataset):
    """The published form differs in LoveDA alone; the encoder of the ablations has a form of four sets."""
    base = f"{size}_{dataset}"
    published = tuple(f"{name}_all{'_8c' * (name == 'LoveDA')}_sem_seg" for name in EIGHT)
    tests = {
        f"bench_{base}": tuple(f"{name}_all_sem_seg" for name in EIGHT),
        f"bench_{base}_published": published,
    }
    if size == "vitb":
        tests[f"bench_{base}_four"] = tuple(f"{name}_all_sem_seg" for name in FOUR)
    for name, expected in tests.items():
        cfg, main = (load_config(str(CONFIGS / f"{each}.yaml")) for each in (name, base))
        assert expected == cfg.DATASETS.TEST
        assert (cfg.MODEL, cfg.DATASETS.TRAIN, cfg.INPUT) == (main.MODEL, main.DATASETS.TRAIN, main.INPUT)
    vocabularies = [find_split(name).class_set.names for name in published]
    assert [len(names) for names in vocabularies] == [17, 15, 8, 6, 8, 5, 6, 7]
    # Table 1 prints a mean over exactly the published form.
    cfg = load_config(str(CONFIGS / f"bench_{base}_published.yaml"))
    main_row = comparison(cfg, cfg.DATASETS.TRAIN, PLAIN).rows[0]
    assert tuple(main_row.columns) == published and "table 1" in main_row.source
