"""Runs of the weakly supervised method: frozen parts of checkpoints, commands, and what stops them early."""

import json
import logging
import re
import shutil
import sys
from importlib.resources import files

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model as build_segmentor
from PIL import Image

import rskt_seg
from rskt_seg.checkpoints.files import read_weights
from rskt_seg.commands.train import start
from rskt_seg.d2 import build_model, load_config
from rskt_seg.d2.benchmark import evaluate
from rskt_seg.d2.evaluator import RSEvaluator
from rskt_seg.d2.launch import kept_warnings
from rskt_seg.d2.loaders import check_datasets, training_loader
from rskt_seg.d2.methods import method_of
from rskt_seg.d2.methods.wsss import CAM_NOTE
from rskt_seg.d2.segmentor import plain_model
from rskt_seg.d2.specs import class_names
from rskt_seg.d2.trainer import Trainer
from rskt_seg.d2.weights import check_weights
from rskt_seg.errors import CheckpointError, ConfigError, DatasetError, WeightsNotFoundError
from rskt_seg.segmenter import Segmenter
from tests.d2.conftest import CONFIGS
from tests.d2.wsss.tiny import FILE, SMALL, config, segmentor, train


def check_descriptions(cfg):
    method_of(cfg).check_training_data(cfg, class_names(cfg))


class TestConfig:
    def test_a_chain_of_labels_and_a_head_of_image_labels_do_not_go_together(self):
        with pytest.raises(ConfigError, match=r"INPUT\.AUGMENTATION"):
            config("INPUT.AUGMENTATION", "geoseg")
        bicor = str(CONFIGS.parents[1] / "configs/bicor/tiny.yaml")
        with pytest.raises(ConfigError, match=r"INPUT\.AUGMENTATION"):
            load_config(bicor, ["INPUT.AUGMENTATION", "wsss"])

    def test_a_background_that_the_data_lack_is_one_clear_error(self, data_root):
        cfg = config("DATASETS.TRAIN", "iSAID_train_sem_seg", "MODEL.FIT_TO_CLASSES", "False")
        with pytest.raises(ConfigError, match="with the id 0"):
            build_segmentor(cfg)

    def test_scales_must_be_positive(self):
        for scales in ("(0.0,)", "('a',)", "()"):
            with pytest.raises(ConfigError, match=r"TEST\.SCALES"):
                config("TEST.SCALES", scales)

    def test_a_training_has_at_least_one_iteration(self):
        with pytest.raises(ConfigError, match=r"SOLVER\.MAX_ITER must be at least 1; found 0"):
            config("SOLVER.MAX_ITER", "0")


