"""`train_net.py` as a user runs it: training, evaluation, resuming, and mistakes."""

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import rskt_seg
from rskt_seg.commands.entry import run
from rskt_seg.commands.train import main
from rskt_seg.d2.checkpointer import last_checkpoint
from rskt_seg.d2.loaders import PlainErrors, evaluation_loader
from rskt_seg.data.checking.quick import SAMPLE, spread
from rskt_seg.errors import LabelError, RSKTSegError
from tests.d2.conftest import CONFIGS, TINY, tiny_config

ROOT = CONFIGS.parents[1]


def command(out: Path, *flags: str, opts: tuple[str, ...] = ()) -> list[str]:
    config = ["--config-file", str(CONFIGS / "tiny_dlrsd.yaml"), "--dist-url", "auto"]
    return [*config, *flags, *TINY, "SOLVER.CHECKPOINT_PERIOD", "1", "OUTPUT_DIR", str(out), *opts]


def start(arguments: list[str], **options) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "train_net.py", *arguments], cwd=ROOT, env=environment, **options
    )


def finish(arguments: list[str]) -> tuple[int, str, str]:
    process = start(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.communicate()
    return process.returncode, out, err


def results(out: Path, name: str) -> dict:
    return json.loads((out / "inference" / f"{name}.json").read_text())["datasets"][name]


def test_two_processes_train_and_evaluate_and_one_counts_the_same(data_root, tmp_path, monkeypatch):
    two, shared, one = tmp_path / "two", tmp_path / "shared", tmp_path / "one"
    chosen = ("TEST.EVAL_PERIOD", "1", "TEST.BEST_BY", "mIoU", "SOLVER.MAX_ITER", "3")
    status, out, err = finish(command(two, "--num-gpus", "2", opts=chosen))
    assert status == 0, err
    assert (two / "model_best.pth").is_file() and "best mIoU" in out
    assert "2 processes" in out
    together = results(two, "DLRSD_val_sem_seg")
    assert np.isfinite(together["mIoU"])
    assert last_checkpoint(two).name == "model_final.pth"

    tests = ("DATASETS.TEST", "('UDD5_all_sem_seg','DLRSD_val_sem_seg')",
             "MODEL.WEIGHTS", str(two / "model_final.pth"))  # fmt: skip
    status, out, err = finish(command(shared, "--eval-only", "--num-gpus", "2", opts=tests))
    assert status == 0, err
    assert "mean of 2" in out
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main(command(one, "--eval-only", opts=tests)) == 0
    finally:
        torch.set_num_threads(threads)
    alone = results(one, "DLRSD_val_sem_seg")
    assert alone["mIoU"] == pytest.approx(together["mIoU"], abs=0.05)
    assert len(results(one, "UDD5_all_sem_seg")["classes"]) == 5
    for name in ("UDD5_all_sem_seg", "DLRSD_val_sem_seg"):
        by_one, by_two = (
            json.loads((folder / "inference" / f"{name}.counts.json").read_text()) for folder in (one, shared)
        )
        assert by_one["matrix"] == by_two["matrix"]


def test_a_killed_training_resumes_from_its_last_complete_checkpoint(data_root, tmp_path):
    endless = command(tmp_path, opts=("SOLVER.MAX_ITER", "100000"))
    with start(endless, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "model_0000002.pth").exists() and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(random.random())
        process.send_signal(signal.SIGKILL)

    done = torch.load(last_checkpoint(tmp_path), weights_only=True)["iteration"] + 1
    assert done >= 2
    resumed = command(tmp_path, "--resume", opts=("SOLVER.MAX_ITER", str(done + 2)))
    status, out, err = finish(resumed)
    assert status == 0, err
    assert f"after {done} of {done + 2} iterations" in out
    final = torch.load(tmp_path / "model_final.pth", weights_only=True)
    name = "decoder.head.weight"
    steps = {int(s["step"]) for s in final["trainer"]["_trainer"]["optimizer"]["state"].values()}
    # A parameter that nothing uses has no step at all; all others took every one.
    assert steps == {done + 2}
    assert final["trainer"]["hooks"]["LRScheduler"]["last_epoch"] == done + 2
    alone = rskt_seg.load(tmp_path / "model_final.pth")
    assert alone.options.keys() == {"short_side", "max_side"}
    assert torch.equal(alone.model.state_dict()[name], final["model"][f"sem_seg_head.model.{name}"])


def test_a_training_that_was_stopped_just_before_its_final_checkpoint_has_it_once_resumed(
    data_root, tmp_path
):
    arguments = command(tmp_path, "--resume", opts=("SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()"))
    assert main(arguments) == 0
    final = tmp_path / "model_final.pth"
    straight = torch.load(final, weights_only=True)
    final.unlink()
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    assert main(arguments) == 0
    resumed = torch.load(final, weights_only=True)
    assert resumed["iteration"] == straight["iteration"] == 1 and last_checkpoint(tmp_path) == final
    assert all(torch.equal(resumed["model"][name], tensor) for name, tensor in straight["model"].items())


def one_line(err: str) -> str:
    """The message of a mistake, of which there is one line, after whatever libraries had to say."""
    assert "Traceback" not in err, err
    lines = [line for line in err.splitlines() if "error:" in line]
    assert len(lines) == 1 and err.endswith(lines[0] + "\n"), err
    return lines[0]


def test_a_truncated_image_in_one_of_two_processes_is_one_line(data_root, tmp_path):
    folder = data_root / "DLRSD_split/train"
    first = sorted(folder.glob("imgs/*"))[0]
    for number in range(2 * SAMPLE):
        shutil.copy(first, folder / f"imgs/many{number:02}.jpg")
        shutil.copy(folder / f"D2masks/{first.stem}.png", folder / f"D2masks/many{number:02}.png")
    paths = sorted(folder.glob("imgs/*"))
    read_before_the_run = {paths[k] for k in spread(len(paths))}
    for path in {*paths} - read_before_the_run:
        path.write_bytes(path.read_bytes()[:-300])
    opts = ("SOLVER.MAX_ITER", "9", "DATALOADER.NUM_WORKERS", "1")
    status, out, err = finish(command(tmp_path / "out", "--num-gpus", "2", opts=opts))
    assert status == 2
    assert re.search(r"cannot read \S*train/imgs/\w+\.jpg: damaged or incomplete", one_line(err))
    assert "Traceback" not in out


def test_a_checkpoint_of_another_model_is_one_line(data_root, tmp_path):
    torch.save({"model": {"weight": torch.zeros(2)}}, tmp_path / "other.pth")
    weights = ("MODEL.WEIGHTS", str(tmp_path / "other.pth"))
    status, out, err = finish(command(tmp_path / "out", "--eval-only", opts=weights))
    assert status == 2
    assert "other.pth does not fit this model" in one_line(err)
    assert "Traceback" not in out


def orphan(root: Path) -> None:
    (root / "DLRSD_split/train/D2masks/scene0.png").unlink()


def stray(root: Path) -> None:
    path = root / "DLRSD_split/train/D2masks/scene1.png"
    label = np.array(Image.open(path))
    label[5, 5] = 99
    Image.fromarray(label).save(path)


def nothing(root: Path) -> None:
    """The data stay as they are."""


@pytest.mark.parametrize(
    ("flags", "opts", "damage", "words"),
    [
        ([], ["MODEL.RSKT.NUM_LAYER", "3"], nothing, r"did you mean MODEL\.RSKT\.NUM_LAYERS"),
        ([], ["MODEL.SEM_SEG_HEAD.USE_ROTATE", "True"], nothing, r"use MODEL\.RSKT\.ROTATIONS"),
        ([], ["DATASETS.TEST", "('VDD_all_sem_seg',)"], nothing, "Expected layout"),
        ([], ["DATASETS.TRAIN", "('DLRSD_trian_sem_seg',)"], nothing, "did you mean DLRSD_train_sem_seg"),
        ([], [], stray, r"scene1\.png \(found ids 99 \(1 px\)\).*rskt-seg check DLRSD_train_sem_seg"),
        ([], [], orphan, r"1 image in .* without a label: scene0\.jpg"),
        ([], ["MODEL.DEVICE", "cuda"], nothing, "this machine has no such device"),
        ([], ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "float16"], nothing, "needs a CUDA GPU"),
        (["--num-gpus", "2"], ["MODEL.DEVICE", "cuda"], nothing, "this machine has no such device"),
        (["--num-gpus", "0"], [], nothing, "at least 1"),
        (["--num-gpus", "2"], ["SOLVER.IMS_PER_BATCH", "1"], nothing, "without an image"),
        (["--num-machines", "2"], [], nothing, "--dist-url auto works on one machine"),
        ([], ["MODEL.ENCODERS.CLIP", ""], nothing, "encoders are random only on request"),
        ([], ["MODEL.WEIGHTS", "gone.pth"], nothing, r"gone\.pth"),
        (["--eval-only"], [], nothing, "MODEL.WEIGHTS is empty"),
        (["--config-file", "gone.yaml"], [], nothing, r"gone\.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_status(
    data_root, tmp_path, monkeypatch, capsys, flags, opts, damage, words
):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    damage(data_root)
    arguments = command(tmp_path / "out", *flags, opts=tuple(opts))
    assert main(arguments) == 2
    assert re.search(words, one_line(capsys.readouterr().err))
    assert not (tmp_path / "out").exists()


def test_what_another_head_drops_of_a_file_is_said_once_in_the_output_and_in_the_log(data_root, tmp_path):
    head = ["MODEL.SEM_SEG_HEAD.NAME", "BiCoRHead", "MODEL.ENCODERS.CONVNEXT", "random"]
    tiny = ["MODEL.BICOR.ENCODER", "tiny", "SOLVER.MAX_ITER", "1", "DATASETS.TEST", "()"]
    file = str(CONFIGS / "tiny_dlrsd.yaml")
    status, out, err = finish(["--config-file", file, *head, *tiny, "OUTPUT_DIR", str(tmp_path / "out")])
    assert status == 0, err
    for text in (out + err, (tmp_path / "out" / "log.txt").read_text()):
        assert text.count("BiCoRHead in place of the file's method: ") == 1


def test_several_cpu_processes_are_started_only_when_the_cpu_was_asked_for(
    data_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    arguments = command(tmp_path / "out", "--num-gpus", "2")
    position = arguments.index("MODEL.DEVICE")
    assert main([*arguments[:position], *arguments[position + 2 :]]) == 2
    assert "give MODEL.DEVICE cpu" in one_line(capsys.readouterr().err)


class Broken(torch.utils.data.Dataset):
    """Raises on its second item."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        if index:
            raise LabelError("b.png: found ids 9\nexpected 0..4")
        return index


def test_an_error_of_a_worker_process_reads_as_if_raised_here():
    loader = PlainErrors(DataLoader(Broken(), num_workers=1))
    assert len(loader) == 2
    with pytest.raises(LabelError) as caught:
        list(loader)
    assert str(caught.value) == "b.png: found ids 9\nexpected 0..4"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_load_data_however_they_are_started(data_root, monkeypatch, method):
    context = multiprocessing.get_context(method)
    monkeypatch.setattr(DataLoader, "multiprocessing_context", context)
    (batch, *_) = list(evaluation_loader(tiny_config("DATALOADER.NUM_WORKERS", "1"), "UDD5_all_sem_seg"))
    assert batch[0]["image"].shape[0] == 3


def test_a_missing_detectron2_is_one_line_that_names_both_ways_to_install_it(monkeypatch, capsys):
    import importlib.util

    from rskt_seg.d2 import compat

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run(compat.prepare) == 2
    line = one_line(capsys.readouterr().err)
    assert "requirements-detectron2.txt" in line and "official main branch" in line
    assert issubclass(compat.MissingDetectron2Error, (RSKTSegError, ImportError))


def test_a_compiled_operator_that_is_absent_says_so():
    import detectron2

    from rskt_seg.d2.compat import _UncompiledOperators

    operators = _UncompiledOperators("detectron2._C")
    assert operators.get_compiler_version() == operators.get_cuda_version() == "not compiled"
    assert not operators.has_cuda()
    with pytest.raises(RSKTSegError, match=r"_C\.nms_rotated"):
        _ = operators.nms_rotated
    assert detectron2.__version__
