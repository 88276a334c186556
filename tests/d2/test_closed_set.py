"""The closed-set heads behind Detectron2: classes, sizes, patches, gradients of parts, commands."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model as build_segmentor
from PIL import Image

import rskt_seg
from rskt_seg.commands.train import start
from rskt_seg.d2 import build_model, load_config
from rskt_seg.d2.benchmark import Benchmark
from rskt_seg.d2.devices import peak_memory
from rskt_seg.d2.partwise import PartwiseTrainer
from rskt_seg.d2.segmentor import plain_model
from rskt_seg.d2.specs import class_names
from rskt_seg.d2.tta import with_augmentation
from rskt_seg.errors import CheckpointError, ConfigError, DatasetError, VocabularyError, WeightsNotFoundError
from rskt_seg.inference.contexts import patch_grid
from rskt_seg.inference.patches import augmented_score_map, score_map
from rskt_seg.inference.views import VIEWS, average_views
from rskt_seg.synthetic.miniature import write_dlrsd
from tests.checkpoints.test_fctl import encoders as published_contexts
from tests.checkpoints.test_fctl import published as published_fctl
from tests.d2.conftest import CONFIGS

ROOT = CONFIGS.parents[1]
METHODS = ("bicor", "fctl")
SMALL = {
    "bicor": ("MODEL.BICOR.WIDTH", "16", "MODEL.BICOR.MIN_PIXELS", "4"),
    "fctl": ("SOLVER.SUB_BATCH", "3"),
}
# FCtL without contexts.
BASELINE = ("MODEL.FCTL.CONTEXTS", "()", "MODEL.FCTL.FACTORS", "()", "MODEL.FCTL.CONTEXT_ENCODER", "frozen",
            "MODEL.FCTL.LCF", "False")  # fmt: skip


def config(method: str, *opts: str):
    file = str(ROOT / f"configs/{method}/tiny.yaml")
    return load_config(file, ["MODEL.DEVICE", "cpu", "SEED", "1", *SMALL[method], *opts])


def segmentor(method: str, *opts: str):
    torch.manual_seed(0)
    return build_segmentor(config(method, *opts)).eval()


def entry(height: int, width: int, seed: int = 0, /, **rest) -> dict:
    draws = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=draws)
    return {"image": image, **rest}


def names(method: str) -> tuple[str, ...]:
    return class_names(config(method))


@torch.no_grad()
def maps(model, *entries) -> list[torch.Tensor]:
    return [output["sem_seg"] for output in model(list(entries))]


@pytest.mark.parametrize("method", METHODS)
def test_the_model_takes_its_classes_from_the_training_data(method):
    model = plain_model(segmentor(method, "DATASETS.TRAIN", "('UDD5_all_sem_seg',)"))
    assert model.class_names == ("Vegetation", "Building", "Road", "Vehicle", "Other")
    assert model.spec.num_classes == 5
    only_test = ("DATASETS.TRAIN", "()", "DATASETS.TEST", "('UDD5_all_sem_seg',)")
    assert plain_model(segmentor(method, *only_test)).class_names == model.class_names
    with pytest.raises(ConfigError, match=r"DATASETS\.TRAIN is empty"):
        build_model(config(method, "DATASETS.TRAIN", "()", "DATASETS.TEST", "()"))


@pytest.mark.parametrize("method", METHODS)
def test_data_of_other_classes_or_of_another_order_are_refused(method):
    model = segmentor(method)
    for words in (names(method)[::-1], names(method)[:-1]):
        with pytest.raises(DatasetError, match="the classes of this model are fixed: airplane, bare soil"):
            model([entry(64, 64, vocabulary=words)])


@pytest.mark.parametrize("method", METHODS)
def test_maps_have_the_source_size_and_are_probabilities(method):
    (scores,) = maps(segmentor(method), entry(100, 75, height=50, width=99))
    assert scores.shape == (17, 50, 99)
    torch.testing.assert_close(scores.sum(dim=0), torch.ones(50, 99))


def test_an_image_up_to_a_tile_is_what_the_plain_model_says_and_a_larger_one_is_its_tiles():
    model, data = segmentor("bicor"), entry(45, 90)
    image = data["image"].float()
    with torch.no_grad():
        whole = plain_model(model)(image[None]).logits[0]
        tiles = [plain_model(model)(part[None]).logits[0] for part in image.split(45, dim=2)]
    torch.testing.assert_close(maps(model, data)[0], whole.softmax(dim=0), atol=1e-6, rtol=0)
    model.sem_seg_head.tile = 45
    found = maps(model, data)[0]
    torch.testing.assert_close(found, torch.cat(tiles, dim=2).softmax(dim=0), atol=1e-6, rtol=0)
    assert (found - whole.softmax(dim=0)).abs().max() > 1e-3


def test_patches_are_scored_as_the_published_way_through_an_image_says():
    model, data = segmentor("fctl"), entry(100, 130)
    pixels = data["image"].permute(1, 2, 0).numpy()
    with torch.inference_mode():
        summed = score_map(plain_model(model), pixels, overlap=16, batch_size=2)
    found = maps(model, data)[0]
    assert torch.equal(found.argmax(dim=0), summed.argmax(dim=0))
    torch.testing.assert_close(found, (summed / seen_by(100, 130)).softmax(dim=0), atol=1e-5, rtol=0)


def seen_by(height: int, width: int) -> torch.Tensor:
    """How many patches hold each pixel."""
    counts = torch.zeros(height, width)
    for patch in patch_grid(height, width, 64, 16):
        counts[patch.rows, patch.columns] += 1
    return counts


def test_the_overlap_of_patches_is_that_of_the_configuration():
    data = entry(100, 130)
    less, more = (maps(segmentor("fctl", "INPUT.PATCH_OVERLAP", n), data)[0] for n in ("16", "48"))
    assert (less - more).abs().max() > 1e-3


def test_augmentation_averages_the_logits_of_the_views_that_the_configuration_names():
    data = entry(64, 96)
    cfg = config("bicor", "TEST.AUG.VIEWS", "d4_loveda")
    model = segmentor("bicor", "TEST.AUG.VIEWS", "d4_loveda")
    plain = plain_model(model)
    with torch.inference_mode():
        logits = average_views(lambda x: plain(x).logits, data["image"][None].float(), VIEWS["d4_loveda"])
    (found,) = maps(with_augmentation(cfg, model), data)
    torch.testing.assert_close(found, logits[0].softmax(dim=0), atol=1e-6, rtol=0)
    assert (found - maps(model, data)[0]).abs().max() > 1e-4

    model = segmentor("fctl")
    with torch.inference_mode():
        pixels = data["image"].permute(1, 2, 0).numpy()
        logits = augmented_score_map(plain_model(model), pixels, VIEWS["dihedral"], overlap=16)
    (found,) = maps(with_augmentation(config("fctl"), model), data)
    expected = (logits / (8 * seen_by(64, 96))).softmax(dim=0)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def labelled(height: int, width: int, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 17, (height, width))
    label[:7] = 255
    return {**entry(height, width, seed), "sem_seg": torch.from_numpy(label)}


def test_the_parts_of_a_batch_are_all_patches_with_their_labels_and_contexts():
    head = segmentor("fctl").sem_seg_head
    data = labelled(100, 64)
    parts = list(head.parts([data, labelled(40, 64, 1)]))
    # Starts 0, 36 in the first image (one column), one padded patch in the second.
    assert [len(part) for part in parts] == [2, 1]
    first, second = parts[0]
    assert torch.equal(first["image"], data["image"][:, :64])
    assert torch.equal(second["image"], data["image"][:, 36:])
    assert torch.equal(second["sem_seg"], data["sem_seg"][36:])
    padded = parts[1][0]
    assert padded["image"].shape == (3, 64, 64) and not padded["image"][:, 40:].any()
    assert (padded["sem_seg"][40:] == 255).all() and not (padded["sem_seg"][7:40] == 255).any()
    # The medium context is twice the patch and centred on it: its inner half is the patch, made smaller.
    black = F.pad(data["image"], (32, 32, 32, 32))[:, 36 : 36 + 128, 0:128]
    shrunk = Image.fromarray(black.permute(1, 2, 0).numpy()).resize((64, 64), Image.BILINEAR)
    assert torch.equal(second["contexts"]["medium"].permute(1, 2, 0), torch.tensor(np.array(shrunk)))
    assert second["windows"]["medium"].tolist() == [-0.5, -0.5, 2.0, 2.0]
    # The whole image stands in the first entry, once for all.
    whole = Image.fromarray(data["image"].permute(1, 2, 0).numpy()).resize((64, 64), Image.BILINEAR)
    assert torch.equal(first["contexts"]["large"].permute(1, 2, 0), torch.tensor(np.array(whole)))
    assert "large" not in second["contexts"]
    assert second["windows"]["large"].tolist() == pytest.approx([-36 / 64, 0, 100 / 64, 1])


def test_a_frozen_encoder_of_the_whole_image_is_asked_once_an_image():
    model = without_chance(segmentor("fctl", "MODEL.FCTL.CONTEXT_ENCODER", "frozen"))
    head, batch = model.sem_seg_head, [labelled(100, 64), labelled(40, 64, 1)]
    once = [sum(model(part).values()) for part in head.parts(batch)]
    asked, encode = [], head.model.encode_context
    head.model.encode_context = lambda name, images: asked.append(name) or encode(name, images)
    list(head.parts(batch))
    assert asked == ["large", "large"]

    # The same losses as with the image itself in every part.
    def unencoded(image: np.ndarray) -> dict:
        small = Image.fromarray(image).resize((64, 64), Image.BILINEAR)
        return {"large": torch.tensor(np.array(small)).permute(2, 0, 1)}

    head._whole_contexts = unencoded
    for loss, part in zip(once, head.parts(batch), strict=True):
        torch.testing.assert_close(sum(model(part).values()), loss)


def test_whole_images_are_trained_at_the_working_side_with_the_nearest_label():
    head = segmentor(
        "fctl", *BASELINE, "MODEL.FCTL.VIEW", "whole", "MODEL.FCTL.PATCH_SIDE", "508"
    ).sem_seg_head
    data = labelled(128, 128)
    (part,) = head.parts([data])
    assert part[0]["image"].shape == (3, 64, 64)
    assert set(torch.unique(part[0]["sem_seg"]).tolist()) <= {*range(17), 255}
    assert torch.equal(part[0]["sem_seg"], data["sem_seg"][1::2, 1::2])


@pytest.mark.parametrize("method", METHODS)
def test_labels_of_several_sizes_are_refused(method):
    head = segmentor(method).sem_seg_head
    with pytest.raises(DatasetError, match="one size"):
        head.targets([labelled(64, 64), labelled(64, 65)])


def without_chance(model):
    """A model in training mode whose answers depend on its input alone."""
    for module in model.train().modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
            module.p = 0.0
        if hasattr(module, "drop_path"):
            module.drop_path = 0.0
    return model


def test_a_step_adds_up_the_gradients_of_all_parts():
    model = without_chance(segmentor("fctl"))
    batch = [labelled(100, 64), labelled(40, 64, 1)]
    parameters = list(model.parameters())
    expected = [torch.zeros_like(p) for p in parameters]
    for part in model.sem_seg_head.parts(batch):
        losses = model(part)
        for total, gradient in zip(
            expected, torch.autograd.grad(sum(losses.values()), parameters, allow_unused=True), strict=True
        ):
            total += 0 if gradient is None else gradient
    before = [p.detach().clone() for p in parameters]
    trainer = PartwiseTrainer(model, [batch], torch.optim.SGD(parameters, lr=1.0))
    trainer._write_metrics = lambda losses, time: None
    trainer.run_step()
    for old, new, gradient in zip(before, parameters, expected, strict=True):
        torch.testing.assert_close(old - new, gradient, atol=2e-6, rtol=1e-4)
    assert max(float(g.abs().max()) for g in expected) > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_states_the_names_of_its_classes(method, tmp_path):
    model = plain_model(segmentor(method))
    torch.save({"model": model.state_dict(), "class_names": model.class_names}, tmp_path / "w.pth")
    nameless = type(model)(model.spec)
    rskt_seg.load_checkpoint(nameless, tmp_path / "w.pth")
    assert nameless.class_names == names(method)
    other = type(model)(model.spec, class_names=names(method)[::-1])
    with pytest.raises(
        CheckpointError, match=r"w\.pth was trained on the classes airplane, .*built for water"
    ):
        rskt_seg.load_checkpoint(other, tmp_path / "w.pth")
    with pytest.raises(VocabularyError, match="17 classes needs 17 class names; found 2: a, b"):
        type(model)(model.spec, class_names=("a", "b"))


def test_stages_start_from_the_stage_before_and_contexts_from_theirs(tmp_path):
    stage = ("MODEL.FCTL.CONTEXT_ENCODER", "frozen")
    paths = {}
    for seed, name in enumerate(("local", "medium", "large")):
        torch.manual_seed(seed)
        model = plain_model(build_segmentor(config("fctl", *BASELINE)))
        paths[name] = tmp_path / f"{name}.pth"
        torch.save({"model": model.state_dict()}, paths[name])
    opts = [*stage, "MODEL.START_FROM", str(paths["local"])]
    for name in ("medium", "large"):
        opts += [f"MODEL.ENCODERS.{name.upper()}", str(paths[name])]
    model = build_model(config("fctl", *opts))
    for name, part in (("local", model.encoder), *model.context_encoders.items()):
        stored = torch.load(paths[name], weights_only=True)["model"]
        for key, value in part.state_dict().items():
            assert torch.equal(value, stored[f"encoder.{key}"]), (name, key)
    assert not any(p.requires_grad for p in model.context_encoders.parameters())
    with pytest.raises(WeightsNotFoundError, match=r"MODEL\.START_FROM .*train the stage"):
        build_model(config("fctl", *opts, "MODEL.START_FROM", str(tmp_path / "none.pth")))
    with pytest.raises(WeightsNotFoundError, match=r"MODEL\.ENCODERS\.LARGE is empty"):
        build_model(config("fctl", *opts[:-2]))
    with pytest.raises(ConfigError, match="encoders of contexts are those of earlier stages: "):
        build_model(config("fctl", *opts, "MODEL.ENCODERS.LARGE", "random"))


def test_a_published_model_takes_the_files_of_its_contexts_from_the_configuration(tmp_path):
    opts = ["MODEL.FCTL.ENCODER", "vgg_tiny", "MODEL.FCTL.CONTEXT_ENCODER", "frozen"]
    trained = plain_model(segmentor("fctl", *opts))
    torch.save({"state_dict": published_fctl(trained)}, tmp_path / "all.pth")
    opts += ["MODEL.WEIGHTS", str(tmp_path / "all.pth")]
    for name, state in published_contexts(trained).items():
        torch.save(state, tmp_path / f"{name}.pth")
        opts += [f"MODEL.ENCODERS.{name.upper()}", str(tmp_path / f"{name}.pth")]
    loaded = build_model(config("fctl", *opts)).state_dict()
    for key, value in trained.state_dict().items():
        assert torch.equal(loaded[key], value), key
    with pytest.raises(WeightsNotFoundError, match=r"MODEL\.ENCODERS\.LARGE .*keeps the encoder of large"):
        build_model(config("fctl", *opts, "MODEL.ENCODERS.LARGE", str(tmp_path / "none.pth")))
    # Other context files are another model, whose counts must not be taken for this one's.
    identity = Benchmark(config("fctl", *opts), str(tmp_path / "all.pth"), ()).identity
    swapped = [*opts[:-1], str(tmp_path / "medium.pth")]
    assert Benchmark(config("fctl", *swapped), str(tmp_path / "all.pth"), ()).identity != identity


def test_the_memory_of_a_run_is_that_of_its_process():
    before = peak_memory(torch.device("cpu"))
    block = np.ones(1 << 28, np.uint8)
    assert peak_memory(torch.device("cpu")) >= max(before, block.nbytes)


def run_command(*arguments: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start(arguments)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def scenes(tmp_path, monkeypatch) -> None:
    """A few generated scenes of the miniature DLRSD, which the run's environment points to."""
    write_dlrsd(tmp_path / "scenes", num_train=4, num_val=2, seed=1)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "scenes"))


