"""Evaluations in the course of a training: when they are due, the best checkpoint, and early stopping."""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from detectron2.config import CfgNode
from detectron2.engine.train_loop import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm

from rskt_seg.d2.typing import NamedResults, Results
from rskt_seg.data.catalog import SPLITS
from rskt_seg.errors import ConfigError
from rskt_seg.wording import counted

BEST = "model_best"
"""Name of the checkpoint with the greatest score."""
EACH_EPOCH = -1
"""`TEST.EVAL_PERIOD` of an evaluation after each pass over the training images."""
_MOST = 100
"""Evaluations that a run has at most with `EACH_EPOCH`."""
_PERIOD, _BEST_BY, _PATIENCE = "TEST.EVAL_PERIOD", "TEST.BEST_BY", "TEST.PATIENCE"
_TASK = "sem_seg"
logger = logging.getLogger(__name__)


def adopt_own_data(cfg: CfgNode, given: Sequence[str]) -> None:
    """Evaluate after each epoch and keep the best checkpoint if a configuration trains on a user's own data.

    Args:
        cfg: The configuration; changed in place.
        given: The keys that the user has set, which stay.
    """
    of_the_table = {split.name for split in SPLITS}
    own = bool(cfg.DATASETS.OWN) and not of_the_table & set(cfg.DATASETS.TRAIN)
    if not (own and cfg.DATASETS.TRAIN and cfg.DATASETS.TEST):
        return
    if _PERIOD not in given:
        cfg.TEST.EVAL_PERIOD = EACH_EPOCH
    if _BEST_BY not in given and cfg.TEST.EVAL_PERIOD != 0:
        cfg.TEST.BEST_BY = cfg.TEST.BEST_BY or "mIoU"


def check_choice(cfg: CfgNode) -> None:
    """Refuse to choose a checkpoint by evaluations that a configuration does not have.

    Args:
        cfg: The configuration.

    Raises:
        ConfigError: `TEST.PATIENCE` without `TEST.BEST_BY`, or that without `TEST.EVAL_PERIOD`.
    """
    if cfg.TEST.PATIENCE and not cfg.TEST.BEST_BY:
        raise ConfigError(
            f"{_PATIENCE} {cfg.TEST.PATIENCE} has no effect without a score to wait for: set {_BEST_BY} mIoU"
        )
    if cfg.TEST.BEST_BY and not cfg.TEST.EVAL_PERIOD:
        raise ConfigError(
            f"{_BEST_BY} {cfg.TEST.BEST_BY} has nothing to choose from, because {_PERIOD} 0 evaluates only "
            f"the last iteration: set {_PERIOD} to a number of iterations, or {EACH_EPOCH} for each epoch"
        )


