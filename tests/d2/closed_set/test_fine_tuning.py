"""A training starts from the checkpoint of a training on other classes; nothing else does."""

import logging

import pytest
import torch

from rskt_seg.commands.train import main
from rskt_seg.d2.datasets import register_own
from rskt_seg.d2.segmentor import plain_model
from rskt_seg.d2.trainer import Trainer
from tests.d2.closed_set.tiny import ROOT, SMALL
from tests.d2.closed_set.tiny import config as closed_set_config
from tests.d2.test_own import CLASSES, own  # noqa: F401
from tests.d2.test_train_net import one_line
from tests.d2.wsss.tiny import config as weak_config

OTHER = ["field", "silo", "Building", "road"]
CROPS = ("INPUT.CROP.SIZE", "[32,32]", "INPUT.MOSAIC_SIDE", "32", "SOLVER.IMS_PER_BATCH", "2")
CONFIGS = {
    "bicor": lambda *opts: closed_set_config("bicor", *CROPS, "SOLVER.EPOCHS", "1", *opts),
    "fctl": lambda *opts: closed_set_config("fctl", *opts),
    "wsss": lambda *opts: weak_config(
        "MODEL.WSSS.BACKGROUND", "none", "MODEL.WSSS.TPE", "False", "MODEL.WSSS.DESCRIPTIONS", "",
        "MODEL.WSSS.BACKGROUND_POWER", "1.0", *opts,
    ),
}  # fmt: skip


def trainer(method: str, path: str, name: str, out, *opts: str) -> Trainer:
    register_own([path])
    sets = ("DATASETS.OWN", path, "DATASETS.TRAIN", f"{name}_train_sem_seg", "DATASETS.TEST", "()")
    out.mkdir(exist_ok=True)
    return Trainer(CONFIGS[method](*sets, "SOLVER.MAX_ITER", "1", "OUTPUT_DIR", str(out), *opts))


@pytest.mark.parametrize("method", CONFIGS)
def test_a_training_starts_from_other_classes_and_says_what_became_of_each(method, own, tmp_path, caplog):  # noqa: F811
    known = method == "wsss"  # its tiny text encoder knows few words
    before, after = (
        (["grass", "road", "field", "tree"], ["road", "water", "grass"]) if known else (CLASSES, OTHER)
    )
    first = trainer(method, own("farm", classes=before), "farm", tmp_path / "first")
    first.resume_or_load(resume=False)
    first.checkpointer.save("model_final", iteration=0)
    weights = str(tmp_path / "first" / "model_final.pth")
    path = own("town", classes=[*after, *["lake"] * known])
    second = trainer(method, path, "town", tmp_path / "second", "MODEL.WEIGHTS", weights)
    with caplog.at_level(logging.INFO, logger="rskt_seg"):
        second.resume_or_load(resume=False)
    (line,) = (each for each in caplog.messages if each.startswith("Started from"))
    expected = "road, grass" if known else "field, Building, road"
    assert weights in line and f"carried over by name ({expected})" in line
    second.checkpointer.save("model_final", iteration=0)
    stated = torch.load(tmp_path / "second" / "model_final.pth", weights_only=True)
    assert list(stated["class_names"]) == [*after, *["lake"] * known]
    assert [each["name"] for each in stated["trained_on"]] == ["farm_train_sem_seg", "town_train_sem_seg"]
    old, new = (plain_model(each.model) for each in (first, second))
    key = {
        "bicor": "decoder.class_embeddings",
        "fctl": "decoder.score.weight",
        "wsss": "decoder.classifier.weight",
    }
    rows, earlier = new.state_dict()[key[method]], old.state_dict()[key[method]]
    assert torch.equal(rows[after.index("road")], earlier[before.index("road")])
    if known:
        assert new.text_enriched.norm(dim=1).allclose(torch.ones(4)), (
            "the texts of the new classes are missing"
        )
        assert torch.equal(new.text_enriched[0], old.text_enriched[1])


def test_a_checkpoint_that_states_no_classes_is_told(own, tmp_path, caplog):  # noqa: F811
    first = trainer("bicor", own("farm"), "farm", tmp_path / "first")
    weights = tmp_path / "w.pth"
    torch.save({"model": plain_model(first.model).state_dict()}, weights)
    opts = ("MODEL.WEIGHTS", str(weights))
    trainer("bicor", own("town", classes=OTHER), "town", tmp_path / "same", *opts).resume_or_load(
        resume=False
    )
    assert any("taken for field, silo, Building, road, in this order" in each for each in caplog.messages)
    more = trainer("bicor", own("city", classes=[*OTHER, "canal"]), "city", tmp_path / "more", *opts)
    with caplog.at_level(logging.INFO, logger="rskt_seg"):
        more.resume_or_load(resume=False)
    assert any("does not state its classes: all 5 start anew" in each for each in caplog.messages)


def test_evaluation_and_resume_refuse_other_classes(own, tmp_path, capsys):  # noqa: F811
    first = trainer("bicor", own("farm"), "farm", tmp_path / "out")
    first.resume_or_load(resume=False)
    first.checkpointer.save("model_0000000", iteration=0)
    weights = str(tmp_path / "out" / "model_0000000.pth")
    small = ["MODEL.DEVICE", "cpu", "SEED", "1", *SMALL["bicor"], *CROPS, "SOLVER.EPOCHS", "1"]
    command = ["--config-file", str(ROOT / "configs/bicor/tiny.yaml")]
    path = own("town", classes=OTHER)
    out = ["OUTPUT_DIR", str(tmp_path / "scores"), "MODEL.WEIGHTS", weights]
    assert main([*command, "--data", path, "--eval-only", *small, *out]) == 2
    assert "was trained on the classes building, road" in one_line(capsys.readouterr().err)
    out = ["OUTPUT_DIR", str(tmp_path / "out"), "SOLVER.MAX_ITER", "1"]
    assert main([*command, "--data", path, "--resume", *small, *out]) == 2
    error = one_line(capsys.readouterr().err)
    assert "cannot be continued with DATASETS.TRAIN ['town_train_sem_seg'] (was ['farm" in error
    assert "another OUTPUT_DIR with MODEL.WEIGHTS" in error
