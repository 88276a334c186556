"""The published code itself, from a folder of the user, as one more form beside those of this project.

Nothing of it is part of this project, and this module was tried with a stand-in alone. It relies on these
facts of the published project; one that does not hold is told in one line:

* FOLDER/train_net.py has `setup(args)`, as projects of Detectron2 have. It takes what Detectron2's
  `default_argument_parser` makes of `--config-file FILE --eval-only KEY VALUE ...`, and returns the
  configuration.
* The configuration has the keys that `Published._configure` sets, and `build_model` builds its model.
* The tensors of the model have the names from which this package renames published checkpoints.
* Class names are those of MODEL.SEM_SEG_HEAD.TRAIN_CLASS_JSON and TEST_CLASS_JSON, lists in JSON files. A
  model reads them once, so that there is one for each vocabulary.
* In evaluation the model is called with a list of one dict (`image`, `height`, `width`, `file_name`). It
  computes a map of sigmoids of a quarter of the cells' side, cuts it to the image, resizes it to (height,
  width) and returns `[{"sem_seg": (T, height, width)}]`. In training it is called with dicts of `image`,
  `sem_seg` and `file_name`, and returns a dict of losses.
"""

import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, chdir, contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from rskt_seg.checkpoints.rules import LoadReport, convert, describe_misfit
from rskt_seg.errors import ConfigError, RSKTSegError
from rskt_seg.methods.rskt.checkpoint import rules_for
from rskt_seg.models import RSKT
from rskt_seg.stopping import Terminated
from rskt_seg.writing import replace_text

CONFIGS = {"rskt_vitb16": "configs/vitb_384_DLRSD.yaml", "rskt_vitl14": "configs/vitl_336_DLRSD.yaml"}
"""Preset -> the published configuration with its encoders."""
ADVICE = "check the revision of the published code, --against-config and --against-opts"
_ENTRY = "train_net.py"
_MOST_LETTERS = 300
"""Letters of a foreign error message that are shown."""


@dataclass(frozen=True)
class Checkout:
    """A folder with the published code, and how it is configured.

    Attributes:
        folder: The folder.
        config: Its YAML file, as a path from the folder.
        opts: Overrides of the configuration: key, value, key, value, ...
    """

    folder: str
    config: str
    opts: tuple[str, ...] = ()


def find_checkout(folder: Path, config: str | None, opts: Sequence[str], preset: str) -> Checkout:
    """Find the files of the published code; nothing of it runs.

    Args:
        folder: The folder.
        config: YAML file, as a path from the folder; None: the published one with the encoders of the preset.
        opts: Overrides of the configuration.
        preset: Preset of our model.

    Returns:
        The checkout, its folder as an absolute path.

    Raises:
        ConfigError: A file is missing, or there is no published configuration for the preset.
    """
    config = config or CONFIGS.get(preset)
    if config is None:
        raise ConfigError(
            f"no published configuration has the encoders of {preset}: name one by --against-config, or take "
            f"one of the presets {', '.join(CONFIGS)}"
        )
    if not folder.is_dir():
        raise ConfigError(
            f"--against must be a folder with the published code of RSKT-Seg; there is none at {folder}"
        )
    if not (folder / _ENTRY).is_file():
        raise ConfigError(
            f"--against {folder} has no {_ENTRY}, by which the published code is configured: give the folder "
            "that has it"
        )
    if not (folder / config).is_file():
        found = sorted(path.relative_to(folder).as_posix() for path in folder.glob("configs/*.yaml"))
        raise ConfigError(
            f"--against {folder} has no {config}: name another by --against-config; found "
            f"{', '.join(found) or 'no configs/*.yaml'}"
        )
    return Checkout(str(folder.resolve()), config, tuple(opts))


