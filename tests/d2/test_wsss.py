"""The weakly supervised head behind Detectron2: image-level labels, frozen parts of checkpoints, CAMs."""

import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model as build_segmentor
from PIL import Image

import rskt_seg
from rskt_seg.checkpoints.files import read_weights
from rskt_seg.d2 import build_model, load_config
from rskt_seg.d2.benchmark import evaluate
from rskt_seg.d2.evaluator import RSEvaluator
from rskt_seg.d2.segmentor import plain_model
from rskt_seg.d2.trainer import Trainer
from rskt_seg.d2.weights import check_weights
from rskt_seg.d2.wsss_head import SegmentorCams
from rskt_seg.data.scenes.miniature import WSSS_MINIATURES, write_miniature
from rskt_seg.errors import CheckpointError, ConfigError, DatasetError, WeightsNotFoundError
from rskt_seg.inference.predict import evaluating
from rskt_seg.segmenter import Segmenter
from tests.d2.conftest import CONFIGS
from train_net import command_line

FILE = str(CONFIGS.parents[1] / "configs/wsss/tiny.yaml")
SMALL = [
    "MODEL.DEVICE", "cpu", "SEED", "1", "CUDNN_BENCHMARK", "False",
    "MODEL.WSSS.DIM", "16", "MODEL.WSSS.HEADS", "2", "MODEL.WSSS.DECODER_LAYERS", "1",
    "MODEL.WSSS.PAR_ITERS", "1", "MODEL.WSSS.PAR_DILATIONS", "(1,)",
    "INPUT.CROP.SIZE", "[32, 32]", "TEST.TILE", "64", "TEST.TILE_OVERLAP", "16", "TEST.SCALES", "(1.0,)",
    "SOLVER.IMS_PER_BATCH", "2", "SOLVER.WARMUP_ITERS", "1", "SOLVER.MAX_ITER", "2",
    "SOLVER.CHECKPOINT_PERIOD", "1",
]  # fmt: skip


def config(*opts: str):
    return load_config(FILE, [*SMALL, *opts])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    write_miniature(WSSS_MINIATURES["iSAID_wsss"], root, 4, 1, 0, 48, 2)
    return root


@pytest.fixture
def data_root(scenes, monkeypatch) -> Path:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(scenes))
    return scenes


def segmentor(*opts: str):
    torch.manual_seed(0)
    model = build_segmentor(config(*opts)).eval()
    plain_model(model).encode_classes()
    return model


def entry(seed=0, height=32, width=32, /, **rest) -> dict:
    draws = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=draws)
    return {"image": image, "file_name": f"{seed}.png", **rest}


def train(tmp_path, *opts: str) -> Trainer:
    cfg = config("OUTPUT_DIR", str(tmp_path), "DATASETS.TEST", "()", *opts)
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    return trainer


class TestHead:
    def test_the_classes_are_those_of_the_data(self):
        model = plain_model(segmentor())
        assert model.class_names == tuple(MetadataCatalog.get("iSAID_wsss_train_sem_seg").stuff_classes)
        assert model.class_names[0] == "background" and len(model.foreground) == 15

    def test_image_level_labels_leave_the_background_out(self):
        head = segmentor().sem_seg_head
        rows = head.present([entry(image_labels=(0, 3)), entry(image_labels=())]).tolist()
        assert np.flatnonzero(rows[0]).tolist() == [2] and not any(rows[1])

    @pytest.mark.parametrize("labels", [{}, {"image_labels": (16,)}, {"image_labels": (255,)}])
    def test_missing_or_unknown_image_level_labels_are_one_clear_error(self, labels):
        with pytest.raises(DatasetError, match=r"0\.png: image_labels must be ids of the 16 classes"):
            segmentor().sem_seg_head.present([entry(**labels)])

    def test_losses_reach_only_what_learns(self):
        model = segmentor().train()
        valid = torch.ones(32, 32, dtype=torch.bool)
        terms = model([entry(i, image_labels=(0, 1 + i), valid=valid) for i in range(2)])
        assert set(terms) == {"loss_seg", "loss_affinity"}
        sum(terms.values()).backward()
        trained = {name for name, p in model.named_parameters() if p.grad is not None}
        assert trained and not any(".clip." in name or ".dinov2." in name for name in trained)

    @pytest.mark.parametrize("size", [(32, 32), (90, 70), (20, 150)])
    def test_scores_have_the_size_of_the_source_and_sum_to_one(self, size):
        with torch.no_grad():
            scores = segmentor()([entry(0, *size, height=size[0], width=size[1])])[0]["sem_seg"]
        assert scores.shape == (16, *size)
        torch.testing.assert_close(scores.sum(dim=0), torch.ones(size))

    def test_scales_and_flips_are_read(self):
        one = segmentor()([entry()])[0]["sem_seg"]
        more = segmentor("TEST.SCALES", "(0.75, 1.25)")([entry()])[0]["sem_seg"]
        unflipped = segmentor("TEST.SCALES_FLIP", "False")([entry()])[0]["sem_seg"]
        assert not torch.equal(one, more) and not torch.equal(one, unflipped)

    def test_cams_name_only_the_classes_of_the_image(self):
        model = SegmentorCams(segmentor())
        with evaluating(model):
            labels = model([entry(0, 40, 36, image_labels=(0, 4, 7), height=20, width=18)])[0]["labels"]
        assert labels.shape == (20, 18) and set(labels.unique().tolist()) <= {0, 4, 7}


