"""Locality-aware context fusion: a patch correlated with its contexts (LCC), the results fused (MCF).

Shapes: B patch, C channel, H W grid of the encoders' last maps. Windows and grids are those of
`rskt_seg.models.fctl.geometry`.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.models.fctl.geometry import Grid, positions_in_patch, resample
from rskt_seg.models.fctl.spec import FCtLSpec

_STD = 0.01  # of every new 1 x 1 convolution, as published


def pointwise(in_channels: int, out_channels: int, bias: bool = True) -> nn.Conv2d:
    """Build a 1 x 1 convolution with the published initialization: N(0, 0.01), bias 0.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        bias: Whether it has a bias.

    Returns:
        The layer.
    """
    layer = nn.Conv2d(in_channels, out_channels, 1, bias=bias)
    nn.init.normal_(layer.weight, std=_STD)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class RelativePosition(nn.Module):
    """Gated positional embeddings of one context (the second half of equation 2).

    The content has the weight sigmoid(`gate`), the position the rest. `weight` (W_r) holds the factors of dx,
    dy and dx ** 2 + dy ** 2, key minus query, in cells of the patch. It starts as ConViT's local attention.

    Args:
        geometry: "grid" or "image", see `FCtLSpec.geometry`.
    """

    def __init__(self, geometry: str) -> None:
        super().__init__()
        self.geometry = geometry
        self.gate = nn.Parameter(torch.ones(()))
        self.weight = nn.Parameter(torch.tensor([0.0, 0.0, -1.0]))

    def axes(self, window: Tensor, grids: tuple[Grid, Grid]) -> tuple[Tensor, Tensor]:
        """Return the positional attention along rows and along columns.

        The logits are a sum of a row term and a column term, so the softmax over all cells is exactly the
        product of these two.

        Args:
            window: (B or 1, 4).
            grids: The (row, column) grids.

        Returns:
            (B, H, H) along rows and (B, W, W) along columns.
        """
        dx, dy, square = self.weight.unbind()
        return (
            self._axis(window[:, 0::2], grids[0], dy, square),
            self._axis(window[:, 1::2], grids[1], dx, square),
        )

    def _axis(self, axis: Tensor, grid: Grid, linear: Tensor, square: Tensor) -> Tensor:
        queries = torch.arange(grid.cells, dtype=torch.float64, device=axis.device)
        keys = queries[None] if self.geometry == "grid" else positions_in_patch(axis, grid)
        distance = (keys[:, None, :] - queries[:, None]).to(linear.dtype)  # (B, query, key)
        return (linear * distance + square * distance**2).softmax(dim=-1)


class Correlation(nn.Module):
    """Locality-aware context correlation (LCC) with one context.

    Without `position` this is equation 1 with the projections of the published code, with it equation 2.
    The learned factor `gamma` of the result starts at 0, so the branch contributes nothing at first.

    Args:
        width: Channels C.
        center: Subtract the spatial mean of queries and keys first (the published DeepGlobe branch).
        scale: Factor of queries times keys.
        position: Gated positional embeddings, None for none.
    """

    def __init__(self, width: int, center: bool, scale: float, position: RelativePosition | None) -> None:
        super().__init__()
        self.center, self.scale = center, scale
        self.query, self.key = pointwise(width, width), pointwise(width, width)
        self.value = pointwise(width, width, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.position = position

    def forward(self, local: Tensor, context: Tensor, window: Tensor, grids: tuple[Grid, Grid]) -> Tensor:
        """Return the context as the patch attends to it, without adding `local` itself.

        No attention map over all pairs of cells is stored.

        Args:
            local: (B, C, H, W), features of the patch.
            context: (B, C, H, W), features of the context.
            window: (B or 1, 4), window of the context.
            grids: The (row, column) grids of the maps.

        Returns:
            (B, C, H, W).
        """
        value = self.value(context)
        q, k = self._tokens(local, context)
        v = value.flatten(2).mT
        # (B, 1, H * W, C). The fused kernels, which store no map of pairs, need contiguous channels.
        q, k, v = (x.contiguous()[:, None] for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        out = out[:, 0].mT.unflatten(2, local.shape[2:])
        if self.position is not None:
            gate = self.position.gate.sigmoid()
            out = gate * out + (1 - gate) * resample(value, *self.position.axes(window, grids))
        return self.gamma * out

    def attention(self, local: Tensor, context: Tensor, window: Tensor, grids: tuple[Grid, Grid]) -> Tensor:
        """Return the attention map M that `forward` applies.

        Args:
            local: (B, C, H, W), features of the patch.
            context: (B, C, H, W), features of the context.
            window: (B or 1, 4), window of the context.
            grids: The (row, column) grids of the maps.

        Returns:
            (B, H * W, H * W). Rows are cells of the patch and sum to 1, columns are cells of the context.
        """
        q, k = self._tokens(local, context)
        content = (self.scale * q @ k.mT).softmax(dim=-1)
        if self.position is None:
            return content
        gate = self.position.gate.sigmoid()
        rows, columns = self.position.axes(window, grids)
        pairs = torch.einsum("bij,bkl->bikjl", rows, columns).flatten(3).flatten(1, 2)
        return gate * content + (1 - gate) * pairs

    def _tokens(self, local: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries and keys, (B, H * W, C) each."""
        q, k = self.query(local).flatten(2), self.key(context).flatten(2)
        if self.center:
            q, k = q - q.mean(dim=2, keepdim=True), k - k.mean(dim=2, keepdim=True)
        return q.mT, k.mT