class TestCheckpoints:
    def test_frozen_encoders_that_can_be_had_again_are_left_out(self, data_root, tmp_path):
        trainer = train(tmp_path)
        found = read_weights(tmp_path / "model_final.pth")
        parts = {name.split(".")[2] for name in found.state}
        assert "clip" not in parts and "dinov2" in parts  # noise is not to be had again
        assert found.frozen["clip"]["source"] == "tiny"
        model = build_model(config("MODEL.WEIGHTS", str(tmp_path / "model_final.pth")))
        for name, tensor in plain_model(trainer.model).state_dict().items():
            assert torch.equal(tensor, model.state_dict()[name]), name
        assert model.vpe.ready.any() and model.steps == 2

    def test_they_can_be_kept(self, data_root, tmp_path):
        train(tmp_path, "MODEL.SAVE_FROZEN", "True", "SOLVER.MAX_ITER", "1")
        found = read_weights(tmp_path / "model_final.pth")
        assert not found.frozen and any(".clip." in name for name in found.state)
        other = ("MODEL.ENCODERS.CLIP", "")
        build_model(config("MODEL.WEIGHTS", str(tmp_path / "model_final.pth"), *other))

    def test_a_resumed_run_goes_on_with_its_prototypes_and_encoders(self, data_root, tmp_path):
        kept = ("MODEL.WSSS.MOMENTUM", "1.0")
        first = plain_model(train(tmp_path, "SOLVER.MAX_ITER", "1", *kept).model).state_dict()
        again = train(tmp_path, "SOLVER.MAX_ITER", "2", *kept)
        assert again.start_iter == 1
        state = plain_model(again.model).state_dict()
        assert first["steps"] == 1 and state["steps"] == 2
        seen = first["vpe.ready"]
        assert seen.any() and torch.equal(state["vpe.prototypes"][seen], first["vpe.prototypes"][seen])
        for name in ("text_enriched", "clip.visual.proj", "dinov2.norm.weight"):
            assert torch.equal(state[name], first[name]), name

    def test_another_frozen_encoder_is_refused(self, data_root, tmp_path):
        train(tmp_path, "SOLVER.MAX_ITER", "1")
        weights = ("MODEL.WEIGHTS", str(tmp_path / "model_final.pth"))
        with pytest.raises(CheckpointError, match=r"frozen clip weights.*with tiny.*MODEL\.ENCODERS\.CLIP"):
            build_model(config(*weights, "MODEL.ENCODERS.CLIP", "random"))
        with pytest.raises(WeightsNotFoundError, match=r"MODEL\.ENCODERS\.CLIP is empty"):
            check_weights(config(*weights, "MODEL.ENCODERS.CLIP", ""))

    def test_in_a_notebook_the_encoder_comes_first(self, data_root, tmp_path):
        trainer = train(tmp_path, "SOLVER.MAX_ITER", "1")
        spec = plain_model(trainer.model).spec
        model = type(plain_model(trainer.model))(spec, plain_model(trainer.model).class_names)
        with pytest.raises(CheckpointError, match="load_encoder"):
            rskt_seg.load_checkpoint(model, tmp_path / "model_final.pth")
        rskt_seg.load_encoder(model, "clip", "tiny")
        rskt_seg.load_checkpoint(model, tmp_path / "model_final.pth")
        pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        assert Segmenter(model, scales=(1.0,), flip=False).predict(pixels).labels.shape == (40, 50)


