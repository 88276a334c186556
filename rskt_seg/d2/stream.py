"""The endless stream of training samples: a function of the seed alone, in which any run finds its place."""

from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import NamedTuple

from torch.utils.data import Sampler

from rskt_seg.d2.randomness import shuffled


class Draw(NamedTuple):
    """One sample of the stream.

    Attributes:
        sample: Number of the sample in the dataset.
        seed: Seed of the run.
        position: Its place in the stream of all processes, which with the seed decides its augmentation.
    """

    sample: int
    seed: int
    position: int


class TrainingBatches(Sampler[list[Draw]]):
    """Batches of the stream, of one process: every sample once in each pass, in an order of its own.

    Of P processes that of number r takes the samples r, r + P, r + 2 P and so on of each batch. So the
    batches of all together are those of one process, and the last processes have a sample less where P is no
    divisor of the batch.

    Attributes:
        seed: Seed of the run.
        start: Number of batches that are skipped, those that a resumed run has learnt from already. Like
            `seed` it counts when iteration begins.

    Args:
        size: Number of samples of the dataset, at least 1.
        batch: Samples of a batch of all processes, at least `processes`.
        seed: Seed of the run.
        rank: Number of this process.
        processes: Number of processes.
        wide: For each sample whether its image is wider than high; then wide and other images are never in
            one batch (`DATALOADER.ASPECT_RATIO_GROUPING`). None: they may be.
    """

    def __init__(
        self,
        size: int,
        batch: int,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        wide: Sequence[bool] | None = None,
    ) -> None:
        self.size, self.batch, self.rank, self.processes = size, batch, rank, processes
        self.wide = wide
        self.seed, self.start = seed, 0

    def __iter__(self) -> Iterator[list[Draw]]:
        # Where batches are grouped, those before decide what is in one.
        return islice(self._batches(), self.start, None)

    def _batches(self) -> Iterator[list[Draw]]:
        groups: tuple[list[Draw], list[Draw]] = [], []
        for draw in self._draws():
            group = groups[self.wide is not None and self.wide[draw.sample]]
            group.append(draw)
            if len(group) == self.batch:
                yield group[self.rank :: self.processes]
                group.clear()

    def _draws(self) -> Iterator[Draw]:
        seed = self.seed
        for epoch in count():
            order = shuffled(seed, epoch, self.size).tolist()
            for place, sample in enumerate(order):
                yield Draw(sample, seed, epoch * self.size + place)
