"""What `--model NAME` and `--data FILE` stand for: a configuration, and overrides of its datasets."""

import difflib
from collections.abc import Sequence

from rskt_seg.d2.config import override_pairs
from rskt_seg.d2.config_files import config_names
from rskt_seg.d2.datasets import own_splits
from rskt_seg.errors import ConfigError

_TRAIN = "train"
"""Name of the part of a dataset that is trained on."""
_MOST = 8
"""Names that a message lists."""


def choose_config(name: str) -> str:
    """Return the configuration of this project that a short name stands for.

    Args:
        name: A name within `configs/` without its suffix ("bicor/tiny"), with an underscore for the slash
            ("bicor_tiny"), or without the folder if only one folder has such a file ("tiny_dlrsd").

    Returns:
        Its name as `rskt_seg.d2.config_files.find_config` takes it, such as "bicor/tiny.yaml".

    Raises:
        ConfigError: No configuration has that name, or several do; the message lists the near ones.
    """
    wanted = name.removeprefix("configs/").removesuffix(".yaml")
    known = [each.removesuffix(".yaml") for each in config_names()]
    known = [each for each in known if not each.rpartition("/")[2].startswith(("Base", "ablations"))]
    for short in (str, _joined, _bare):
        found = [each for each in known if short(each) == wanted]
        if len(found) == 1:
            return f"{found[0]}.yaml"
        if found:
            raise ConfigError(f"--model {name} may be any of {_listed(found)}: name one of them")
    words = wanted.replace("/", "_").split("_")
    near = [each for each in known if all(word in _joined(each) for word in words)]
    names = {short(each): each for each in known for short in (_bare, _joined)}
    alike = difflib.get_close_matches(wanted, names, n=5, cutoff=0.5)
    near = near or list(dict.fromkeys(names[each] for each in alike))
    folders = sorted({each.split("/")[0] for each in known})
    hint = f"near are {_listed(near)}" if near else f"they are in the folders {', '.join(folders)} of configs"
    raise ConfigError(f"--model {name}: no configuration has that name; {hint}")


def own_data(file: str, opts: Sequence[str], evaluating: bool) -> tuple[str, ...]:
    """Return the overrides that use a dataset of one's own in place of the datasets of a configuration.

    Its part "train" is trained on, and every other part that has masks is scored.

    Args:
        file: The YAML file of the dataset, or of sources, relative to the working directory.
        opts: The overrides of the command line, which win.
        evaluating: Whether nothing is trained.

    Returns:
        `KEY VALUE` words for `DATASETS.OWN`, `DATASETS.TRAIN` and `DATASETS.TEST`, without those in `opts`.

    Raises:
        DatasetError: The file cannot be used.
        ConfigError: `opts` sets `DATASETS.OWN`; no part is there to train on, or to score; it is not clear
            which part is trained on.
    """
    given = override_pairs(opts)
    if "DATASETS.OWN" in given:
        raise ConfigError(f"--data {file} and DATASETS.OWN {given['DATASETS.OWN']}: give one of them")
    splits = own_splits(file)
    train = [each.name for each in splits if each.split == _TRAIN]
    if not train and len(splits) == 1 and not evaluating:
        train = [splits[0].name]
    tests = [each.name for each in splits if each.labels and each.name not in train]
    parts = ", ".join(each.split for each in splits)
    if not train and not evaluating and "DATASETS.TRAIN" not in given:
        raise ConfigError(
            f"--data {file} has the parts {parts}, and none called {_TRAIN}: rename the one to train on, or "
            f"name it: DATASETS.TRAIN {splits[0].name}"
        )
    if not tests and evaluating and "DATASETS.TEST" not in given:
        raise ConfigError(
            f"--data {file} has the parts {parts}, and none with masks besides {_TRAIN} to score; to score "
            f"images of the training all the same: DATASETS.TEST {splits[0].name}"
        )
    chosen = {"DATASETS.OWN": (file,), "DATASETS.TRAIN": tuple(train), "DATASETS.TEST": tuple(tests)}
    return tuple(word for key, names in chosen.items() if key not in given for word in (key, str(names)))


def _joined(name: str) -> str:
    return name.replace("/", "_")


def _bare(name: str) -> str:
    return name.rpartition("/")[2]


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _MOST
    return ", ".join(names[:_MOST]) + (f" and {rest} more" if rest > 0 else "")
