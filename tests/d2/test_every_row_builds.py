"""Every configuration, and every row of the ablation tables, has a seed and builds its model."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from rskt_seg.d2 import load_config
from rskt_seg.d2.config_files import ConfigSource, read_rows
from rskt_seg.d2.methods import method_of
from rskt_seg.d2.specs import model_spec
from rskt_seg.data.catalog import DRAWN, find_split
from tests.d2.configurations import ROOT, TABLES, configurations, name_of

FOLDERS = sorted({path.relative_to(ROOT).parent for path in ROOT.rglob("*.yaml")})


class Unfilled(TorchFunctionMode):
    """Leaves out what fills a new weight, which takes most of the time and changes nothing here."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.__name__ in ("uniform_", "normal_", "fill_", "zero_", "erfinv_", "clamp_", "add_", "mul_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def sources_in(folder) -> list[ConfigSource]:
    """The configurations of one folder, without the folders below it."""
    return [source for source in configurations(ROOT / folder) if source.path.parent == ROOT / folder]


def test_the_folders_have_every_row_of_every_table():
    found = {name_of(source) for folder in FOLDERS for source in sources_in(folder)}
    rows = {name_of(ConfigSource(path, row)) for path in TABLES for row in read_rows(path)}
    assert len(TABLES) == 5 and len(rows) > 100 and rows < found


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_every_configuration_states_a_seed_and_builds_its_model_at_full_size(folder):
    """On the meta device, where no weight is stored; models of one specification are built once."""
    built = set()
    for source in sources_in(folder):
        cfg = load_config(str(source))
        assert cfg.SEED >= 0, f"{name_of(source)}: SEED {cfg.SEED} makes every run another"
        method, names, spec = method_of(cfg).method, None, model_spec(cfg)
        if method.is_closed:
            if not cfg.DATASETS.TRAIN or cfg.DATASETS.TRAIN[0] in DRAWN:
                continue  # its classes are those of data that it does not name, or that a tool draws
            names = find_split(cfg.DATASETS.TRAIN[0]).class_set.names
            spec = model_spec(cfg, len(names))
        if (spec, names) in built:
            continue
        built.add((spec, names))
        with torch.device("meta"), Unfilled():
            model = method.build(spec, names)
        assert model.spec == spec and all(weight.is_meta for weight in model.parameters()), name_of(source)
