"""`optimize_for_inference`: the inference form of a model."""

from typing import TypeVar, cast

import torch
from torch import nn

from rskt_seg.errors import ConfigError
from rskt_seg.layers.inference_form import FormBuilder, packing_pays
from rskt_seg.layers.training_form import HasTrainingForm
from rskt_seg.methods.notices import keep_notices, model_notices
from rskt_seg.typing import SegmentationModel

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Name of a precision -> type of the values that are multiplied."""

ModelT = TypeVar("ModelT", bound=SegmentationModel)


def optimize_for_inference(
    model: ModelT, *, precision: str = "fp32", packed: bool | None = None, release: bool = False
) -> ModelT:
    """Build the inference form of a trained model: the same results, faster.

    The form is used as the model is, but cannot be trained, saved or moved to another device. Make it anew
    after training the model further.

    Args:
        model: The model, on its device.
        precision: "fp32" (the logits of the models of cost volumes differ by rounding, at most 2e-5), "bf16"
            or "fp16" (GPUs only): precision of the matrix products of encoders and layers, and of the
            decoder up to its head. Logits, cosines, and sums and norms of tokens stay in float32.
        packed: Whether linear layers are stored in the layout of oneDNN, on a CPU; None: where that pays,
            see `rskt_seg.layers.inference_form.packing_pays`.
        release: Whether to free the parameters of `model` that the form does not share, as they are
            converted. The model cannot be used afterwards.

    Returns:
        The form, in evaluation mode.

    Raises:
        ConfigError: `precision` is unknown, or not available on the device of the model.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision must be one of {', '.join(PRECISIONS)}; found {precision!r}")
    dtype, device = PRECISIONS[precision], model.device
    if dtype is torch.float16 and device.type == "cpu":
        raise ConfigError("precision fp16 needs a GPU, a CPU computes it slower than fp32: use bf16 or fp32")
    if packed is None:
        packed = packing_pays(device)
    notices = model_notices(model)
    with torch.no_grad():
        form = cast(ModelT, FormBuilder(dtype, packed, release).convert(cast(nn.Module, model)))
    keep_notices(form, notices)
    return form.eval()


def optimize_for_training(
    model: ModelT, *, dtype: torch.dtype = torch.float32, recompute: bool = False
) -> ModelT:
    """Return a form of a model that trains its parameters, with encoders that are not trained made faster.

    Build it when the weights are loaded. The form has no state of its own: save and evaluate the model.

    Args:
        model: The model, on its device, in training mode.
        dtype: Precision of the matrix products of the encoders that are not trained: that of autocast.
        recompute: Whether to keep less for the backward pass, and compute it again (gradient checkpointing).

    Returns:
        The form; the model itself if its kind has none.
    """
    module = cast(nn.Module, model)
    if not isinstance(module, HasTrainingForm):
        return model
    builder = FormBuilder(dtype, packing_pays(model.device))
    with torch.no_grad():
        return cast(ModelT, module.training_form(builder, recompute))