class TestConfig:
    def test_a_chain_of_labels_and_a_head_of_image_labels_do_not_go_together(self):
        with pytest.raises(ConfigError, match=r"INPUT\.AUGMENTATION"):
            config("INPUT.AUGMENTATION", "geoseg")
        bicor = str(CONFIGS.parents[1] / "configs/bicor/tiny.yaml")
        with pytest.raises(ConfigError, match=r"INPUT\.AUGMENTATION"):
            load_config(bicor, ["INPUT.AUGMENTATION", "wsss"])

    def test_a_background_that_the_data_lack_is_one_clear_error(self, data_root):
        cfg = config("DATASETS.TRAIN", "('iSAID_train_sem_seg',)")
        with pytest.raises(ConfigError, match="with the id 0"):
            build_segmentor(cfg)

    def test_scales_must_be_positive(self):
        with pytest.raises(ConfigError, match=r"TEST\.SCALES"):
            config("TEST.SCALES", "(0.0,)")


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
        first = plain_model(train(tmp_path, "SOLVER.MAX_ITER", "1").model).state_dict()
        again = train(tmp_path, "SOLVER.MAX_ITER", "2", "SOLVER.BASE_LR", "0.0", "MODEL.WSSS.MOMENTUM", "1.0")
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
        with pytest.raises(CheckpointError, match=r"frozen clip was tiny.*MODEL\.ENCODERS\.CLIP"):
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
        monkeypatch.setattr(sys, "argv", ["train_net.py", *arguments])
        command_line()
        found = {path.name for path in (tmp_path / "inference").glob("*.json")}
        assert {"iSAID_wsss_test_sem_seg.json", "iSAID_wsss_test_sem_seg_CAM.json"} <= found

    def test_an_evaluation_keeps_predictions_and_cams_apart(self, data_root, tmp_path):
        train(tmp_path, "SOLVER.MAX_ITER", "1")
        weights = ("MODEL.WEIGHTS", str(tmp_path / "model_final.pth"))
        results = evaluate(config(*weights, "OUTPUT_DIR", str(tmp_path), "TEST.CAM", "True"))
        assert list(results) == ["iSAID_wsss_test_sem_seg", "iSAID_wsss_test_sem_seg_CAM"]
        figures = results["iSAID_wsss_test_sem_seg"]["sem_seg"]
        assert {"protocol/mIoU", "protocol/mF1", "protocol/OA", "protocol/mIoU_foreground"} <= set(figures)

    def test_no_mask_is_needed_to_train(self, data_root, tmp_path, monkeypatch):
        root = tmp_path / "unlabelled"
        shutil.copytree(data_root / "iSAID_wsss/train/images", root / "images")
        names = sorted(path.name for path in (root / "images").iterdir())
        (root / "labels.csv").write_text("".join(f"{name},ship,harbor\n" for name in names))
        classes = MetadataCatalog.get("iSAID_wsss_train_sem_seg").stuff_classes
        (root / "own.yaml").write_text(
            f"name: mine\nclasses: [{', '.join(classes)}]\n"
            "splits:\n  train: {images: images, image_labels: labels.csv}\n"
        )
        options = ["DATASETS.OWN", f"('{root}/own.yaml',)", "DATASETS.TRAIN", "('mine_train_sem_seg',)"]
        arguments = ["--config-file", FILE, *SMALL, *options, "DATASETS.TEST", "()", "OUTPUT_DIR"]
        monkeypatch.setattr(sys, "argv", ["train_net.py", *arguments, str(tmp_path / "out")])
        command_line()
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