class CodeWeights(nn.Module):
    """Fusion weights as the published code computes them; the interface is that of `SqueezeWeights`.

    There is no bottleneck, and a sigmoid precedes the softmax, so the weights of three contexts stay within
    0.155..0.576.
    """

    def __init__(self, width: int, terms: Sequence[str]) -> None:
        super().__init__()
        self.enter = nn.ModuleDict({name: pointwise(width, width) for name in terms})
        self.mix = pointwise(len(terms) * width, len(terms) * width)
        self.leave = nn.ModuleDict({name: pointwise(width, width) for name in terms})

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Return the weights (T, B, C, H, W) of the features, as in `SqueezeWeights.forward`."""
        mixed = self.mix(torch.cat([layer(features[name]) for name, layer in self.enter.items()], dim=1))
        chunks = mixed.chunk(len(self.enter), dim=1)
        scores = [layer(chunk).sigmoid() for layer, chunk in zip(self.leave.values(), chunks, strict=True)]
        return torch.stack(scores).softmax(dim=0)


class SqueezeWeights(nn.Module):
    """Fusion weights of equation 3: T * C channels squeezed to C, back to T * C, softmax over T contexts."""

    def __init__(self, width: int, terms: Sequence[str]) -> None:
        super().__init__()
        self.squeeze = pointwise(len(terms) * width, width)
        self.expand = pointwise(width, len(terms) * width)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Weigh the contexts against each other.

        Args:
            features: Context -> correlated features (B, C, H, W).

        Returns:
            (T, B, C, H, W) in the order of `features`; the weights sum to 1 over T.
        """
        scores = self.expand(self.squeeze(torch.cat(list(features.values()), dim=1)))
        return torch.stack(scores.chunk(len(features), dim=1)).softmax(dim=0)


class LearnedWeights(nn.Module):
    """One learned weight for each context, the same everywhere ("weighted fusion", table 6)."""

    def __init__(self, width: int, terms: Sequence[str]) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(len(terms)))

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Return the weights (T, B, C, H, W) of the features, as in `SqueezeWeights.forward`."""
        weights = self.scores.softmax(dim=0)
        return torch.stack([w.expand_as(x) for w, x in zip(weights, features.values(), strict=True)])


class EqualWeights(nn.Module):
    """The same weight for every context ("averaging fusion", table 6)."""

    def __init__(self, width: int, terms: Sequence[str]) -> None:
        super().__init__()

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Return the weights (T, B, C, H, W) of the features, as in `SqueezeWeights.forward`."""
        return torch.stack([torch.full_like(x, 1 / len(features)) for x in features.values()])


_WEIGHTS = {
    "code": CodeWeights,
    "squeeze": SqueezeWeights,
    "average": EqualWeights,
    "weighted": LearnedWeights,
}


class ContextFusion(nn.Module):
    """LCF (equation 5): the patch correlated with every context, the results in a weighted sum (MCF)."""

    def __init__(self, spec: FCtLSpec, width: int) -> None:
        super().__init__()
        center = spec.branch == "deepglobe"
        self.correlate = nn.ModuleDict(
            {
                name: Correlation(
                    width, center, spec.qk_scale, RelativePosition(spec.geometry) if spec.gpe else None
                )
                for name in spec.terms
            }
        )
        self.weigh = _WEIGHTS[spec.mcf](width, spec.terms) if len(spec.terms) > 1 else None

    def forward(
        self, features: dict[str, Tensor], windows: dict[str, Tensor], grids: tuple[Grid, Grid]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Correlate the patch with every context and fuse the results.

        Args:
            features: "local" and every context -> its last map (B, C, H, W).
            windows: "local" and every context -> its window (B or 1, 4).
            grids: The (row, column) grids of the maps.

        Returns:
            The fused features (B, C, H, W), and the weight (B, C, H, W) of every context. A single context
            is returned as it is, with no weights.
        """
        local = features["local"]
        correlated: dict[str, Tensor] = {
            name: layer(local, features[name], windows[name], grids) for name, layer in self._correlations()
        }
        if self.weigh is None:
            return next(iter(correlated.values())), {}
        weights: Tensor = self.weigh(correlated)  # (T, B, C, H, W)
        fused = (weights * torch.stack(list(correlated.values()))).sum(dim=0)
        return fused, dict(zip(correlated, weights, strict=True))

    def attention(
        self, features: dict[str, Tensor], windows: dict[str, Tensor], grids: tuple[Grid, Grid]
    ) -> dict[str, Tensor]:
        """Return the attention maps of the patch.

        Args:
            features: As in `forward`.
            windows: As in `forward`.
            grids: As in `forward`.

        Returns:
            Context -> attention map (B, H * W, H * W), as `Correlation.attention`.
        """
        return {
            name: layer.attention(features["local"], features[name], windows[name], grids)
            for name, layer in self._correlations()
        }

    def _correlations(self) -> Iterator[tuple[str, Correlation]]:
        """Yield each context and its layer: `nn.ModuleDict` does not know the type of its values."""
        for name, layer in self.correlate.items():
            assert isinstance(layer, Correlation)
            yield name, layer
