"""Small FCtL models and what the tests feed them."""

import torch

from rskt_seg.models.fctl import FCtL, FCtLSpec

SIDE = 64


def build(seed=0, **options):
    """A model whose every part matters: random weights with noise on everything that starts at 0."""
    torch.manual_seed(seed)
    model = FCtL(FCtLSpec(**{"num_classes": 3, "encoder": "vgg_tiny", "patch_side": SIDE, **options})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".up" not in name:  # fixed bilinear kernels
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def images(seed=0, batch=1, height=SIDE, width=SIDE):
    return 255 * torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def surroundings(model, seed=10, batch=1, height=SIDE, width=SIDE):
    return {n: images(seed + i, batch, height, width) for i, n in enumerate(model.spec.contexts)}


def places(model, batch=1):
    """A place for every context, centred or not."""
    whole = torch.tensor([[-0.5, -1.75, 2.5, 4.0], [-2.25, 0.0, 3.5, 2.0]])[:batch]
    return {n: whole for n, factor in model.spec.context_factors.items() if factor == 0}


def run(model, patches, contexts=None, windows=None, **options):
    contexts = surroundings(model, batch=len(patches)) if contexts is None else contexts
    with torch.no_grad():
        return model(patches, contexts, windows if windows is not None else places(model), **options)


def close(actual, expected, atol=1e-5):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=atol)


FULL = {"gpe": True, "ale": "d"}
WHOLE = {"factors": (3, 0), "geometry": "image", **FULL}