class TestCommands:
    def test_train_net_trains_from_image_level_labels_and_scores_cams(
        self, data_root, tmp_path, monkeypatch, caplog
    ):
        caplog.set_level(logging.INFO)
        arguments = ["--config-file", FILE, *SMALL, "OUTPUT_DIR", str(tmp_path), "TEST.CAM", "True"]
        start(arguments)
        found = {path.name for path in (tmp_path / "inference").glob("*.json")}
        assert {"iSAID_wsss_test_sem_seg.json", "iSAID_wsss_test_sem_seg_CAM.json"} <= found
        masks, cams = (tmp_path / "log.txt").read_text().split(CAM_NOTE)
        for text, suffix in ((masks, ""), (cams, "_CAM")):
            said = set(re.findall(r"iSAID_wsss_test_sem_seg(\w*)(?: +\d|: mIoU|, class by)", text))
            assert said == {suffix}
        last = json.loads((tmp_path / "metrics.json").read_text().splitlines()[-1])
        assert "iSAID_wsss_test_sem_seg_CAM/sem_seg/mIoU" in last

    def test_cams_after_a_training_heed_the_least_number_of_pixels(self, data_root, tmp_path):
        model, scores = segmentor(), []
        for least in ("1", "100000"):
            cfg = config("OUTPUT_DIR", str(tmp_path), "TEST.CAM", "True", "DATASETS.MIN_LABEL_PIXELS", least)
            [cams] = method_of(cfg).evaluation_passes(cfg)
            results = Trainer.test_pass(cfg, model, cams)
            scores.append(results["iSAID_wsss_test_sem_seg_CAM"]["sem_seg"]["fwIoU"])
        assert scores[0] != scores[1]

    def test_what_is_odd_is_said_before_the_error_that_ends_a_run(self, capsys):
        with pytest.raises(ConfigError), kept_warnings() as kept:
            logging.getLogger("rskt_seg.data").warning("an odd image")
            raise ConfigError("stop")
        assert "an odd image" in capsys.readouterr().err and not kept

    def test_an_evaluation_keeps_predictions_and_cams_apart(self, data_root, tmp_path):
        train(tmp_path, "SOLVER.MAX_ITER", "1")
        weights = ("MODEL.WEIGHTS", str(tmp_path / "model_final.pth"))
        results = evaluate(config(*weights, "OUTPUT_DIR", str(tmp_path), "TEST.CAM", "True"))
        assert list(results) == ["iSAID_wsss_test_sem_seg", "iSAID_wsss_test_sem_seg_CAM"]
        report = (tmp_path / "benchmark_CAM.txt").read_text()
        assert "iSAID_wsss_test_sem_seg_CAM " in report and CAM_NOTE in report
        assert CAM_NOTE not in (tmp_path / "benchmark.txt").read_text()
        figures = results["iSAID_wsss_test_sem_seg"]["sem_seg"]
        assert {"protocol/mIoU", "protocol/mF1", "protocol/OA", "protocol/mIoU_foreground"} <= set(figures)

    def test_no_mask_is_needed_to_train_and_what_is_odd_about_images_is_logged(
        self, data_root, tmp_path, monkeypatch
    ):
        root = tmp_path / "unlabelled"
        shutil.copytree(data_root / "iSAID_wsss/train/images", root / "images")
        names = sorted(path.name for path in (root / "images").iterdir())
        with Image.open(root / "images" / names[0]) as image:
            image.convert("RGBA").save(root / "images" / names[0])
        (root / "labels.csv").write_text("".join(f"{name},ship,harbor\n" for name in names))
        classes = MetadataCatalog.get("iSAID_wsss_train_sem_seg").stuff_classes
        (root / "own.yaml").write_text(
            f"name: mine\nclasses: [{', '.join(classes)}]\n"
            "splits:\n  train: {images: images, image_labels: labels.csv}\n"
        )
        options = ["DATASETS.OWN", f"('{root}/own.yaml',)", "DATASETS.TRAIN", "('mine_train_sem_seg',)"]
        arguments = ["--config-file", FILE, *SMALL, *options, "DATASETS.TEST", "()", "OUTPUT_DIR"]
        start([*arguments, str(tmp_path / "out")])
        assert "pixels of alpha 0 have no data" in (tmp_path / "out/log.txt").read_text()
        found = read_weights(tmp_path / "out/model_final.pth")
        ready = found.state["sem_seg_head.model.vpe.ready"]
        assert not ready[[t for t in range(15) if classes[1 + t] not in ("ship", "harbor")]].any()


def test_label_maps_of_a_model_are_counted_as_they_are(data_root):
    evaluator = RSEvaluator("iSAID_wsss_test_sem_seg")
    label = next((data_root / "iSAID_wsss/test/labels").iterdir())
    image = data_root / "iSAID_wsss/test/images" / label.name
    truth = torch.from_numpy(np.array(Image.open(label))).long()
    entry = {"file_name": str(image), "sem_seg_file_name": str(label)}
    evaluator.process([entry], [{"labels": truth}])
    assert evaluator.results()["sem_seg"]["mIoU"] == 100
    evaluator.reset()
    evaluator.process([entry], [{"labels": torch.full_like(truth, 255)}])
    assert evaluator.results()["sem_seg"]["mIoU"] == 0


