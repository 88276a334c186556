"""Detectron2's default trainer with this project's model, data, optimizer and checkpoints."""

import logging
import os
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import inference_on_dataset
from detectron2.modeling import build_model as build_segmentor
from detectron2.utils import comm
from fvcore.nn import parameter_count_table
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from rskt_seg.checkpoints.files import CLASS_NAMES, INFERENCE, OPTIONS, TRAINED_ON, read_weights
from rskt_seg.d2 import loaders
from rskt_seg.d2.checkpointer import AtomicCheckpointer, last_checkpoint
from rskt_seg.d2.compat import create_ddp_model
from rskt_seg.d2.evaluator import RSEvaluator
from rskt_seg.d2.methods.record import EvaluationPass
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.optimizer import build_optimizer
from rskt_seg.d2.other_models import configuration_advice
from rskt_seg.d2.partwise import PartwiseTrainer
from rskt_seg.d2.randomness import run_seed, seed_start, seed_step
from rskt_seg.d2.resuming import RUN, RunFacts, compare_runs, warn_of_checkpoints
from rskt_seg.d2.schedule import build_lr_scheduler, follow_schedule, warn_of_epochs
from rskt_seg.d2.segmentor import PREFIX, plain_model, unwrapped
from rskt_seg.d2.steps import CheckedAMPTrainer, CheckedTrainer, amp_dtype, remedy_of
from rskt_seg.d2.trained_sets import sets_to_train, stated_sets
from rskt_seg.d2.training_loop import TrainingLoop
from rskt_seg.d2.tta import SUFFIX, with_augmentation
from rskt_seg.d2.typing import DatasetDict, NamedResults, Results
from rskt_seg.d2.weights import left_out, load_left_out, start_training
from rskt_seg.errors import CheckpointError, NotFiniteError
from rskt_seg.methods.load import check_stated, class_names_of
from rskt_seg.metrics.report import SUMMARY, score_table
from rskt_seg.reading import brief
from rskt_seg.typing import SegmentationModel

logger = logging.getLogger(__name__)


