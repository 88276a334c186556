"""Keys of the YAML files of RSKT-Seg's authors, and the keys of this project that replace them."""

_VOCABULARY = "none here: the class names come with the datasets of DATASETS.TRAIN and DATASETS.TEST"
_COMPUTED = "none here: the width follows from the encoder"
_UNREAD = "none here: the published code never reads it"

_HEAD = {
    "NUM_CLASSES": _VOCABULARY,
    "TRAIN_CLASS_JSON": _VOCABULARY,
    "TEST_CLASS_JSON": _VOCABULARY,
    "TRAIN_CLASS_INDEXES": _UNREAD,
    "TEST_CLASS_INDEXES": _UNREAD,
    "USE_CLIP_CORR": "none here: the cost volume of CLIP is always used",
    "USE_DINO_CORR": "MODEL.RSKT.DINO",
    "FUSION_TYPE": "MODEL.RSKT.FUSION (separate, concat or mean)",
    "DECODER_DIMS": _COMPUTED,
    "DECODER_CLIP_GUIDANCE_DIMS": _COMPUTED,
    "DECODER_CLIP_GUIDANCE_PROJ_DIMS": _COMPUTED,
    "DECODER_DINO_GUIDANCE_DIMS": _COMPUTED,
    "DECODER_DINO_GUIDANCE_PROJ_DIMS": _COMPUTED,
    "DECODER_GUIDANCE_DIMS": _COMPUTED,
    "DECODER_GUIDANCE_PROJ_DIMS": _UNREAD,
    "CLIP_PRETRAINED": "MODEL.RSKT.ENCODER (vitb16 or vitl14) and MODEL.ENCODERS.CLIP",
    "CLIP_PRETRAINED_WEIGHTS": "MODEL.ENCODERS.CLIP",
    "CLIP_PRETRAINED_REMOTE": "none here: RemoteCLIP is a ViT-B/32",
    "CLIP_PRETRAINED_WEIGHTS_REMOTE": "MODEL.ENCODERS.REMOTE_CLIP",
    "CLIP_REMOTE_FINETUNE": "none here: RemoteCLIP is always frozen",
    "CLIP_FINETUNE": "MODEL.RSKT.CLIP_FINETUNE",
    "USE_ROTATE": "MODEL.RSKT.ROTATIONS",
    "USE_REMOTE_CLIP": "MODEL.RSKT.REMOTE_CLIP",
    "USE_REMOTE_DINO": "MODEL.RSKT.DINO",
    "DINO_FINETUNE": "MODEL.RSKT.DINO_FINETUNE",
    "DINO_WEIGHTS": "MODEL.ENCODERS.DINO",
    "TEXT_GUIDANCE_DIM": _COMPUTED,
    "TEXT_GUIDANCE_PROJ_DIM": "MODEL.RSKT.HIDDEN_DIM",
    "APPEARANCE_GUIDANCE_DIM": _COMPUTED,
    "APPEARANCE_GUIDANCE_PROJ_DIM": "MODEL.RSKT.HIDDEN_DIM",
    "NUM_LAYERS": "MODEL.RSKT.NUM_LAYERS",
    "USE_EFFICIENT": "MODEL.RSKT.AGGREGATOR (True = efficient, False = original)",
    "NUM_HEADS": "MODEL.RSKT.WINDOW_HEADS (original aggregator; efficient layers have MODEL.RSKT.NUM_HEADS)",
    "HIDDEN_DIMS": "MODEL.RSKT.HIDDEN_DIM",
    "POOLING_SIZES": "MODEL.RSKT.POOLING (one number; efficient layers always pool by 2)",
    "FEATURE_RESOLUTION": "none here: the grid follows from the encoder",
    "WINDOW_SIZES": "MODEL.RSKT.WINDOW",
    "ATTENTION_TYPE": "MODEL.RSKT.ATTENTION",
    "PROMPT_DEPTH": "none here: 0 in every published file",
    "PROMPT_LENGTH": "none here: 0 in every published file",
}
_OTHERS = {
    "MODEL.PROMPT_ENSEMBLE": _UNREAD,
    "MODEL.PROMPT_ENSEMBLE_TYPE": "MODEL.RSKT.TEMPLATES (prompts; default: the published single)",
    "MODEL.CLIP_PIXEL_MEAN": "none here: the statistics belong to the encoder",
    "MODEL.CLIP_PIXEL_STD": "none here: the statistics belong to the encoder",
    "MODEL.PIXEL_MEAN": "none here: the statistics belong to the encoder",
    "MODEL.PIXEL_STD": "none here: the statistics belong to the encoder",
    "MODEL.MASK_FORMER.SIZE_DIVISIBILITY": "MODEL.RSKT.PADDING (published pads to a multiple of 32)",
    "INPUT.DATASET_MAPPER_NAME": "none here: there is one mapper",
    "DATASETS.VAL_ALL": _UNREAD,
    "SOLVER.BACKBONE_MULTIPLIER": "none here: no published parameter was matched by it",
}
AUTHORS_KEYS: dict[str, str] = {f"MODEL.SEM_SEG_HEAD.{key}": ours for key, ours in _HEAD.items()} | _OTHERS
"""Full name of a key of the authors -> the key to use instead, or why there is none."""


def advice(key: str) -> str | None:
    """Return what to use instead of a key of the authors; None for any other key."""
    if key.startswith("MODEL.SWIN."):
        return _UNREAD
    return AUTHORS_KEYS.get(key)
