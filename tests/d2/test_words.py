"""Class names of words that a tiny text encoder never saw, in whole runs."""

import logging

import pytest
import torch
from detectron2.modeling import build_model as build_segmentor

from rskt_seg.commands.train import parse_args
from rskt_seg.d2.config import load_config
from rskt_seg.d2.datasets import register_own
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.segmentor import plain_model
from rskt_seg.d2.specs import class_names
from rskt_seg.errors import VocabularyError
from rskt_seg.methods import optimize_for_inference
from tests.d2.conftest import tiny_config
from tests.d2.test_own import own  # noqa: F401
from tests.d2.wsss.tiny import config as weak_config
from tests.d2.wsss.tiny import train as train_weakly

CLASSES = ["silo", "road", "zyzzyva", "tree"]


def sets(path: str) -> tuple[str, ...]:
    register_own([path])
    return (
        "DATASETS.OWN", path, "DATASETS.TRAIN", "farm_train_sem_seg", "DATASETS.TEST", "farm_val_sem_seg",
    )  # fmt: skip


def test_a_run_is_refused_before_it_starts_with_the_nearest_known_words(own):  # noqa: F811
    cfg = tiny_config(*sets(own(classes=[*CLASSES, "forrest"])))
    with pytest.raises(VocabularyError) as caught:
        build_segmentor(cfg)
    message = str(caught.value)
    assert "'silo' (" in message and "'zyzzyva' (" in message and "--any-words" in message
    assert "'forrest' (near in spelling: forest" in message and "'road'" not in message


def test_a_smoke_run_tells_the_words_and_answers_for_every_name(own, caplog):  # noqa: F811
    cfg = tiny_config(*sets(own(classes=CLASSES)), "MODEL.UNKNOWN_WORDS", "noise")
    with caplog.at_level(logging.WARNING, logger="rskt_seg"):
        segmentor = build_segmentor(cfg).eval()
    (line,) = (each for each in caplog.messages if each.startswith("smoke run"))
    assert "'silo' (" in line and "'zyzzyva' (" in line and "'road'" not in line
    model = plain_model(segmentor)
    image = 255 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = model.scores(model(image, CLASSES))
        form = optimize_for_inference(model)
        torch.testing.assert_close(form.scores(form(image, CLASSES)), scores, atol=1e-4, rtol=1e-4)
    assert scores.shape[1] == 4 and not torch.equal(scores[:, 0], scores[:, 2])


def test_the_flag_is_the_key():
    args = parse_args("rskt-seg train", None, ["--model", "tiny_dlrsd", "--any-words", "MODEL.DEVICE", "cpu"])
    assert load_config(args.config_file, args.opts).MODEL.UNKNOWN_WORDS == "noise"


class TestWeakSupervision:
    def test_the_tiny_configuration_takes_classes_as_they_are(self, own, tmp_path, caplog):  # noqa: F811
        cfg = weak_config(*sets(own(classes=["road", "field", "water", "tree"])))
        with caplog.at_level(logging.WARNING, logger="rskt_seg"):
            method_of(cfg).check_training_data(cfg, class_names(cfg))
        assert "MODEL.WSSS.BACKGROUND 'none'" in caplog.text and "MODEL.WSSS.TPE False" in caplog.text

    def test_words_that_it_never_saw_are_refused_or_noise(self, own, tmp_path, caplog):  # noqa: F811
        options = sets(own(classes=CLASSES))
        cfg = weak_config(*options)
        with pytest.raises(VocabularyError, match=r"'silo' .*'zyzzyva' .*--any-words"):
            method_of(cfg).check_training_data(cfg, class_names(cfg))
        noise = (*options, "MODEL.UNKNOWN_WORDS", "noise", "SOLVER.MAX_ITER", "1")
        cfg = weak_config(*noise)
        with caplog.at_level(logging.WARNING, logger="rskt_seg"):
            method_of(cfg).check_training_data(cfg, class_names(cfg))
        assert any(each.startswith("smoke run") for each in caplog.messages)
        model = plain_model(train_weakly(tmp_path / "out", *noise).model)
        assert torch.cdist(model.text_enriched, model.text_enriched).fill_diagonal_(9).min() > 1e-3
