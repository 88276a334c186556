"""The published fine-tuning policies (paper, table 6) as a function on parameters."""

from torch import nn

from rskt_seg.models.rskt.spec import RSKTSpec

_QUERY_AND_VALUE = ("q_proj_weight", "v_proj_weight")


def set_trainable(model: nn.Module, spec: RSKTSpec) -> None:
    """Set `requires_grad` of every parameter of an RSKT model, in place.

    RemoteCLIP is frozen. Of CLIP, `spec.clip_finetune` makes trainable: "attention", the query and value
    matrices of every block of both towers; "full", every block of both towers; "freezeIMG", the query and
    value matrices and the positions of the text tower; "frozen", nothing. Of DINO, `spec.dino_finetune`:
    "attention", `attn.qkv.weight` and positions; "full", everything; "frozen", nothing. All else is trained.

    By this rule the query of CLIP's last visual block is trainable although the dense path never uses it.

    Args:
        model: An `RSKT`; its parameters are named after its encoders.
        spec: Its options.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_trains(name, spec))


def _trains(name: str, spec: RSKTSpec) -> bool:
    encoder, _, rest = name.partition(".")
    if encoder == "clip":
        return _clip_trains(rest, spec.clip_finetune)
    if encoder == "dino":
        if spec.dino_finetune == "attention":
            return rest.endswith("attn.qkv.weight") or rest == "pos_embed"
        return spec.dino_finetune == "full"
    return encoder != "remote_clip"


def _clip_trains(name: str, policy: str) -> bool:
    in_block = "transformer." in name
    query_or_value = in_block and name.endswith(_QUERY_AND_VALUE)
    if policy == "attention":
        return query_or_value
    if policy == "full":
        return in_block
    if policy == "freezeIMG":
        return not name.startswith("visual.") and (query_or_value or name == "positional_embedding")
    return False
