"""When the scalars of a training are written, and what its checkpoints keep of them."""

from collections.abc import Sequence
from typing import Any

from detectron2.engine.train_loop import HookBase
from detectron2.utils.events import EventWriter

from rskt_seg.d2.curves import TIMES, WINDOW
from rskt_seg.d2.progress import estimate


class Recording(HookBase):
    """Hook that lets writers write: every so many iterations, and before the evaluation of an iteration.

    It must come before the hook of checkpoints. A checkpoint has the values that the next medians depend on.
    The writers are those of the trainer's `build_writers`.

    Args:
        period: Iterations between two writings.
    """

    def __init__(self, period: int) -> None:
        self._period = period
        self._writers: Sequence[EventWriter] = ()
        self._window: dict[str, list[float]] = {}
        self._begun = False

    def before_train(self) -> None:
        """Restore the values of a checkpoint, and open the writers."""
        for name, values in self._window.items():
            history = self.trainer.storage.histories()[name]
            for place, value in enumerate(values, start=self.trainer.start_iter - len(values)):
                history.update(value, place)
        self._writers, self._begun = self.trainer.build_writers(), True

    def after_step(self) -> None:
        """Write, if it is time."""
        done, max_iter = self.trainer.iter + 1, self.trainer.max_iter
        if done - self.trainer.start_iter == WINDOW:
            estimate(self.trainer.storage, max_iter)
        if done % self._period == 0 or done == max_iter or self.trainer.evaluations.is_due(done - 1):
            self.write()

    def write(self) -> None:
        """Write all that is new."""
        for writer in self._writers:
            writer.write()
        self.trainer.storage.clear_images()

    def close(self) -> None:
        """Close the writers."""
        for writer in self._writers:
            writer.close()
        self._writers = ()

    def state_dict(self) -> dict[str, Any]:
        """Return the last values of each scalar whose median is written."""
        if not self._begun:
            return dict(self._window)
        storage = self.trainer.storage
        smoothed = [name for name, jumps in storage.smoothing_hints().items() if jumps and name not in TIMES]
        return {name: [v for v, _ in storage.history(name).values()[-WINDOW:]] for name in sorted(smoothed)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._window = dict(state_dict)