class PublishedCode:
    """The published code, imported; its models are built by `built`."""

    def __init__(self, checkout: Checkout, device: torch.device) -> None:
        """Import it.

        Args:
            checkout: Where it is.
            device: Device of its models.

        Raises:
            ConfigError: It cannot be imported, or has no `setup`.
            MissingDetectron2Error: Detectron2 is not installed.
        """
        from rskt_seg.d2 import compat

        compat.prepare()
        self.checkout, self.device = checkout, device
        self._datasets: dict[str, Any] = {}
        self._metadata: dict[str, Any] = {}
        with self.running(f"importing {_ENTRY}"), _settings_kept():
            spec = spec_from_file_location("published_train_net", Path(checkout.folder, _ENTRY))
            assert spec is not None and spec.loader is not None
            module = module_from_spec(spec)
            sys.modules[spec.name] = module  # where dataclasses look for the module of a class
            spec.loader.exec_module(module)
        if not callable(getattr(module, "setup", None)):
            raise ConfigError(
                f"--against {checkout.folder}: {_ENTRY} has no function setup(args), which projects of "
                "Detectron2 make their configuration by; give a folder that has it"
            )
        self.setup: Callable[[Any], Any] = module.setup

    @contextmanager
    def running(self, doing: str) -> Iterator[None]:
        """Run the published code inside as if it had been started in its folder, and leave nothing of that.

        It imports and reads from its folder, registers datasets in catalogs of its own, as this project has
        some of the same names, and says nothing on standard output. On the CPU, what it sends to a GPU stays.

        Args:
            doing: What it does, for an error message.

        Raises:
            ConfigError: It fails; the message says how and where.
        """
        from detectron2.data import DatasetCatalog, MetadataCatalog

        folder = self.checkout.folder
        surroundings: list[AbstractContextManager[object]] = [
            chdir(folder),
            redirect_stdout(io.StringIO()),
            patch.object(sys, "path", [folder, *sys.path]),
            patch.object(DatasetCatalog, "data", self._datasets),
            patch.object(MetadataCatalog, "data", self._metadata),
        ]
        if self.device.type == "cpu":
            surroundings += [
                patch.object(torch.cuda, "is_available", lambda: False),
                *(patch.object(kind, "cuda", lambda self, *_, **__: self) for kind in (Tensor, nn.Module)),
            ]
        try:
            with ExitStack() as stack:
                for each in surroundings:
                    stack.enter_context(each)
                yield
        except (RSKTSegError, Terminated):
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(f"--against {folder}: {_describe(error, doing, folder)}") from error

    @contextmanager
    def built(self, model: RSKT, names: Sequence[str]) -> Iterator["Published"]:
        """Build its model with the weights and the depth of ours.

        Args:
            model: Our model.
            names: The class names; those of a published model stay as they are.

        Yields:
            The published model in evaluation mode, which can be called inside.

        Raises:
            ConfigError: It cannot be built, or its weights have other names or shapes than ours.
        """
        with TemporaryDirectory(prefix="bench_", ignore_cleanup_errors=True) as files:
            yield Published(self, model, names, Path(files))


