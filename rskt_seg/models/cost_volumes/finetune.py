"""The published fine-tuning policies (RSKT-Seg, table 6) as a function on parameters."""

from torch import nn

_QUERY_AND_VALUE = ("q_proj_weight", "v_proj_weight")


def set_trainable(model: nn.Module, clip: str, dino: str = "frozen") -> None:
    """Set `requires_grad` of every parameter of a model, in place.

    RemoteCLIP is frozen, and all that is no encoder is trained. By the policy "attention" the query of CLIP's
    last visual block is trainable although the dense path never uses it.

    Args:
        model: A model whose parameters are named after its encoders: `clip.`, `dino.`, `remote_clip.`.
        clip: What is trained of CLIP: "attention", the query and value matrices of every block of both
            towers; "full", every block of both towers; "freezeIMG", the query and value matrices and the
            positions of the text tower; "frozen", nothing.
        dino: What is trained of DINO: "attention", `attn.qkv.weight` and positions; "full", everything;
            "frozen", nothing.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_trains(name, clip, dino))


def _trains(name: str, clip: str, dino: str) -> bool:
    encoder, _, rest = name.partition(".")
    if encoder == "clip":
        return _clip_trains(rest, clip)
    if encoder == "dino":
        if dino == "attention":
            return rest.endswith("attn.qkv.weight") or rest == "pos_embed"
        return dino == "full"
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