class TestEarly:
    def test_descriptions_that_are_missing_or_too_few_stop_a_run_before_it_starts(self, data_root, tmp_path):
        with pytest.raises(ConfigError, match=r"nowhere\.json"):
            check_descriptions(config("MODEL.WSSS.DESCRIPTIONS", "nowhere.json"))
        with pytest.raises(ConfigError, match=r"CLUSTERS 400 needs .* found 300"):
            check_descriptions(config("MODEL.WSSS.CLUSTERS", "400"))
        check_descriptions(config())

    @pytest.mark.parametrize(
        ("words", "said"),
        [("a pond" + " boat" * 30, "at most 24 tokens"), ("a zyzzyva", "never saw 'zyzzyva'")],
    )
    def test_a_description_that_cannot_be_read_stops_a_run_before_it_starts(
        self, data_root, tmp_path, words, said
    ):
        content = files("rskt_seg.models.wsss").joinpath("descriptions", "tiny.json").read_text()
        assert content.count("a pond with a boat") == 1
        (tmp_path / "mine.json").write_text(content.replace("a pond with a boat", words))
        with pytest.raises(ConfigError, match=rf"mine\.json, class 'ship': .*{said}"):
            check_descriptions(config("MODEL.WSSS.DESCRIPTIONS", str(tmp_path / "mine.json")))

    def test_a_crf_that_is_not_installed_stops_a_run_before_it_starts(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pydensecrf", None)
        monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
        with pytest.raises(ConfigError, match="pydensecrf2"):
            build_segmentor(config("TEST.CRF", "True"))

    def test_an_encoder_that_came_with_a_checkpoint_is_written_again(self, data_root, tmp_path):
        train(tmp_path / "a", "MODEL.ENCODERS.CLIP", "random", "SOLVER.MAX_ITER", "1")
        weights = ("MODEL.WEIGHTS", str(tmp_path / "a/model_final.pth"))
        train(tmp_path / "b", *weights, "SOLVER.MAX_ITER", "1")  # MODEL.ENCODERS.CLIP tiny is not read
        found = read_weights(tmp_path / "b/model_final.pth")
        assert not found.frozen and any(".clip.visual." in name for name in found.state)
        build_model(config("MODEL.WEIGHTS", str(tmp_path / "b/model_final.pth")))

    def test_descriptions_that_a_checkpoint_makes_void_are_told(self, data_root, tmp_path, caplog):
        train(tmp_path, "SOLVER.MAX_ITER", "1")
        weights = ("MODEL.WEIGHTS", str(tmp_path / "model_final.pth"))
        build_model(config(*weights))
        assert "are not used" not in caplog.text
        build_model(config(*weights, "MODEL.WSSS.DESCRIPTIONS", "isaid"))
        assert "from the descriptions tiny; those of this model, isaid, are not used" in caplog.text

    def test_a_checkpoint_of_other_classes_names_both_and_the_keys_that_choose(self, data_root, tmp_path):
        train(tmp_path, "SOLVER.MAX_ITER", "1")
        model = rskt_seg.create_model("prior_wsss_tiny", ["ship", "plane"])
        with pytest.raises(CheckpointError, match=r"classes background, ship, storage tank.*DATASETS\.OWN"):
            rskt_seg.load_checkpoint(model, tmp_path / "model_final.pth")

    def test_another_clip_makes_the_texts_void(self):
        model = plain_model(segmentor())
        rskt_seg.load_encoder(model, "clip", "tiny")
        with pytest.raises(ConfigError, match="encode_classes"):
            model(torch.zeros(1, 3, 32, 32), evidence=True)

    def test_counts_of_cams_are_not_taken_up_for_other_image_labels(self, data_root, tmp_path):
        train(tmp_path, "SOLVER.MAX_ITER", "1")
        run = (
            "MODEL.WEIGHTS",
            str(tmp_path / "model_final.pth"),
            "OUTPUT_DIR",
            str(tmp_path),
            "TEST.CAM",
            "True",
        )
        first = evaluate(config(*run))["iSAID_wsss_test_sem_seg_CAM"]["sem_seg"]
        none = evaluate(config(*run, "DATASETS.MIN_LABEL_PIXELS", "100000"))
        assert none["iSAID_wsss_test_sem_seg_CAM"]["sem_seg"]["mIoU"] != first["mIoU"]

    def test_cams_of_images_larger_than_a_tile_are_refused_before_a_training(self, data_root):
        cfg = config("TEST.CAM", "True", "TEST.TILE", "40", "TEST.TILE_OVERLAP", "8")
        with pytest.raises(ConfigError, match=r"48 x 48 px, larger than TEST\.TILE 40"):
            check_datasets(cfg, training=True)
        check_datasets(config("TEST.CAM", "True"), training=True)

    def test_a_set_that_shows_no_class_is_refused_and_missing_classes_are_told(self, data_root, caplog):
        cfg = config("DATASETS.MIN_LABEL_PIXELS", "100000")
        with pytest.raises(DatasetError, match=r"no image shows any of ship, .*nothing to learn"):
            training_loader(cfg)
        training_loader(config())  # four scenes show a few of fifteen classes
        assert re.search(r"iSAID_wsss_train_sem_seg: no image shows \w+", caplog.text)
