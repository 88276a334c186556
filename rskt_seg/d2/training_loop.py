"""The loop of a training: its hooks in their order, what records it, and how it ends."""

import logging
import shlex
from functools import partial
from pathlib import Path

from detectron2.engine import DefaultTrainer, hooks
from detectron2.engine.train_loop import HookBase
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, EventWriter
from fvcore.nn.precise_bn import get_bn_modules

from rskt_seg.d2.checkpointer import FINAL, last_checkpoint
from rskt_seg.d2.curves import CurveFile, TensorBoardCurves, drop_later_lines
from rskt_seg.d2.datasets import load_datasets
from rskt_seg.d2.evaluations import Choice, Evaluations, evaluation_period
from rskt_seg.d2.loaders import dead_worker
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.progress import Progress, describe_training
from rskt_seg.d2.recording import Recording
from rskt_seg.d2.run_record import TimeRecord
from rskt_seg.d2.typing import NamedResults, Results
from rskt_seg.d2.wandb_writer import wandb_writers
from rskt_seg.errors import RSKTSegError
from rskt_seg.metrics.report import class_table
from rskt_seg.reporting.run_folder import METRICS
from rskt_seg.stopping import was_stopped
from rskt_seg.visualization import draw_confusion
from rskt_seg.wording import counted
from rskt_seg.writing import no_room

logger = logging.getLogger(__name__)


class TrainingLoop(DefaultTrainer):
    """The part of the trainer that runs, watches and records a training.

    `rskt_seg.d2.trainer.Trainer` builds what is trained and evaluated.
    """

    def build_hooks(self) -> list[HookBase]:
        """Return Detectron2's hooks in the order of this project, and those that evaluate and record.

        What precedes a checkpoint is in `metrics.json` before it is written, and evaluations come after it.
        Further passes over the test sets are made at the end.
        """
        cfg = self.cfg
        period = evaluation_period(cfg, len(load_datasets(cfg.DATASETS.TRAIN)))
        chosen = cfg.TEST.BEST_BY if period else ""
        choice = Choice(chosen, cfg.TEST.PATIENCE) if chosen else None
        self.recording, self.evaluations = Recording(cfg.LOG_PERIOD), Evaluations(period, choice)
        found: list[HookBase] = [hooks.IterationTimer(), hooks.LRScheduler()]
        if cfg.TEST.PRECISE_BN.ENABLED and get_bn_modules(self.model):
            loader, images = self.build_train_loader(cfg), cfg.TEST.PRECISE_BN.NUM_ITER
            found.append(hooks.PreciseBN(period, self.model, loader, images))
        found.append(self.recording)
        if comm.is_main_process():
            found.append(hooks.PeriodicCheckpointer(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD))
        found.append(self.evaluations)
        if cfg.TEST.AUG.ENABLED:
            found.append(hooks.EvalHook(0, lambda: self.test_with_tta(cfg, self.model)))
        for each in method_of(cfg).evaluation_passes(cfg):
            found.append(hooks.EvalHook(0, partial(self.test_pass, cfg, self.model, each)))
        return found

    def build_writers(self) -> list[EventWriter]:
        """Return the writers of the main process, and none in the others; called when the training begins."""
        if not comm.is_main_process():
            return []
        path, start = Path(self.cfg.OUTPUT_DIR, METRICS), self.start_iter
        if dropped := drop_later_lines(path, start, self.evaluations.is_repeated(start, self.max_iter)):
            whose = f"after iteration {start}, which come again," if start else "of an earlier run"
            logger.info("%s: %s %s removed", path, counted(dropped, "line"), whose)
        return [
            Progress(self.max_iter),
            CurveFile(path),
            TensorBoardCurves(self.cfg.OUTPUT_DIR, start),
            TimeRecord(self.cfg.OUTPUT_DIR, start, self.cfg.SOLVER.MAX_ITER),
            *wandb_writers(self.cfg, start),
        ]

    def evaluate(self) -> NamedResults | Results:
        """Evaluate `DATASETS.TEST`, and put pictures of it into the event storage.

        Returns:
            As `test`.
        """
        evaluators = [self.build_evaluator(self.cfg, name) for name in self.cfg.DATASETS.TEST]
        results: NamedResults | Results = self.test(self.cfg, self.model, evaluators)
        for each in evaluators if comm.is_main_process() else ():
            pictures = {"confusion": draw_confusion(each.matrix.counts, each.classes)}
            if each.picture is not None:
                pictures["scenes"] = each.picture
            if self.iter >= self.max_iter and each.scores is not None:
                logger.info("%s, class by class:\n%s", each.title, class_table(each.scores, each.classes))
            for name, picture in pictures.items():
                self.storage.put_image(f"{each.title}/{name}", picture.transpose(2, 0, 1))
        return results

    def end_early(self, iteration: int) -> None:
        """End the training after `iteration` iterations, with its last checkpoint; called within the last."""
        self.max_iter = iteration
        self.checkpointer.save(FINAL, iteration=self.iter)

    def train(self) -> NamedResults | Results | None:
        """Train to `SOLVER.MAX_ITER`, then evaluate `DATASETS.TEST`; None in all but the main process."""
        self._complete_checkpoints()
        self._loader.begin(self.seed, self.start_iter)
        if comm.is_main_process():
            about = (self.start_iter, self.evaluations.period, self.seed, comm.get_world_size())
            logger.info("%s", describe_training(self.cfg, *about))
        self.iter = self._trainer.start_iter = self.start_iter
        self._trainer.max_iter = self.max_iter
        with EventStorage(self.start_iter) as self.storage:
            try:
                self.before_train()
                while self.iter < self.max_iter:  # early stopping lowers it
                    self.before_step()
                    self.run_step()
                    self.after_step()
                    self.iter += 1
            except Exception as error:
                if _needs_traceback(error):
                    logger.exception("The training failed:")
                raise
            finally:
                self.after_train()
        if not comm.is_main_process():
            return None
        place = Path(self.cfg.OUTPUT_DIR)
        logger.info("Results are in %s; `rskt-seg report %s` draws them", place, shlex.quote(str(place)))
        if self.cfg.TEST.EXPECTED_RESULTS:
            verify_results(self.cfg, self.evaluations.results)
        return self.evaluations.results

    def _complete_checkpoints(self) -> None:
        """Write the last checkpoint of a run that was stopped between its last iteration and that file."""
        last = last_checkpoint(self.cfg.OUTPUT_DIR)
        if self.start_iter == self.max_iter and last is not None and last.stem != FINAL:
            self.checkpointer.save(FINAL, iteration=self.iter)

    def after_train(self) -> None:
        """Let the hooks finish; after an error nothing is evaluated, not even in the last iteration."""
        self.storage.iter = self.iter
        failed = self.iter < self.max_iter
        for hook in self._hooks:
            if not (failed and isinstance(hook, hooks.EvalHook | Evaluations)):
                hook.after_train()
        if not failed:  # else a line would be written that no undisturbed run has
            self.recording.write()
        self.recording.close()


def _needs_traceback(error: Exception) -> bool:
    # A user's mistake needs one line only; of several processes the launcher reports the one that failed, and
    # the others merely lost it.
    known = isinstance(error, RSKTSegError) or dead_worker(error) or no_room(error)
    return comm.get_world_size() == 1 and not (known or was_stopped(error))
