"""What the tries begin with: small scenes, a tiny model and its files, a download; and the commands."""

import io
import json
import os
import sys
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image

from campaign.children import Call, run
from rskt_seg.data.catalog import ROOT_VARIABLE
from rskt_seg.errors import RSKTSegError
from rskt_seg.methods import create_model
from rskt_seg.synthetic import MINIATURES, write_miniature

SIDE, SCENES = 96, 3
NAMES = "building, road, tree, water"
ITERATIONS, PERIOD = 4, 1
_CONFIG = Path(__file__).resolve().parents[2] / "configs" / "ovrsis" / "tiny_dlrsd.yaml"
_TINY = (
    "MODEL.DEVICE", "cpu", "MODEL.RSKT.NUM_LAYERS", "1", "MODEL.RSKT.HIDDEN_DIM", "16",
    "MODEL.RSKT.NUM_HEADS", "2", "MODEL.ENCODERS.CLIP", "random", "MODEL.ENCODERS.REMOTE_CLIP", "random",
    "MODEL.ENCODERS.DINO", "random", "SOLVER.IMS_PER_BATCH", "2", "CUDNN_BENCHMARK", "False", "SEED", "1",
    "DATALOADER.NUM_WORKERS", "0",
    "MODEL.RSKT.CLIP_FINETUNE", "attention",
)  # fmt: skip
"""What makes the tiny configuration still smaller."""


@dataclass(frozen=True)
class Material:
    """The files that tries begin with; nothing changes them.

    Attributes:
        root: Their folder.
    """

    root: Path

    @property
    def data(self) -> Path:
        """Root of the datasets: miniatures of DLRSD and UDD5."""
        return self.root / "datasets"

    @property
    def weights(self) -> Path:
        """A trained checkpoint, as the last of a training."""
        return self.root / "train" / "model_final.pth"

    @property
    def images(self) -> list[Path]:
        """Three scenes."""
        return sorted(self.root.glob("images/*.png"))

    @property
    def download(self) -> Path:
        """The official download of UDD5, in miniature: a zip archive within another."""
        return self.root / "UDD.zip"

    # The commands, with their arguments.

    def train(self, out: str, *more: str, resume: bool = False) -> Call:
        """Train the tiny model for a few iterations and evaluate it."""
        schedule = ("SOLVER.MAX_ITER", str(ITERATIONS), "SOLVER.CHECKPOINT_PERIOD", str(PERIOD))
        flags = ["--resume"] if resume else []
        return self._call("train", [*self._configured(), *flags, *_TINY, *schedule, "OUTPUT_DIR", out, *more])

    def train_from(self, config: str, *more: str) -> Call:
        """Train a configuration."""
        return self._call("train", ["--config-file", config, "--dist-url", "auto", *more])

    def evaluate(self, out: str, weights: Path | None = None) -> Call:
        """Evaluate the tiny model on two sets."""
        sets = ("DATASETS.TEST", "('DLRSD_val_sem_seg','UDD5_all_sem_seg')")
        chosen = ("MODEL.WEIGHTS", str(weights or self.weights))
        return self._call("eval", [*self._configured(), *_TINY, *sets, *chosen, "OUTPUT_DIR", out])

    def prepare(self, out: str, source: str | None = None) -> Call:
        """Prepare UDD5 from its download."""
        return self._call("prepare", ["UDD5", source or str(self.download), out, "--workers", "2"])

    def segment(
        self,
        out: str,
        images: Sequence[str],
        names: str = NAMES,
        weights: Path | str | None = None,
        *more: str,
    ) -> Call:
        """Segment images by class names."""
        flags = ["--weights", str(weights or self.weights), "--device", "cpu", "--vocabulary", names]
        return self._call("segment", [*flags, "--input", *images, "--output", out, *more])

    def check(self, description: str, report: str) -> Call:
        """Check a dataset of one's own."""
        return self._call("check", [description, "--json", report, "--workers", "1"])

    def convert(self, source: str, target: str) -> Call:
        """Convert a weight file to safetensors."""
        return self._call("weights", ["convert", source, target])

    def _configured(self) -> list[str]:
        return ["--config-file", str(_CONFIG), "--dist-url", "auto"]

    def _call(self, command: str, arguments: list[str]) -> Call:
        def call() -> int:
            os.environ[ROOT_VARIABLE] = str(self.data)
            status: int = import_module(f"rskt_seg.commands.{command}").main(arguments)
            return status

        return call


