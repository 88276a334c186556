"""The engine of an existing Dask cluster, whose workers see the files of the scenes and of the results.

It needs the extra `dask`, and is imported where a scheduler is asked for.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from distributed import Client, KilledWorker, Worker, WorkerPlugin, as_completed, get_worker

from rskt_seg.errors import ConfigError, ProcessDiedError
from rskt_seg.inference.predict import evaluating
from rskt_seg.inference.strategies import Strategy
from rskt_seg.scenes.engines import Chunk, Event, MakeStrategy, Work, compute_and_write
from rskt_seg.scenes.job import SceneJob

_SECONDS = 30


class _Scenes(WorkerPlugin):
    """What a worker of the cluster has of a run: the scenes and, once it is needed, the model.

    It is a plug-in, which the scheduler also gives to workers that come later.
    """

    def __init__(self, name: str, make: MakeStrategy, jobs: Sequence[SceneJob]) -> None:
        self.name, self._make, self._jobs = name, make, jobs

    def setup(self, worker: Worker) -> None:
        """Prepare a worker."""
        self._strategy: Strategy | None = None
        self._lock = threading.Lock()

    def teardown(self, worker: Worker) -> None:
        """Free the model."""
        self._strategy = None

    def compute(self, chunk: Chunk) -> Exception | None:
        """Compute a chunk; one at a time, as the model has threads of its own."""
        with self._lock:
            self._strategy = self._strategy or self._make()
            with evaluating(self._strategy.model):
                return compute_and_write(self._strategy, self._jobs, chunk)


def _compute(name: str, chunk: Chunk) -> Exception | None:
    plugin: Any = get_worker().plugins[name]
    error: Exception | None = plugin.compute(chunk)
    return error


@dataclass
class DaskEngine:
    """Engine of a Dask cluster. Chunks of a worker that dies are computed by others.

    Attributes:
        address: Address of the scheduler, such as `tcp://host:8786`.
        make: Builds the model on a worker.
    """

    address: str
    make: MakeStrategy

    def run(self, work: Work) -> Iterator[Event]:
        """See `Engine.run`.

        Raises:
            ConfigError: Nothing answers at the address.
            ProcessDiedError: Several workers died at one chunk.
        """
        try:
            client = Client(self.address, timeout=_SECONDS)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"no Dask scheduler answers at {self.address} ({error}); start one with `dask scheduler`, "
                "and give the address that it prints"
            ) from error
        with client:
            name = f"rskt_seg-{client.id}"
            client.register_plugin(_Scenes(name, self.make, work.jobs), name=name)
            futures = {
                client.submit(_compute, name, chunk, key=f"{name}-{number}", pure=False): chunk
                for number, chunk in enumerate(work.chunks)
            }
            try:
                for future in as_completed(list(futures)):
                    chunk = futures[future]
                    if future.cancelled():
                        continue
                    try:
                        yield Event(chunk, future.result())
                    except KilledWorker as error:
                        raise ProcessDiedError(
                            f"{work.jobs[chunk.job].task.name}: several workers of the cluster died at one "
                            "chunk; if memory is short, use smaller chunks. Finished chunks are kept: give "
                            "the command again"
                        ) from error
                    unwanted = [f for f, c in futures.items() if c.job in work.given_up and not f.done()]
                    client.cancel(unwanted)
            finally:
                client.unregister_worker_plugin(name)
