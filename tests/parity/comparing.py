"""How end-to-end cases are compared with their fixtures."""

import sys

import numpy as np
import torch
import torch.nn.functional as F

from rskt_seg.checkpoints.rules import LoadReport, convert
from rskt_seg.inference.predict import sliding_scores
from rskt_seg.methods import method_of


def final_scores(model, output, height, width):
    """The published end of evaluation: scores at 96 x 96, cut, resized to the image."""
    scores = model.scores(output)[:, :, :height, :width]
    return F.interpolate(scores, size=(height, width), mode="bilinear", align_corners=False)[0]


def sliding_logits_and_scores(model, image, classes):
    """The logits of all sliding crops, and their merged scores at the size of the image; it runs once."""
    logits = []
    hook = model.register_forward_hook(lambda _, given, output: logits.append(output.logits))
    scores = sliding_scores(model, image, classes)
    hook.remove()
    scores = F.interpolate(scores[None], size=image.shape[1:], mode="bilinear", align_corners=False)[0]
    return torch.cat(logits), scores


def check_logits(logits, arrays, atol):
    """Logits as far as they are stored, whole or every other row and column, and their statistics."""
    whole = {"logits": logits, "logits_sub2": logits[..., ::2, ::2]}
    for name in whole.keys() & set(arrays):
        expected = torch.from_numpy(arrays[name])
        sys.stdout.write(
            f"largest deviation of the logits: {float((whole[name] - expected).abs().max()):.2e}\n"
        )
        torch.testing.assert_close(whole[name], expected, rtol=0, atol=atol)
    stats = np.array(
        [logits.mean(), logits.std(correction=0), logits.abs().mean(), logits.min(), logits.max()]
    )
    np.testing.assert_allclose(stats, arrays["logits_stats"], atol=atol)


def check_scores(scores, arrays, atol=1e-5):
    """Final scores at every 16th or 32nd pixel, and the labels where the best class is certain."""
    (name,) = {"sem_seg_sub16", "sem_seg_sub32"} & set(arrays)
    step = int(name.removeprefix("sem_seg_sub"))
    expected = torch.from_numpy(arrays[name])
    torch.testing.assert_close(scores[:, ::step, ::step], expected, rtol=0, atol=atol)
    best, second = scores.topk(2, dim=0).values
    certain = best - second > 1e-5
    labels = torch.from_numpy(arrays["sem_seg_argmax"].astype(np.int64))
    assert torch.equal(scores.argmax(dim=0)[certain], labels[certain])


def published_gradient_norms(model, state) -> dict[str, float]:
    """Gradient norms under the published names, found through the loading rules themselves."""
    rules = method_of(model).checkpoint.published_rules(model, state, "names")
    report = LoadReport("names")
    convert({key: torch.empty(0) for key in state if not key.endswith("in_proj_weight")}, rules, report)
    names = {own: published for published, (own,) in report.converted.items()}
    return {names[own]: float(p.grad.norm()) for own, p in model.named_parameters() if p.grad is not None}


def cut(x: torch.Tensor) -> torch.Tensor:
    """The slice rule of the fixtures' description; a copy, so that the whole can go."""
    if x.ndim == 5:
        return x[:, :8, :3, ::3, ::3].clone()
    if x.ndim == 3:
        return x
    rows = x if len(x) == 1 else x[[0, len(x) // 2, len(x) - 1]]
    step = max(1, x.shape[-1] // 8)
    return rows[:, :8, ::step, ::step].clone()
