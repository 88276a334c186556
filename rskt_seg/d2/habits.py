"""Keys by the names that other programs have for them, and lists of names that are typed as one name."""

import difflib
from collections.abc import Collection, Mapping

from rskt_seg.d2.ranges import literal

NAME_LISTS = ("DATASETS.OWN", "DATASETS.TRAIN", "DATASETS.TEST")
"""Keys that take several names, and one without the form of a tuple."""
_RATE = "SOLVER.BASE_LR"
_BATCH = "SOLVER.IMS_PER_BATCH"
_LENGTH = "SOLVER.MAX_ITER (iterations: images of the training set * epochs / SOLVER.IMS_PER_BATCH)"
_CLASSES = "DATASETS.TRAIN, whose data have a list of classes that gives their number"
_START = "MODEL.WEIGHTS"
_FOLDER = "OUTPUT_DIR"
_IGNORED = "MODEL.SEM_SEG_HEAD.IGNORE_VALUE"
_PROCESSES = "the flag --num-gpus"
_HABITS: Mapping[str, str] = {
    **dict.fromkeys(("LR", "LR0", "BASE_LEARNING_RATE", "LEARNING_RATE", "INIT_LR"), _RATE),
    **dict.fromkeys(("BATCH", "BATCH_SIZE", "BATCH_SIZE_PER_GPU", "SAMPLES_PER_GPU"), _BATCH),
    **dict.fromkeys(("EPOCH", "EPOCHS", "MAX_EPOCH", "MAX_EPOCHS", "NUM_EPOCHS", "TOTAL_EPOCHS"), _LENGTH),
    **dict.fromkeys(("ITERS", "ITERATIONS", "MAX_ITERS", "NUM_ITERS", "NUM_STEPS"), "SOLVER.MAX_ITER"),
    **dict.fromkeys(("CLASSES", "CLASS_NAMES", "NUM_CLASSES", "N_CLASSES"), _CLASSES),
    **dict.fromkeys(("CHECKPOINT", "LOAD_FROM", "PRETRAINED", "RESUME_FROM"), _START),
    **dict.fromkeys(("OUT_DIR", "OUTPUT", "SAVE_DIR", "WORK_DIR"), _FOLDER),
    **dict.fromkeys(("IGNORE_INDEX", "IGNORE_LABEL"), _IGNORED),
    **dict.fromkeys(("GPUS", "GPU_IDS", "NUM_GPUS"), _PROCESSES),
    **dict.fromkeys(("CROP_SIZE", "IMAGE_SIZE", "IMG_SIZE", "INPUT_SIZE"), "INPUT.CROP.SIZE"),
    **dict.fromkeys(("WORKERS", "NUM_WORKERS", "WORKERS_PER_GPU"), "DATALOADER.NUM_WORKERS"),
    "WD": "SOLVER.WEIGHT_DECAY",
    "AMP": "SOLVER.AMP.ENABLED",
}
"""Last word of a key in the habit of other programs -> the key that does it here."""


def instead_of(key: str, known: Collection[str]) -> str:
    """Return what to write in place of a key that does not exist.

    Args:
        key: The key as it was written, in any case.
        known: All keys that exist.

    Returns:
        A sentence such as "use SOLVER.BASE_LR" or "did you mean ...?"; "" if nothing is near.
    """
    last = key.upper().rpartition(".")[2]
    if key.upper() in known:
        return f"did you mean {key.upper()}?"
    near = difflib.get_close_matches(key.upper(), known, n=3, cutoff=0.8)
    if last in _HABITS and last not in (name.rpartition(".")[2] for name in near):
        return f"use {_HABITS[last]}"
    near = near or [name for name in known if name.rpartition(".")[2] == last][:3]
    return f"did you mean {', '.join(near)}?" if near else ""


def with_lists(given: Mapping[str, object]) -> dict[str, object]:
    """Return keys and values with a tuple of one name for a plain name where several are possible.

    Args:
        given: Full name of a key -> value; texts of the command line are read as Detectron2 reads them.

    Returns:
        The same keys. A text that looks like a tuple without its quotes is no name, and stays.
    """
    return {key: _as_list(value) if key in NAME_LISTS else value for key, value in given.items()}


def _as_list(value: object) -> object:
    name = literal(value)
    plain = isinstance(name, str) and name.strip() and name[0] not in "(["
    return (name,) if plain else value