class Published:
    """The published model, called as the other forms are.

    Attributes:
        module: The model itself.
        depth: Its number of layers, and what its configuration says of them.
    """

    def __init__(self, code: PublishedCode, model: RSKT, names: Sequence[str], files: Path) -> None:
        """Build it; see `PublishedCode.built`.

        Args:
            code: The published code.
            model: Our model.
            names: The class names.
            files: An empty folder, which stays as long as the model is called.
        """
        self.code, self.names, self.side = code, tuple(names), model.logits_side
        with code.running("building its model"), _settings_kept():
            from detectron2.modeling import build_model

            cfg = self._configure(model.spec.num_layers, files)
            self.module: nn.Module = build_model(cfg).eval()
        give_weights(model, self.module, code.checkout.folder)

    def _configure(self, layers: int, files: Path) -> Any:
        """Return the configuration of the model, and state `depth`."""
        from detectron2.engine import default_argument_parser

        checkout = self.code.checkout
        config = str(Path(checkout.folder, checkout.config))
        opts = (*checkout.opts, "OUTPUT_DIR", str(files))
        args = default_argument_parser().parse_args(["--config-file", config, "--eval-only", *opts])
        cfg = self.code.setup(args).clone()
        cfg.defrost()
        classes, head = files / "classes.json", "MODEL.SEM_SEG_HEAD"
        replace_text(classes, json.dumps(self.names))
        found = cfg.MODEL.SEM_SEG_HEAD.NUM_LAYERS
        self.depth = f"NUM_LAYERS {layers}" + (f" instead of {found}" if found != layers else "")
        overrides = {
            "MODEL.DEVICE": str(self.code.device),
            f"{head}.NUM_LAYERS": layers,
            f"{head}.TRAIN_CLASS_JSON": str(classes),
            f"{head}.TEST_CLASS_JSON": str(classes),
            "TEST.SLIDING_WINDOW": False,
        }
        cfg.merge_from_list([part for pair in overrides.items() for part in pair])
        cfg.freeze()
        return cfg

    def __call__(self, images: Tensor, vocabulary: Sequence[str]) -> Tensor:
        """Compute logits (1, T, 4G, 4G) of one image (1, 3, H, W).

        The scores are asked for in the size in which they are computed, so that resizing them changes
        nothing, and are taken back through the sigmoid, where a logit below 4 loses less than 4e-6.

        Raises:
            ConfigError: It fails, or returns something else.
        """
        if len(images) > 1 or tuple(vocabulary) != self.names:
            raise ValueError("a published model takes one image, and the class names that it was built with")
        entry = {"image": images[0], "height": self.side, "width": self.side, "file_name": ""}
        with self.code.running("evaluating an image"):
            scores: Tensor = self.module([entry])[0]["sem_seg"]
        expected = (len(self.names), self.side, self.side)
        if scores.shape != expected:
            raise ConfigError(
                f"--against {self.code.checkout.folder}: the published model must return scores of shape "
                f"{expected}; found {tuple(scores.shape)}; {ADVICE}"
            )
        return torch.logit(scores)[None]

    def loss(self, images: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of images (B, 3, H, W) with labels (B, H, W)."""
        pairs = zip(images, target, strict=True)
        entries = [{"image": image, "sem_seg": labels, "file_name": ""} for image, labels in pairs]
        with self.code.running("computing a loss"):
            losses: dict[str, Tensor] = self.module(entries)
            return torch.stack(list(losses.values())).sum()


def give_weights(model: RSKT, module: nn.Module, source: str) -> None:
    """Copy the weights of our model into a published one, strictly.

    Our names are reached by the rules for loading published checkpoints, which rename the tensors of the
    published model or cut views from them. Those that the rules drop, because nothing uses them, stay.

    Args:
        model: Our model.
        module: The published one.
        source: Where it is from, for the message.

    Raises:
        ConfigError: Names or shapes differ.
    """
    own = model.state_dict()
    theirs = convert(module.state_dict(), rules_for(model), LoadReport(source))
    if misfit := describe_misfit(own, theirs):
        raise ConfigError(
            f"--against {source}: its model has other weights than ours, under the names into which "
            f"published checkpoints are renamed: {misfit}; {ADVICE}"
        )
    with torch.no_grad():
        for name, tensor in theirs.items():
            tensor.copy_(own[name])


@contextmanager
def _settings_kept() -> Iterator[None]:
    """Give the process back as it was: training scripts choose GPUs and the precision of products."""
    environment, precision = dict(os.environ), torch.get_float32_matmul_precision()
    threads, tf32 = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32 = tf32


def _describe(error: BaseException, doing: str, folder: str) -> str:
    """Say in one line what failed in foreign code, and where."""
    if isinstance(error, ModuleNotFoundError):
        return (
            f"{doing} needs the module {error.name!r}, which this environment lacks: install what the "
            "published code requires"
        )
    frames = traceback.extract_tb(error.__traceback__)
    where = next((each for each in reversed(frames) if each.filename.startswith(folder)), frames[-1])
    text = " ".join(str(error).split())
    message = text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} ..."
    return (
        f"{doing} failed with {type(error).__name__}: {message} ({where.filename}:{where.lineno}); {ADVICE}"
    )
