"""The reliability campaign in short, with fixed seeds; and that its judges see what they look for."""

import gc
import io
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("detectron2")

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from campaign.children import Child, Ended, Kill, run
from campaign.judging import Reference, judge, misconduct, torn
from campaign.kinds import KINDS, Ground, make, plan
from campaign.laws import must_be_noticed, png_fault, zip_fault
from campaign.material import build
from campaign.mutators import BYTES, TEXTS, TREES, mutate
from campaign.outcomes import Outcome, Table, Try, Verdict
from campaign.undisturbed import Runs

TRIES = {
    "image": 12, "mask": 12, "own-data": 20, "vocabulary": 8, "configuration": 20, "weights": 14,
    "download": 16, "state": 2, "evil": 16, "kill-train": 1, "kill-eval": 1, "kill-prepare": 3,
    "kill-segment": 1, "disk-prepare": 2, "disk-segment": 1, "twins-prepare": 1, "twins-segment": 1,
}  # fmt: skip
"""Kind -> number of tries, with the seeds 0, 1, ..."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    folder = tmp_path_factory.mktemp("campaign")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    material = build(folder)
    gc.collect()
    gc.freeze()  # a collection in a forked process would copy all that it shares
    yield Ground(material, Runs(material, tmp_path_factory.mktemp("runs")), may_mount=False)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", TRIES)
def test_nothing_bad_comes_of(kind, ground, tmp_path):
    bad = {}
    for seed in range(TRIES[kind]):
        each = Try(kind, seed)
        verdict = make(each, ground, tmp_path / str(seed))
        if verdict.is_bad:
            bad[str(each)] = f"{verdict.outcome.value}: {verdict.detail}"
    assert bad == {}


def test_a_campaign_of_one_seed_is_the_same_every_time_and_has_every_kind():
    tries = [each for each, _ in zip(plan(3), range(5 * 29), strict=False)]
    assert tries == [each for each, _ in zip(plan(3), range(5 * 29), strict=False)]
    assert {each.kind for each in tries} == set(KINDS) and len({each.seed for each in tries}) == len(tries)
    assert {each.kind for each, _ in zip(plan(3, ("evil",)), range(9), strict=False)} == {"evil"}


@pytest.mark.parametrize("mutators", [BYTES, TEXTS, TREES])
def test_damage_follows_from_its_seed_and_is_damage(mutators):
    content = b"a: {b: [1, 2], c: text}\nd: 5\n" * 3
    for seed in range(200):
        damaged = [mutate(content, random.Random(seed), mutators) for _ in range(2)]
        assert damaged[0] == damaged[1] and damaged[0][0] != content


# The judges: each of these is a fault of a command, made on purpose.

QUIET = Ended(0, "", 0.1)


def verdict_on(call, folder, limit=20.0, kill=None) -> Outcome | None:
    verdict = misconduct(run(call, folder, limit, kill))
    return verdict.outcome if verdict else None


def orphan() -> None:
    if not os.fork():
        time.sleep(60)


@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        (lambda: 0, None),
        (lambda: os.system("true") and 0, Outcome.CODE_RUN),
        (lambda: subprocess.run(["true"], check=True) and 0, Outcome.CODE_RUN),
        (lambda: Path("../outside.txt").write_text("x") and 0, Outcome.OUTSIDE),
        (lambda: Path("..", "made").mkdir(), Outcome.OUTSIDE),
        (lambda: Path("inside.txt").write_text("x") and 0, None),
        (lambda: [][1], Outcome.TRACEBACK),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), Outcome.TRACEBACK),
        (lambda: os.abort(), Outcome.TRACEBACK),
    ],
)
def test_misconduct_is_seen(call, outcome, tmp_path):
    assert verdict_on(call, tmp_path / "inside") is outcome


def test_a_command_that_does_not_end_and_a_process_that_stays_are_seen(tmp_path, monkeypatch):
    assert verdict_on(lambda: time.sleep(60), tmp_path / "a", limit=0.3) is Outcome.HANG
    monkeypatch.setattr("campaign.children._GRACE", 0.2)
    assert verdict_on(orphan, tmp_path / "b") is Outcome.LEFTOVER


def test_a_killed_command_is_killed_at_its_moment(tmp_path):
    ended = run(lambda: time.sleep(60), tmp_path, 20.0, Kill(signal.SIGKILL, 0.2))
    assert ended.status == -signal.SIGKILL and ended.killed and 0.2 <= ended.seconds < 10
    assert not run(lambda: 3, tmp_path, 20.0, Kill(signal.SIGKILL, 5.0)).killed


def speak() -> int:
    sys.stdout.write(os.getcwd())
    sys.stderr.write("to the error\n")
    return 2


def test_what_a_command_writes_is_kept_and_it_runs_in_its_folder(tmp_path):
    child = Child(speak, tmp_path / "x")
    ended = child.wait(20.0)
    assert ended.status == 2 and f"{tmp_path}/x" in ended.output and "to the error" in ended.output


def test_each_outcome_of_a_damaged_file_has_its_verdict():
    reference = Reference(QUIET, {"ids.png": b"1"})
    refused = Ended(2, "rskt-seg segment: error: a.png is damaged\n", 0.1)
    cases = [
        (QUIET, {"ids.png": b"1"}, "", Outcome.RIGHT),
        (QUIET, {"ids.png": b"1"}, "checksum", Outcome.RIGHT),
        (QUIET, {"ids.png": b"2"}, "", Outcome.OTHER),
        (QUIET, {"ids.png": b"2"}, "checksum", Outcome.SILENT),
        (QUIET, {}, "checksum", Outcome.SILENT),
        (refused, {}, "checksum", Outcome.REFUSED),
        (Ended(2, "Segmentation fault\n", 0.1), {}, "", Outcome.UNTOLD),
        (Ended(1, "Traceback (most recent call last):\n ...\nValueError\n", 0.1), {}, "", Outcome.TRACEBACK),
    ]
    for ended, results, fault, outcome in cases:
        assert judge(ended, results, reference, fault).outcome is outcome, (ended, results, fault)


def test_a_torn_file_is_neither_the_older_nor_the_newer():
    older, newer = {"a": b"old", "b": b"old"}, {"a": b"new", "b": b"new"}
    assert torn({"a": b"old", "b": b"new"}, newer, older) == ""
    assert torn({"a": b"ne", "b": b"new", "c": b""}, newer, older) == "a, c"


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def packed() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", b"precious")
    return buffer.getvalue()


def test_the_laws_of_formats_see_every_flipped_bit_that_a_checksum_covers():
    image, archive = png(), packed()
    assert png_fault(image) == zip_fault(archive) == "" == must_be_noticed("a.png", image, image)
    for place in range(8, len(image)):
        assert png_fault(image[:place] + bytes([image[place] ^ 4]) + image[place + 1 :]), place
    assert zip_fault(archive.replace(b"precious", b"Precious")) == "checksum of a.txt"
    assert must_be_noticed("a.png", image[:-1], image) and must_be_noticed("a.zip", archive[:40], archive)


def test_the_table_counts_by_kind_and_fails_by_any_bad_outcome():
    table = Table()
    table.add(Try("image", 1), Verdict(Outcome.RIGHT, seconds=1.0))
    table.add(Try("image", 2), Verdict(Outcome.REFUSED, seconds=2.0))
    assert (table.tries, table.bad) == (2, 0)
    table.add(Try("evil", 1), Verdict(Outcome.CODE_RUN))
    assert (table.tries, table.bad) == (3, 1)
    rows = [line.split() for line in table.render(KINDS).splitlines()]
    assert next(row for row in rows if row[:1] == ["image"])[1:4] == ["2", "1", "1"]
    assert next(row for row in rows if row[:1] == ["image"])[-1] == "1.50"
