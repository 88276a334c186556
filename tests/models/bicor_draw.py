"""Small BiCoR-Seg models and what the tests feed them."""

import torch

from rskt_seg.models.bicor import BiCoR, BiCoRSpec

TINY = {"num_classes": 5, "encoder": "tiny", "width": 32, "stochastic_depth": 0.0, "min_pixels": 4}
BASELINE = {"interaction": "cross_attention", "min_pixels": 64}
FORMS = [
    {},
    {"topk_ratio": 0.3},
    {"topk_ratio": 1.0},
    {"pooling": "threshold", "threshold": 0.55},
    {"pooling": "percentile", "percentile": 0.8},
    {"pooling": "all"},
    {"inner_steps": 2, "temperature": 2.0, "film_weight": 0.3},
    {"heatmap_inputs": "raw"},
    {"pooled_inputs": "raw"},
    {"gate": "class"},
    {"candidate": "context"},
    {"assignment": "heatmap"},
    {"mixing": "learned", "film_weight": 0.4},
    {
        "heatmap_inputs": "raw",
        "pooled_inputs": "raw",
        "gate": "class",
        "candidate": "context",
        "assignment": "heatmap",
        "mixing": "learned",
    },
]
PAPER = {
    **FORMS[-1],
    "head": "product",
    "label_smoothing": 0.0,
    "aux_weight": 0.0,
    "heat_loss": "heatmap",
    "final_fisher_weight": 0.0,
    "between": "center",
}


def options_of(options):
    """The tiny options with changes; those that the changes leave unread go back to their defaults."""
    merged = {**TINY, **options}
    if merged.get("pooling", "topk") != "topk" or merged.get("topk_ratio") == 1.0:
        del merged["min_pixels"]
    return merged


def build(seed=0, **options):
    """A model whose every part matters: random weights with a little noise on all."""
    torch.manual_seed(seed)
    model = BiCoR(BiCoRSpec(**options_of(options))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def image(seed=0, height=64, width=96, batch=1):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 255


def labels(seed=0, height=64, width=96, batch=1, classes=5):
    rng = torch.Generator().manual_seed(seed)
    target = torch.randint(0, classes, (batch, height, width), generator=rng)
    target[:, : height // 4] = 255
    return target


def logits(model, images, **kwargs):
    with torch.no_grad():
        return model(images, **kwargs).logits


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)
