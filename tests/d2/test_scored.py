"""`rskt-seg picture CONFIG,WEIGHTS` draws what `rskt-seg eval` scores, to the last pixel."""

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from rskt_seg.commands import picture
from rskt_seg.d2 import load_config
from rskt_seg.d2.benchmark import evaluate
from rskt_seg.d2.scored import ScoredModel
from rskt_seg.d2.trainer import Trainer
from rskt_seg.data.catalog import find_split, pairs
from rskt_seg.errors import ConfigError, DatasetError
from tests.d2.closed_set.tiny import ROOT, SMALL
from tests.d2.conftest import CONFIGS, TINY

DATASET = "DLRSD_val_sem_seg"
OPEN = (CONFIGS / "tiny_dlrsd.yaml", [*TINY, "TEST.SLIDING_WINDOW", "True", "INPUT.MIN_SIZE_TEST", "72"])
CLOSED = (
    ROOT / "configs/bicor/tiny.yaml",
    ["MODEL.DEVICE", "cpu", "SEED", "1", *SMALL["bicor"], "TEST.TILE", "32", "TEST.TILE_OVERLAP", "8"],
)


def write_config(folder, base, opts):
    """Write a configuration with overrides as a file."""
    tree = {"_BASE_": str(base)}
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        *path, leaf = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = yaml.safe_load(value)
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


@pytest.fixture(params=[OPEN, CLOSED], ids=["windows of an open vocabulary", "tiles of a closed set"])
def evaluated(request, data_root, tmp_path):
    """The configuration, the weights and the folder of an evaluation that kept its predictions."""
    base, opts = request.param
    image = pairs(find_split(DATASET), data_root)[0].image  # a TIFF inside, with a hole
    pixels = np.dstack([np.asarray(Image.open(image)), np.full((40, 48), 255, np.uint8)])
    pixels[:7, :, 3] = 0
    Image.fromarray(pixels).save(image, format="TIFF")
    config = write_config(tmp_path, base, [*opts, "DATASETS.TEST", f"['{DATASET}']"])
    torch.manual_seed(1)
    weights = tmp_path / "weights.safetensors"
    save_file(Trainer.build_model(load_config(str(config))).state_dict(), weights)
    out = tmp_path / "out"
    kept = ["OUTPUT_DIR", str(out), "TEST.SAVE_PREDICTIONS", "True"]
    evaluate(load_config(str(config), ["MODEL.WEIGHTS", str(weights), *kept]))
    return config, weights, out


def test_predictions_are_the_saved_ones_to_the_last_pixel(evaluated, data_root, tmp_path, capsys):
    config, weights, out = evaluated
    split = find_split(DATASET)
    model = ScoredModel(str(config), str(weights), DATASET, split.class_set.names)
    for pair in pairs(split, data_root):
        saved = np.asarray(Image.open(out / "inference" / DATASET / f"{pair.image.stem}.png"))
        assert np.array_equal(model.predict(pair.image), saved) and len(np.unique(saved)) > 1
    pictures = []
    for number, source in enumerate((f"m={config},{weights}", f"m={out}")):
        file = tmp_path / f"{number}.png"
        words = ["--dataset", DATASET, "--root", str(data_root), "--output", str(file), source]
        assert picture.main(words) == 0
        pictures.append(np.asarray(Image.open(file)))
    assert np.array_equal(*pictures)
    said = capsys.readouterr().out
    assert f"m: predicted now by {weights} as `rskt-seg eval` scores {config}\n" in said
    assert f"m: the predictions that {out} scored\n" in said


def test_a_control_and_other_classes_are_refused(evaluated, data_root, tmp_path):
    config, weights, _ = evaluated
    names = find_split(DATASET).class_set.names
    tree = yaml.safe_load(config.read_text())
    closed = "bicor" in tree["_BASE_"]
    if closed:
        model = ScoredModel(str(config), str(weights), DATASET, names[1:])
        with pytest.raises(DatasetError, match="the classes of this model are fixed"):
            model.predict(pairs(find_split(DATASET), data_root)[0].image)
        return
    tree["TEST"]["ROTATE_NAMES"] = 1
    config.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match="is a control with exchanged names"):
        ScoredModel(str(config), str(weights), DATASET, names)