def build(root: Path) -> Material:
    """Make the material in an empty folder, and import whatever the commands import.

    Args:
        root: The folder.

    Returns:
        The material.

    Raises:
        RSKTSegError: A command failed: there is nothing to try yet.
    """
    material = Material(root)
    for name in ("DLRSD", "UDD5"):
        row = MINIATURES[name]
        write_miniature(row, material.data, SCENES if row.train else 0, SCENES, 1, SIDE)
    (root / "images").mkdir()
    for path in sorted(material.data.glob("DLRSD_split/val/imgs/*")):
        Image.open(path).save(root / "images" / f"{path.stem}.png")
    _pack_download(material)
    own_dataset(root / "own")
    steps = {
        "train": material.train("train"),
        "eval": material.evaluate("eval"),
        "segment": material.segment("segmented", [str(material.images[0])]),
        "prepare": material.prepare("prepared"),
        "check": material.check("own/own.yaml", "own.json"),
        "convert": material.convert(str(material.weights), "model.safetensors"),
        "files": lambda: _write_weights(root),
        "encoder": material.convert("encoder.pt", "encoder.safetensors"),
    }
    for name, call in steps.items():
        ended = run(lambda call=call: _tell_imports(call), root, limit=300.0)
        if ended.status != 0:
            raise RSKTSegError(f"the campaign's own {name} ended with {ended.status}: {ended.output[-2000:]}")
        for module in json.loads((root / "imports.json").read_text()):
            with suppress(Exception):  # a part of another module that cannot be imported by itself
                import_module(module)
    create_model("rskt_tiny")  # reads the vocabulary of the tokenizer, which stays
    return material


def _tell_imports(call: Call) -> int:
    status = call() or 0
    Path("imports.json").write_text(json.dumps([name for name in sys.modules if not name.startswith("__")]))
    return status


def _pack_download(material: Material) -> None:
    """Pack the scenes of UDD5 as its owners do, the images of one part in an archive of their own."""
    inner = io.BytesIO()
    scenes = sorted(material.data.glob("UDD5/all/src/*"))
    with zipfile.ZipFile(material.download, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, path in enumerate(scenes):
            part = "val" if number == 0 else "train"
            label = path.parents[1] / "gt" / f"{path.stem}.png"
            archive.write(label, f"UDD/UDD5/{part}/gt/{path.stem}.png")
            if part == "train":
                archive.write(path, f"UDD/UDD5/train/src/{path.stem}.JPG")
            else:
                with zipfile.ZipFile(inner, "w") as nested:
                    nested.write(path, f"val/src/{path.stem}.JPG")
        archive.writestr("UDD/UDD5/val.zip", inner.getvalue())


def own_dataset(folder: Path) -> None:
    """Write a dataset of one's own with its YAML file: two images, their masks, image-level labels."""
    rng = np.random.default_rng(5)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for stem in ("a", "b"):
        ids = rng.integers(0, 3, (8, 8), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(
            folder / "images" / f"{stem}.png"
        )
        Image.fromarray(ids).save(folder / "labels" / f"{stem}.png")
    (folder / "labels.csv").write_text("image,classes\na,field,house\nb,field\n")
    (folder / "list.txt").write_text("a\nb\n")
    (folder / "own.yaml").write_text(
        "name: farm\nclasses: [field, house, 'road']\npalette: [[0, 200, 0], [200, 0, 0], [90, 90, 90]]\n"
        "ignore: 255\nsplits:\n  train:\n    images: images\n    labels: labels\n    list: list.txt\n"
        "  weak:\n    images: images\n    image_labels: labels.csv\n    image_extensions: [png]\n"
    )


def _write_weights(root: Path) -> int:
    """Write a checkpoint of the model alone, and the packaged CLIP as .pth and as a TorchScript archive."""
    import torch
    from safetensors.torch import load_file

    import rskt_seg.encoders

    content = torch.load(root / "train" / "model_final.pth", weights_only=True)
    stated = {key: value for key, value in content.items() if key not in ("trainer", "iteration")}
    torch.save(stated, root / "model.pth")
    (source,) = Path(rskt_seg.encoders.__file__).parent.glob("*.safetensors")
    tensors = load_file(source)
    torch.save(tensors, root / "encoder.pth")
    modules = {"": torch.nn.Module()}
    for name, tensor in tensors.items():
        path = ""
        for part in name.split(".")[:-1]:
            parent, path = path, f"{path}.{part}".lstrip(".")
            if path not in modules:
                modules[path] = torch.nn.Module()
                modules[parent].add_module(part, modules[path])
        modules[path].register_buffer(name.rpartition(".")[2], tensor.float())
    torch.jit.script(modules[""]).save(str(root / "encoder.pt"))  # the format of OpenAI's files
    return 0


def tiny_tree() -> dict[str, object]:
    """Return the configuration of the tiny model with its bases, as one tree for a YAML file."""
    from rskt_seg.d2.config_files import read_config

    tree = read_config(str(_CONFIG))
    for name, text in zip(_TINY[::2], _TINY[1::2], strict=True):
        *sections, leaf = name.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[leaf] = {"True": True, "False": False}.get(text, int(text) if text.isdigit() else text)
    return json.loads(json.dumps(tree))