class Trainer(TrainingLoop):
    """Trainer and evaluator of any configuration of this project.

    It replaces the constructor of `DefaultTrainer`, whose wrapper for several processes supports neither the
    CPU nor unused parameters.
    """

    def __init__(self, cfg: CfgNode) -> None:
        TrainerBase.__init__(self)
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        self.seed = run_seed(cfg)
        seed_start(self.seed)
        model, loader = self.build_model(cfg), self.build_train_loader(cfg)
        optimizer = self.build_optimizer(cfg, model)
        warn_of_epochs(cfg)
        if amp := amp_dtype(cfg):
            logger.info("Mixed precision: %s", str(amp).removeprefix("torch."))
        step: Callable[..., CheckedTrainer] = partial(CheckedAMPTrainer, amp=amp) if amp else CheckedTrainer
        if unwrapped(model).sem_seg_head.splits_batches:
            step = partial(PartwiseTrainer, amp=amp)
        self._loader, self._trainer = loader, step(create_ddp_model(model), loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        plain = plain_model(model)
        inference = method_of(cfg).segmenter_options(cfg)
        stated: dict[str, object] = {OPTIONS: asdict(plain.spec), INFERENCE: inference}
        if (names := class_names_of(plain)) is not None:
            stated[CLASS_NAMES] = names
        self.checkpointer = AtomicCheckpointer(
            model, cfg.OUTPUT_DIR, stated=stated, prefix=PREFIX, trainer=weakref.proxy(self)
        )
        self.start_iter, self.max_iter, self.cfg = 0, cfg.SOLVER.MAX_ITER, cfg
        self._asked = RunFacts.of(cfg, comm.get_world_size())
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Return the meta-architecture with random weights on `MODEL.DEVICE`; log its size."""
        model = build_segmentor(cfg)
        logger.debug("Parts of the model:\n%s", parameter_count_table(model))
        sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
        trained = sum(n for n, trains in sizes if trains)
        total = sum(n for n, _ in sizes)
        logger.info("%.2fM parameters, %.2fM of them trainable", total / 1e6, trained / 1e6)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer; see `rskt_seg.d2.optimizer.build_optimizer`."""
        return build_optimizer(cfg, plain_model(model))

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
        """Return the schedule; see `rskt_seg.d2.schedule.build_lr_scheduler`."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> loaders.TrainingLoader:
        """Return the training loader; see `rskt_seg.d2.loaders.training_loader`."""
        return loaders.training_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[DatasetDict]]:
        """Return the loader of a test set; see `rskt_seg.d2.loaders.evaluation_loader`."""
        return loaders.evaluation_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str, suffix: str = "") -> RSEvaluator:
        """Return the evaluator of one dataset; its results go to `OUTPUT_DIR/inference`.

        Args:
            cfg: The configuration.
            dataset_name: Registered name of the dataset.
            suffix: Ending of the names of its results, such as "_TTA".

        Returns:
            The evaluator.
        """
        folder = os.path.join(cfg.OUTPUT_DIR, "inference")
        test = cfg.TEST
        return RSEvaluator(dataset_name, folder, suffix, test.PROTOCOL, test.SAVE_PREDICTIONS, test.PICTURES)

    @classmethod
    def test(
        cls, cfg: CfgNode, model: nn.Module, evaluators: list[RSEvaluator] | None = None
    ) -> NamedResults | Results:
        """Evaluate every dataset of `DATASETS.TEST`, each with its own vocabulary, and log the table.

        Args:
            cfg: The configuration.
            model: The segmentor, which may be wrapped for distributed training.
            evaluators: One for each dataset; None: those of `build_evaluator`.

        Returns:
            The results of each dataset by name or, as Detectron2 does it, those of the only one.
        """
        if evaluators is None:
            evaluators = [cls.build_evaluator(cfg, name) for name in cfg.DATASETS.TEST]
        results: NamedResults | Results = super().test(cfg, model, evaluators)
        _log_table(evaluators)
        return results

    @classmethod
    def test_with_tta(cls, cfg: CfgNode, model: nn.Module) -> NamedResults:
        """Evaluate with test-time augmentation; all names of the results end in `_TTA`.

        Args:
            cfg: The configuration.
            model: As in `test`.

        Returns:
            Results of each dataset, by its name with the suffix.
        """
        return cls._test_as(cfg, with_augmentation(cfg, model), SUFFIX)

    @classmethod
    def test_pass(cls, cfg: CfgNode, model: nn.Module, each: EvaluationPass) -> NamedResults:
        """Run a further pass; all names of the results end in its suffix.

        Args:
            cfg: The configuration.
            model: As in `test`.
            each: The pass: how it wraps the model, its suffix, and a note for the log.

        Returns:
            Results of each dataset, by its name with the suffix.
        """
        if each.note:
            logger.info("%s", each.note)
        return cls._test_as(cfg, each.wrap(cfg, model), each.suffix)

    @classmethod
    def _test_as(cls, cfg: CfgNode, model: nn.Module, suffix: str) -> NamedResults:
        evaluators = [cls.build_evaluator(cfg, name, suffix) for name in cfg.DATASETS.TEST]
        # Detectron2's own `test` would log these results under the names of the others.
        results: NamedResults = OrderedDict(
            (each.title, inference_on_dataset(model, cls.build_test_loader(cfg, each.name), each))
            for each in evaluators
        )
        _log_table(evaluators)
        return results

    def resume_or_load(self, resume: bool = True) -> None:
        """Resume from the last checkpoint of `OUTPUT_DIR`, or start a new run.

        What a resumed run changes is applied and told, or refused (`rskt_seg.d2.resuming`). A new run loads
        its weights by `rskt_seg.d2.weights.start_training`, also from a checkpoint of other classes.

        Args:
            resume: Whether to resume; without a checkpoint the run is new all the same.

        Raises:
            ConfigError: A setting of the run has changed that cannot be applied.
            CheckpointError: The checkpoint is of another model or another kind of optimizer.
            WeightsNotFoundError: A file of weights is missing.
        """
        last = last_checkpoint(self.cfg.OUTPUT_DIR) if resume else None
        model = plain_model(self.model)
        if last is None:
            warn_of_checkpoints(self.cfg.OUTPUT_DIR, resume)
            loaded = start_training(model, self.cfg)
            if self.cfg.SEED < 0:
                logger.info("SEED %d: drawn for this run is %d", self.cfg.SEED, self.seed)
        else:
            loaded = self._resume(model, last)
        unwrapped(self.model).sem_seg_head.begin_training(amp_dtype(self.cfg))
        self._state_training_sets(str(last or self.cfg.MODEL.WEIGHTS or self.cfg.MODEL.START_FROM))
        if parts := left_out(model, self.cfg, loaded):
            self.checkpointer.leave_out(parts)

    def _resume(self, model: SegmentationModel, last: Path) -> dict[str, str]:
        """Load a checkpoint of this run; return what `load_left_out` loaded."""
        stated = RunFacts.stated(last)
        if stated is None:
            logger.warning(
                "%s was written by an earlier version and states no seed and no settings: the order of the "
                "images begins anew, and settings that have changed since cannot be told",
                last,
            )
        else:
            compare_runs(stated, self._asked, last).log()
            self.seed = stated.seed
        loaded = load_left_out(model, self.cfg, str(last))
        with configuration_advice(self.cfg):
            check_stated(model, read_weights(last), str(last))
        rates = list(self.scheduler.base_lrs)
        try:
            self.checkpointer.load(str(last))
        except CheckpointError as error:  # which knows of a state dict only
            raise CheckpointError(f"{last}: {error}") from error
        stepped = self.scheduler.last_epoch  # 0 too where a training was saved before its first step
        if type(stepped) is not int or stepped not in (self.iter + 1, self.iter and self.iter + 1):
            raise CheckpointError(
                f"{last} is damaged: its schedule is at iteration {brief(stepped)}, its training at "
                f"{self.iter + 1}; write the name of another checkpoint of the run into last_checkpoint"
            )
        self.start_iter = stepped
        follow_schedule(self.scheduler, rates)
        done, unread = (self.start_iter, self.max_iter), "; MODEL.WEIGHTS is not read"
        logger.info(
            "Resumed %s after %d of %d iterations, seed %d%s",
            last,
            *done,
            self.seed,
            unread if self.cfg.MODEL.WEIGHTS else "",
        )
        if self.evaluations.is_over and self.start_iter < self.max_iter:
            self.max_iter = self.start_iter
            logger.warning(
                "nothing is left to train: the run was stopped after %d iterations; a larger TEST.PATIENCE "
                "(%d) goes on",
                self.start_iter,
                self.cfg.TEST.PATIENCE,
            )
        elif self.start_iter >= self.max_iter:
            logger.warning(
                "nothing is left to train: the run has %d iterations, and SOLVER.MAX_ITER is %d; a larger "
                "one goes on",
                *done,
            )
        return loaded

    def _state_training_sets(self, start: str) -> None:
        """State in every checkpoint what the model was trained on, before and in this run, if it is known."""
        before = stated_sets(start) if start else ()
        if start and not before:
            logger.warning(
                "%s does not state what it was trained on, so neither will the checkpoints of this run: name "
                "all of its training sets in the DATASETS.TRAIN of an evaluation",
                start,
            )
            return
        sets = dict.fromkeys((*before, *sets_to_train(self.cfg)))
        self.checkpointer.stated[TRAINED_ON] = [each._asdict() for each in sets]

    def run_step(self) -> None:
        """Run one iteration.

        Raises:
            NotFiniteError: The loss is NaN or infinite; the message says what to try.
        """
        seed_step(self.seed, self.iter, comm.get_rank())
        try:
            super().run_step()
        except NotFiniteError as error:
            raise NotFiniteError(f"{error}; {remedy_of(self.cfg)}") from error

    # Detectron2 v0.5 leaves the optimizer out of the trainer's state; main has it under this name.
    def state_dict(self) -> dict[str, Any]:
        """Return iteration, schedule, optimizer (and the gradient scaler of mixed precision) and the run."""
        state = {"_trainer": self._trainer.state_dict(), RUN: self._asked.entry(self.seed)}
        return TrainerBase.state_dict(self) | state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            CheckpointError: It is of another kind of optimizer, of another precision, or damaged.
        """
        try:
            TrainerBase.load_state_dict(self, state_dict)
            self._trainer.load_state_dict(state_dict["_trainer"])
            # PyTorch loads groups that lack options of this optimizer, and fails at the first step.
            for group in state_dict["_trainer"]["optimizer"]["param_groups"]:
                if missing := self._trainer.optimizer.defaults.keys() - group.keys():
                    raise KeyError(*sorted(missing))
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                "the checkpoint of this run has the state of another optimizer or precision, or is damaged "
                f"({brief(error)}); resume with the SOLVER settings it was saved with, or start a new run in "
                "another OUTPUT_DIR with MODEL.WEIGHTS"
            ) from error


def _log_table(evaluators: Sequence[RSEvaluator]) -> None:
    scores = {each.title: each.scores for each in evaluators if each.scores is not None}
    if len(scores) == 1:
        ((name, found),) = scores.items()
        logger.info("%s: %s", name, ", ".join(f"{key} {getattr(found, key):.2f}" for key in SUMMARY))
    elif scores:
        logger.info("Percent:\n%s", score_table(scores))
