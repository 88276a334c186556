"""The kinds of tries, and the order in which a campaign makes them."""

import random
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from campaign import disturbances
from campaign.evil import attack
from campaign.judging import Reference
from campaign.material import Material
from campaign.outcomes import Outcome, Try, Verdict
from campaign.targets import TARGETS
from campaign.undisturbed import WORKS, Runs


@dataclass
class Ground:
    """What all tries of a process share.

    Attributes:
        material: What tries begin with.
        runs: Undisturbed runs.
        may_mount: Whether small file systems can be mounted.
        references: Undisturbed runs of the commands that get damaged files.
    """

    material: Material
    runs: Runs
    may_mount: bool
    references: dict[str, Reference] = field(default_factory=dict)


Maker = Callable[[Ground, Path, int], Verdict]


def _mutant(kind: str, ground: Ground, folder: Path, seed: int) -> Verdict:
    target = random.Random(f"{kind}:{seed}").choice(TARGETS[kind])
    return target.try_once(ground.material, folder, seed, ground.references)


def _killed(work: str, ground: Ground, folder: Path, seed: int) -> Verdict:
    return disturbances.kill(WORKS[work], ground.runs, folder, seed)


def _starved(work: str, ground: Ground, folder: Path, seed: int) -> Verdict:
    return disturbances.starve(WORKS[work], ground.runs, folder, seed, ground.may_mount)


def _paired(work: str, ground: Ground, folder: Path, seed: int) -> Verdict:
    return disturbances.pair(WORKS[work], ground.runs, folder, seed)


def _evil(ground: Ground, folder: Path, seed: int) -> Verdict:
    return attack(ground.material, folder, seed)


# A limit of file sizes is one of shared memory too, in which loader workers hand over their batches.
_STARVED = [work for work in WORKS if work != "train-workers"]
KINDS: dict[str, Maker] = {
    **{kind: partial(_mutant, kind) for kind in TARGETS},
    "evil": _evil,
    **{f"kill-{work}": partial(_killed, work) for work in WORKS},
    **{f"disk-{work}": partial(_starved, work) for work in _STARVED},
    **{f"twins-{work}": partial(_paired, work) for work in WORKS},
}
"""Kind -> what makes a try of it in an empty folder."""
MUTANTS = frozenset(TARGETS)
_MUTANTS_A_ROUND = {
    "image": 6, "mask": 2, "own-data": 2, "vocabulary": 2, "configuration": 2, "weights": 3, "download": 2,
    "state": 1,
}  # fmt: skip
_EVIL_A_ROUND = 2


def plan(seed: int, only: Collection[str] = ()) -> Iterator[Try]:
    """Yield tries without end: in each round twenty damaged files, a kill of each run, and a few of the rest.

    Args:
        seed: The seed of the campaign, 0 or more; every try has its own, which follows from it.
        only: Kinds to make; empty for all.
    """
    number = seed * 1_000_000
    works = list(WORKS)
    for turn in range(1_000_000):
        kinds = [kind for kind, times in _MUTANTS_A_ROUND.items() for _ in range(times)]
        kinds += [*["evil"] * _EVIL_A_ROUND, *(f"kill-{work}" for work in works)]
        kinds += [f"disk-{_STARVED[turn % len(_STARVED)]}", f"twins-{works[turn % len(works)]}"]
        if only:
            kinds = [kind for kind in KINDS if kind in only]
        random.Random(f"round:{seed}:{turn}").shuffle(kinds)
        for kind in kinds:
            yield Try(kind, number)
            number += 1


def make(each: Try, ground: Ground, root: Path) -> Verdict:
    """Make a try in a folder of its own, which is empty before and stays.

    Args:
        each: The try.
        ground: What tries share.
        root: The folder of the try; commands run in `inside`.
    """
    shutil.rmtree(root, ignore_errors=True)
    inside = root / "inside"
    inside.mkdir(parents=True)
    try:
        return KINDS[each.kind](ground, inside, each.seed)
    except OSError as error:  # the campaign's own: no room for its folders
        return Verdict(Outcome.SKIPPED, f"{each}: {error!r}")
