"""Engines: the same files from each, whatever dies meanwhile."""

import os
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from distributed import LocalCluster

from rskt_seg.errors import ConfigError, NotFiniteError, ProcessDiedError
from rskt_seg.inference.strategies import WholeImageStrategy
from rskt_seg.scenes.dask_engine import DaskEngine
from rskt_seg.scenes.engines import Chunk, HereEngine, Work, WorkerEngine
from rskt_seg.scenes.job import SceneJob
from rskt_seg.vocabulary import make_vocabulary
from rskt_seg.windows import Window
from tests.scenes.scenes import NAMES, scene, strategy, task
from tests.stub_models import Colours


@dataclass(frozen=True)
class DyingStrategy(WholeImageStrategy):
    """Kills its process when it sees a window, as often as there are files in a folder."""

    deaths: Path = Path()

    def window_maps(self, *args):
        for each in self.deaths.iterdir():
            each.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().window_maps(*args)


def make(deaths=None):
    """Build the model in a process."""
    torch.set_num_threads(1)
    if deaths is None:
        return strategy()
    return DyingStrategy(Colours(), make_vocabulary(NAMES), deaths=deaths)


def jobs_in(folder, *sizes):
    """A scene of each size, in chunks of 512 px, and all chunks."""
    jobs = [
        SceneJob(task(strategy(), image), Window(0, 0, *size), 512, folder / f"scene {number}")
        for number, size in enumerate(sizes)
        for image in [scene(*size, seed=number, nodata=0.1)]
    ]
    return jobs, [Chunk(number, window) for number, job in enumerate(jobs) for window in job.chunks]


def run(engine, jobs, chunks, **options):
    return list(engine.run(Work(jobs, chunks, **options)))


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()
    }


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("here")
    jobs, chunks = jobs_in(folder, (600, 700), (100, 90))
    events = run(HereEngine(strategy()), jobs, chunks)
    assert {event.chunk for event in events} == set(chunks)
    assert all(event.error is None for event in events)
    assert len(contents(folder)) == 3 * 5  # ids, confidence and report of each chunk
    return contents(folder)


def test_worker_processes_write_the_same_files_and_one_that_dies_is_replaced(tmp_path, expected):
    (tmp_path / "deaths").mkdir()
    for number in range(2):
        (tmp_path / "deaths" / str(number)).touch()
    jobs, chunks = jobs_in(tmp_path / "out", (600, 700), (100, 90))
    engine = WorkerEngine([partial(make, tmp_path / "deaths")] * 2, threads=1)
    events = run(engine, jobs, chunks)
    assert sorted(event.chunk for event in events) == sorted(chunks)
    assert not any((tmp_path / "deaths").iterdir())
    assert contents(tmp_path / "out") == expected


def test_a_chunk_whose_process_dies_again_and_again_ends_the_run(tmp_path):
    (tmp_path / "deaths").mkdir()
    for number in range(10):
        (tmp_path / "deaths" / str(number)).touch()
    jobs, chunks = jobs_in(tmp_path / "out", (100, 90))
    with pytest.raises(ProcessDiedError, match=r"a scene: .* died 3 times .*signal 9.* chunks are kept"):
        run(WorkerEngine([partial(make, tmp_path / "deaths")], threads=1), jobs, chunks)
    assert len(list((tmp_path / "deaths").iterdir())) == 7


def test_a_cluster_writes_the_same_files_though_a_worker_is_killed(tmp_path, expected):
    (tmp_path / "deaths").mkdir()
    (tmp_path / "deaths" / "0").touch()
    jobs, chunks = jobs_in(tmp_path / "out", (600, 700), (100, 90))
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        engine = DaskEngine(cluster.scheduler_address, partial(make, tmp_path / "deaths"))
        events = run(engine, jobs, chunks)
    assert sorted(event.chunk for event in events) == sorted(chunks)
    assert not any((tmp_path / "deaths").iterdir())
    assert contents(tmp_path / "out") == expected


def test_an_address_at_which_nothing_answers_is_one_line(monkeypatch):
    monkeypatch.setattr("rskt_seg.scenes.dask_engine._SECONDS", 1)
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9 "):
        run(DaskEngine("tcp://127.0.0.1:9", make), *jobs_in(Path("unused"), (10, 10)))


def test_a_scene_that_fails_leaves_the_others(tmp_path):
    class Broken(Colours):
        def scores(self, output):
            return output.logits * (1 if output.logits.shape[2] == 48 else torch.nan)

    jobs, chunks = jobs_in(tmp_path, (600, 700), (40, 48), (50, 60))
    failed: set[int] = set()
    events = []
    for event in HereEngine(strategy(Broken())).run(Work(jobs, chunks, failed)):
        events.append(event)
        if event.error:
            failed.add(event.chunk.job)
    assert failed == {1}
    assert isinstance(next(event.error for event in events if event.error), NotFiniteError)
    assert sum(event.error is None for event in events) == 5


def test_no_more_chunks_of_a_scene_that_is_given_up(tmp_path):
    jobs, chunks = jobs_in(tmp_path, (600, 700), (50, 60))
    events = run(HereEngine(strategy()), jobs, chunks, given_up={0})
    assert [event.chunk.job for event in events] == [1]


def test_shares_of_a_chunk_grow_to_one(tmp_path):
    jobs, chunks = jobs_in(tmp_path, (100, 90))
    shares = []
    run(HereEngine(strategy()), jobs, chunks, on_share=lambda chunk, share: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(shares) == 9
    np.testing.assert_allclose(np.diff(shares), 1 / 9)
