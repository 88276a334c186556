"""The weakly supervised head behind Detectron2: image-level labels, frozen parts of checkpoints, CAMs."""

import logging
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model as build_segmentor
from PIL import Image

import rskt_seg
from rskt_seg.checkpoints.files import read_weights
from rskt_seg.d2 import build_model, load_config
from rskt_seg.d2.benchmark import evaluate
from rskt_seg.d2.evaluator import RSEvaluator
from rskt_seg.d2.loaders import check_datasets, training_loader
from rskt_seg.d2.segmentor import plain_model
from rskt_seg.d2.trainer import Trainer
from rskt_seg.d2.weights import check_descriptions, check_weights
from rskt_seg.d2.wsss_head import SegmentorCams
from rskt_seg.data.scenes.miniature import WSSS_MINIATURES, write_miniature
from rskt_seg.errors import CheckpointError, ConfigError, DatasetError, WeightsNotFoundError
from rskt_seg.inference.predict import evaluating
from rskt_seg.losses.affinity import affinity_loss, affinity_target
from rskt_seg.models.wsss.cams import initial_cam
from rskt_seg.models.wsss.prototypes import seeds
from rskt_seg.models.wsss.relations import joint_affinity, refine
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


class TestWiring:
    """Each step of a training and of a CAM's score, made by hand from the public parts."""

    def model_of(self, *opts: str):
        segment = segmentor("MODEL.WSSS.DROPOUT", "0.0", *opts)
        model = plain_model(segment)
        draws = torch.Generator().manual_seed(4)
        model.vpe.prototypes.normal_(generator=draws)
        model.vpe.ready[:8] = True
        return segment, model

    @staticmethod
    def final_cams(model, images, present, learn, valid=None):
        """Equations 9 to 20 from what the parts of the model say."""
        spec = model.spec
        padded = model._padded(images)
        pixels = (padded - model.clip_mean) / model.clip_std
        trace = {"value_path": spec.cam_attention == "value", "antialias": True}
        seen = model.clip.visual.traced(pixels, [0, 1, 2], spec.first_layer - 1, **trace)
        side = [cells // model.dino_stride * model.dino_stride for cells in padded.shape[2:]]
        small = F.interpolate(padded, side, mode="bilinear", align_corners=False)
        dino = model.dino_adapter([model.dinov2((small - model.dino_mean) / model.dino_std)])
        clip = model.clip_adapter([seen.taps[level - 1] for level in spec.clip_levels])
        dino = F.interpolate(dino, clip.shape[2:], mode="bilinear", align_corners=False)
        joint = torch.cat([clip, dino], dim=1).flatten(2).detach()
        affinity = joint_affinity(joint, spec.affinity)
        initial = initial_cam(seen.final.flatten(2), model.text_enriched, present, spec.background_power)
        attention = torch.stack([seen.attention[i] for i in sorted(seen.attention)], dim=1)
        refined = refine(affinity, attention, initial, present, steps=spec.alpha, power=spec.background_power)
        if learn:
            stride = model.stride
            middle = slice(stride // 2, None, stride)
            cells = F.pad(valid, (0, 3))[:, middle, middle].flatten(1)[:, None]
            model.vpe.update(joint, seeds(refined.cams * cells, present, spec.seed_percent))
        return model.vpe.cam(joint, refined.cams, present, spec.background_power), clip.shape[2:], affinity

    def test_a_training_step_is_its_parts_in_their_order(self, monkeypatch):
        segment, model = self.model_of()
        segment.train()
        entries = [entry(i, 40, 29, image_labels=(0, 1 + i, 5), valid=torch.ones(40, 29, dtype=torch.bool))
                   for i in range(2)]  # fmt: skip
        entries[1]["valid"][30:] = False
        images, present = segment.sem_seg_head.images(entries), segment.sem_seg_head.present(entries)
        images, before = torch.stack(images), model.state_dict()["vpe.prototypes"].clone()
        valid = torch.stack([each["valid"] for each in entries])
        cams, grid, affinity = self.final_cams(model, images, present, learn=True, valid=valid)
        by_hand = model.vpe.prototypes.clone()
        model.vpe.prototypes.copy_(before)
        labels = model.pseudo_labels(images, cams.unflatten(2, grid), present, valid)
        seen = []
        original = type(model).losses
        monkeypatch.setattr(
            type(model),
            "losses",
            lambda self, out, target: (seen.append(target), original(self, out, target))[1],
        )
        terms = segment(entries)
        torch.testing.assert_close(model.vpe.prototypes, by_hand)
        assert (seen[0] == labels).float().mean() > 0.999 and (seen[0][1, 30:] == 255).all()
        target = F.pad(labels, (0, 3, 0, 0), value=255)
        pairs = affinity_target(target, tuple(grid), model.spec.radius)
        expected = model.spec.affinity_weight * affinity_loss(affinity, pairs)
        torch.testing.assert_close(terms["loss_affinity"].detach(), expected.detach(), rtol=1e-4, atol=1e-6)

    def test_cam_labels_are_the_refined_mean_over_the_passes(self):
        segment, model = self.model_of("TEST.SCALES", "(1.0, 0.5)")
        one = entry(3, 32, 48, image_labels=(2, 6))
        image = one["image"][None].float()
        present = segment.sem_seg_head.present([one])
        total = 0
        for size in ((32, 48), (16, 24)):
            for mirrored in (False, True):
                seen = F.interpolate(image, size, mode="bilinear") if size != (32, 48) else image
                seen = seen.flip(3) if mirrored else seen
                cams, grid, _ = self.final_cams(model, seen, present, learn=False)
                maps = F.interpolate(cams.unflatten(2, grid), (32, 48), mode="bilinear")
                total = total + (maps.flip(3) if mirrored else maps)
        mean = total[:, 1:] / 4
        low, high = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
        foreground = (mean - low) / (high - low).clamp(min=1e-6) * present[..., None, None]
        rebuilt = (1 - foreground.amax(1, keepdim=True)) ** model.spec.background_power
        labels = model.pseudo_labels(image, torch.cat([rebuilt, foreground], dim=1), present)
        with evaluating(model):
            found = segment.sem_seg_head.cam_labels(one)
        assert (found == labels[0]).float().mean() > 0.99

    def test_cams_of_more_than_a_tile_are_refused_before_they_explode(self):
        segment, _ = self.model_of()
        with pytest.raises(ConfigError, match=r"TEST\.TILE 64 px; found \(65, 20\)"):
            segment.sem_seg_head.cam_labels(entry(0, 65, 20, image_labels=(1,)))

    def test_cams_are_scored_by_the_complement_whatever_trains(self):
        scores = []
        for pseudo in ("complement", "dual_threshold"):
            segment, _ = self.model_of("MODEL.WSSS.PSEUDO", pseudo)
            with evaluating(segment):
                scores.append(segment.sem_seg_head.cam_labels(entry(3, image_labels=(2, 6))))
        assert torch.equal(*scores) and not (scores[0] == 255).any()

    def test_the_refinement_is_exact_under_mixed_precision(self):
        segment, model = self.model_of()
        images = torch.stack(segment.sem_seg_head.images([entry(1, 32, 32)]))
        with torch.autocast("cpu", torch.bfloat16):
            evidence = model(images, evidence=True).evidence
            cams = model.cams(evidence, segment.sem_seg_head.present([entry(1, image_labels=(1, 2))]))
        assert evidence.affinity.dtype == cams.final.dtype == torch.float32
        torch.testing.assert_close(
            evidence.affinity, joint_affinity(evidence.joint, "dot"), rtol=1e-6, atol=0
        )


class TestEarly:
    def test_descriptions_that_are_missing_or_too_few_stop_a_run_before_it_starts(self, data_root, tmp_path):
        with pytest.raises(ConfigError, match=r"nowhere\.json"):
            check_descriptions(config("MODEL.WSSS.DESCRIPTIONS", "nowhere.json"))
        with pytest.raises(ConfigError, match=r"CLUSTERS 400 needs .* found 300"):
            check_descriptions(config("MODEL.WSSS.CLUSTERS", "400"))
        check_descriptions(config())

    @pytest.mark.parametrize(
        ("words", "said"),
        [("a pond" + " boat" * 30, "at most 24 tokens"), ("a zyzzyva", "never saw a word")],
    )
    def test_a_description_that_cannot_be_read_stops_a_run_before_it_starts(
        self, data_root, tmp_path, words, said
    ):
        content = Path(rskt_seg.__file__).with_name("descriptions").joinpath("tiny.json").read_text()
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