SHORT = {"bicor": ("INPUT.CROP.SIZE", "[32,32]", "INPUT.MOSAIC_SIDE", "32", "SOLVER.EPOCHS", "1"), "fctl": ()}
OTHER = {"bicor": ("MODEL.BICOR.MIN_PIXELS", "9"), "fctl": ("MODEL.FCTL.BRANCH", "deepglobe")}


@pytest.mark.parametrize("method", METHODS)
def test_train_net_trains_resumes_and_evaluates(method, scenes, tmp_path, monkeypatch):
    out = tmp_path / "out"
    common = ("--config-file", str(ROOT / f"configs/{method}/tiny.yaml"))
    opts = ("MODEL.DEVICE", "cpu", *SMALL[method], "SOLVER.IMS_PER_BATCH", "2", "OUTPUT_DIR", str(out),
            *SHORT[method], "SEED", "1")  # fmt: skip
    run_command(*common, *opts, "SOLVER.MAX_ITER", "2")
    for changed, message in ((OTHER[method], "was saved from a model with"),
                             (("SOLVER.OPTIMIZER", "SGD"), "state of another optimizer")):  # fmt: skip
        with pytest.raises(CheckpointError, match=message):
            run_command(*common, "--resume", *opts, "SOLVER.MAX_ITER", "3", *changed)
    run_command(*common, "--resume", *opts, "SOLVER.MAX_ITER", "3")
    final = torch.load(out / "model_final.pth", weights_only=True)
    assert final["iteration"] == 2
    assert tuple(final["class_names"]) == names(method)
    (group,) = final["trainer"]["_trainer"]["optimizer"]["param_groups"]
    assert group.get("lookahead_count") == (3 if method == "bicor" else None)
    weights = ("MODEL.WEIGHTS", str(out / "model_final.pth"), "TEST.AUG.ENABLED", "True")
    run_command(*common, "--eval-only", *opts, *weights)
    for suffix in ("", "_TTA"):
        found = json.loads((out / f"benchmark{suffix}.json").read_text())
        assert "DLRSD_val_sem_seg" in json.dumps(found)