def evaluation_period(cfg: CfgNode, images: int) -> int:
    """Return the iterations between two evaluations; 0: only the last one is evaluated.

    Args:
        cfg: The configuration.
        images: Number of training images.

    Returns:
        `TEST.EVAL_PERIOD`; for `EACH_EPOCH` the iterations of an epoch, or more of them where a run would
        have more than 100 evaluations.
    """
    if not cfg.DATASETS.TEST:
        return 0
    if cfg.TEST.EVAL_PERIOD != EACH_EPOCH:
        return cast(int, cfg.TEST.EVAL_PERIOD)
    return max(1, images // cfg.SOLVER.IMS_PER_BATCH, math.ceil(cfg.SOLVER.MAX_ITER / _MOST))


@dataclass
class Choice:
    """The best evaluation so far, and how many have come since.

    Attributes:
        key: The score that decides: "mIoU", "mACC", "fwIoU" or "pACC"; with several sets, the mean over them.
        patience: Evaluations without a greater score after which a training stops; 0: it never does.
        score: The greatest score, in percent; None before the first.
        iteration: The iteration that it was measured after, from 0.
        since: Number of evaluations since.
        last: The iteration of the last evaluation; None before the first.
    """

    key: str
    patience: int = 0
    score: float | None = None
    iteration: int = 0
    since: int = 0
    last: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether the training is to stop."""
        return 0 < self.patience <= self.since

    def take(self, score: float, iteration: int) -> bool:
        """Take an evaluation into account; return whether it is the best. Of equals the first is.

        One that is repeated after a run was resumed counts once.
        """
        if iteration == self.last:
            return False
        self.last = iteration
        if self.score is None or score > self.score:
            self.score, self.iteration, self.since = score, iteration, 0
            return True
        self.since += 1
        return False

    def score_of(self, results: NamedResults | Results) -> float:
        """Return the score of the results of an evaluation, in percent."""
        figures = flatten_results_dict(results)
        own = [value for name, value in figures.items() if f"/{name}".endswith(f"/{_TASK}/{self.key}")]
        return math.fsum(own) / len(own)

    def describe(self) -> str:
        """Return the best evaluation in words."""
        return f"best {self.key} {self.score:.2f} after iteration {self.iteration + 1}"


class Evaluations(HookBase):
    """Hook that evaluates every so many iterations and at the end, keeps the best checkpoint, and may stop.

    The trainer's `evaluate` does it, whose results are empty in all but the main process. The hook
    must come after that of checkpoints, so that a failure costs no training. An evaluation that a
    resumed run has to repeat, because its checkpoint was written just before, comes first.

    Args:
        period: Iterations between two evaluations; 0: only at the end.
        choice: The best so far; None: none is kept.

    Attributes:
        results: Those of the last evaluation, None before the first.
    """

    def __init__(self, period: int, choice: Choice | None) -> None:
        self.period, self.choice = period, choice
        self.results: NamedResults | Results | None = None
        self._last: int | None = None

    def is_due(self, iteration: int) -> bool:
        """Return whether an evaluation follows an iteration, from 0, that is not the last."""
        return self.period > 0 and (iteration + 1) % self.period == 0

    @property
    def is_over(self) -> bool:
        """Whether the training has stopped early, or is to."""
        return self.choice is not None and self.choice.is_over

    def is_repeated(self, start: int, end: int) -> bool:
        """Return whether a training from iteration `start` to `end` begins with an evaluation."""
        return 0 < start < end and self.is_due(start - 1)

    def before_train(self) -> None:
        """Repeat the evaluation that followed the checkpoint of a resumed run."""
        start = self.trainer.start_iter
        if self.is_repeated(start, self.trainer.max_iter):
            self.trainer.storage.iter = start - 1
            self._run(start - 1)

    def after_step(self) -> None:
        """Evaluate, if it is time; the last iteration is evaluated in `after_train`."""
        done = self.trainer.iter + 1
        if done != self.trainer.max_iter and self.is_due(self.trainer.iter):
            self._run(self.trainer.iter)

    def after_train(self) -> None:
        """Evaluate what has been trained, unless the last evaluation did."""
        if self._last != self.trainer.iter - 1:
            self._run(self.trainer.iter - 1)
        if self.choice is not None and self.choice.score is not None:
            logger.info("%s: %s.pth", self.choice.describe(), BEST)

    def _run(self, iteration: int) -> None:
        results: NamedResults | Results = self.trainer.evaluate()
        self.results, self._last = results, iteration
        if results:
            figures = {key: float(value) for key, value in flatten_results_dict(results).items()}
            self.trainer.storage.put_scalars(**figures, smoothing_hint=False)
        self.trainer.recording.write()
        if self.choice is not None:
            # Only the main process has results, and all of them have to stop.
            score = comm.all_gather(self.choice.score_of(results) if results else None)[0]
            if self.choice.take(score, iteration):
                best = {"by": self.choice.key, "score": score}
                self.trainer.checkpointer.save_weights(BEST, iteration=iteration, best=best)
        comm.synchronize()  # so that the processes begin the next iteration together
        if self.is_over and iteration + 1 < self.trainer.max_iter:
            self._stop(iteration)

    def _stop(self, iteration: int) -> None:
        assert self.choice is not None
        logger.info(
            "Stopped after iteration %d of %d: %s without a greater %s (%s)",
            iteration + 1,
            self.trainer.max_iter,
            counted(self.choice.since, "evaluation"),
            self.choice.key,
            self.choice.describe(),
        )
        self.trainer.end_early(iteration + 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the best evaluation; empty where none is kept, or there was none."""
        if self.choice is None or self.choice.score is None:
            return {}
        return {name: value for name, value in asdict(self.choice).items() if name != "patience"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; another score begins anew, and a warning says so."""
        if self.choice is None:
            return
        if state_dict["key"] != self.choice.key:
            logger.warning(
                "%s %s (was %s): the best checkpoint is chosen anew from here on",
                _BEST_BY,
                self.choice.key,
                state_dict["key"],
            )
            return
        self.choice = replace(self.choice, **state_dict)