@pytest.mark.parametrize(
    ("opts", "error", "message"),
    [
        (("DATASETS.TEST", "('UDD5_all_sem_seg',)"), DatasetError, "of the model are fixed: airplane"),
        (("SOLVER.IMS_PER_BATCH", "1"), ConfigError, "at least 2 images in every process"),
    ],
)
def test_runs_that_cannot_end_well_are_refused_before_they_start(
    data_root, tmp_path, monkeypatch, opts, error, message
):
    out = ("MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path / "out"), "SOLVER.IMS_PER_BATCH", "2")
    with pytest.raises(error, match=message):
        run_command("--config-file", str(ROOT / "configs/bicor/tiny.yaml"), *out, *opts)
    assert not (tmp_path / "out").exists()


def train_for_gradients(arguments) -> None:
    """What each process of the test below does: one step on its half of a batch."""
    from rskt_seg.d2.compat import create_ddp_model

    folder, batches = arguments
    from detectron2.utils import comm

    model = without_chance(segmentor("fctl"))
    trainer = PartwiseTrainer(
        create_ddp_model(model),
        [batches[comm.get_rank()]],
        torch.optim.SGD(model.parameters(), lr=1.0),
    )
    trainer._write_metrics = lambda losses, time: None
    trainer.run_step()
    name = f"{comm.get_world_size()}.pth" if comm.is_main_process() else "rank1.pth"
    torch.save(model.state_dict(), Path(folder, name))


def test_two_processes_step_as_one(tmp_path):
    from rskt_seg.d2.compat import launch

    images = [labelled(100, 64), labelled(40, 64, 1)]
    launch(train_for_gradients, 2, 1, 0, "auto", ((str(tmp_path), [images[:1], images[1:]]),), on_cpu=True)
    launch(train_for_gradients, 1, 1, 0, "auto", ((str(tmp_path), [images]),), on_cpu=True)
    one, two = (torch.load(tmp_path / f"{n}.pth", weights_only=True) for n in (1, 2))
    start = dict(segmentor("fctl").named_parameters())
    for key in start:
        torch.testing.assert_close(one[key], two[key], atol=5e-6, rtol=1e-4)
    # Every process has the mean of the statistics of all, so that each scores the model that one saves.
    other = torch.load(tmp_path / "rank1.pth", weights_only=True)
    statistics = [key for key in two if "running_" in key]
    assert statistics
    for key in statistics:
        assert torch.equal(two[key], other[key])
    assert any((one[key] - start[key]).abs().max() > 1e-3 for key in start)
