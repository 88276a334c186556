"""Two upsampling stages guided by CLIP, RemoteCLIP and DINO (RS-Transfer, equation 8), and the head.

Shapes: N = B * t images times classes, C channel, G guidance channel, H W grid.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.layers.containers import ModuleListOf
from rskt_seg.layers.inference_form import FormBuilder, HasInferenceForm, InPrecision


class Guide(HasInferenceForm):
    """One encoder's tapped map brought to a stage's resolution and width: ReLU(project(side(x)))."""

    def __init__(self, side: nn.Module, channels: int, out: int) -> None:
        super().__init__()
        self.side = side
        self.project = nn.Conv2d(channels, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Resize and project a tapped map, (B, W, h, w) -> (B, G, H, W)."""
        return F.relu(self.project(self.side(x)))

    def inference_form(self, builder: FormBuilder) -> nn.Module:
        """See `HasInferenceForm`."""
        children = {name: InPrecision(child, builder.dtype) for name, child in self.named_children()}
        return builder.copy(self, **children)


class Guides(ModuleListOf[Guide]):
    """Guides of one encoder, one for each upsampling stage."""

    def forward(self, taps: Sequence[Tensor]) -> list[Tensor]:
        """Guide every stage by a tapped map of its own, (B, W, h, w) each -> (B, G, H, W) each."""
        return [guide(tap) for guide, tap in zip(self, taps, strict=True)]


def clip_guides(width: int, dim: int) -> Guides:
    """Build the guides of a CLIP tower, whose taps are on the grid of the cost volume: x2, x4.

    Args:
        width: Channels of the taps.
        dim: Channels C of the cost embedding.

    Returns:
        The guides of the two upsampling stages, one tap each.
    """
    return Guides(
        [
            Guide(nn.ConvTranspose2d(width, 2 * dim, 2, stride=2), 2 * dim, dim // 4),
            Guide(nn.ConvTranspose2d(width, dim, 4, stride=4), dim, dim // 8),
        ]
    )


def dino_guides(width: int, dim: int) -> Guides:
    """Build the guides of a DINO, whose taps are on twice the grid of the cost volume: x1, x2.

    Args:
        width: Channels of the taps.
        dim: Channels C of the cost embedding.

    Returns:
        The guides of the two upsampling stages, one tap each.
    """
    return Guides(
        [
            Guide(nn.Conv2d(width, 2 * dim, 1), 2 * dim, dim // 4),
            Guide(nn.ConvTranspose2d(width, dim, 2, stride=2), dim, dim // 8),
        ]
    )


class UpsampleStage(HasInferenceForm):
    """Upsampling by 2: transposed convolution, then two 3x3 convolutions with GroupNorm and ReLU.

    The first convolution sees the guidance beside the upsampled cost. The guidance channels are convolved
    once per image and added to every class, which equals convolving the concatenation [upsampled cost;
    guidance] of the published code up to rounding.
    """

    def __init__(self, inputs: int, outputs: int, guidance_dim: int, guides: int) -> None:
        super().__init__()
        self.raised = inputs - guidance_dim
        groups = max(outputs // 16, 1)
        self.up = nn.ConvTranspose2d(inputs, self.raised, 2, stride=2)
        self.conv1 = nn.Conv2d(self.raised + guides * guidance_dim, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, outputs)

    def convolve_guidance(self, guides: Sequence[Tensor]) -> Tensor:
        """Apply the first convolution to the guidance channels.

        Args:
            guides: Maps (B, G, H, W) in the order CLIP, RemoteCLIP, DINO.

        Returns:
            (B, C, H, W).
        """
        return F.conv2d(torch.cat(list(guides), dim=1), self.conv1.weight[:, self.raised :], padding=1)

    def raise_cost(self, x: Tensor) -> Tensor:
        """Upsample cost maps and apply the first convolution to them, (N, C, h, w) -> (N, C', 2h, 2w)."""
        raised = self.up(x)  # (N, C - G, 2h, 2w)
        return F.conv2d(raised, self.conv1.weight[:, : self.raised], padding=1)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Upsample the maps of a few classes.

        Args:
            x: (B, t, C, h, w).
            guidance: Convolved guidance (B, C', 2h, 2w), see `convolve_guidance`.

        Returns:
            (B, t, C', 2h, 2w).
        """
        cost = self.raise_cost(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        mixed = F.relu(self.norm1((cost + guidance[:, None]).flatten(0, 1)))
        return F.relu(self.norm2(self.conv2(mixed))).unflatten(0, x.shape[:2])

    def inference_form(self, builder: FormBuilder) -> nn.Module:
        """See `HasInferenceForm`."""
        return _ComposedStage(self, builder)


class _ComposedStage(UpsampleStage):
    """`UpsampleStage` whose transposed convolution and first 3x3 convolution are one.

    Nothing stands between the two: each of the 2 x 2 phases of the result is a 2x2 convolution of the coarse
    map. The bias of the transposed convolution, constant but for the border, is one more guidance channel.
    """

    phases: Tensor
    guiding: Tensor

    def __init__(self, stage: UpsampleStage, builder: FormBuilder) -> None:
        nn.Module.__init__(self)
        assert stage.up.bias is not None
        first = stage.conv1.weight.detach()
        cost, guidance = first[:, : stage.raised], first[:, stage.raised :]
        bias = torch.einsum("orhw,r->ohw", cost, stage.up.bias.detach())[:, None]
        phases = compose_phases(stage.up.weight.detach(), cost)
        for name, weight in (("phases", phases), ("guiding", torch.cat([guidance, bias], dim=1))):
            weight = weight.to(builder.dtype, memory_format=torch.channels_last)
            self.register_buffer(name, weight, persistent=False)
        self.add_module("up", InPrecision(stage.up, torch.float32))  # for means of all classes alone
        for name in ("norm1", "conv2", "norm2"):
            self.add_module(name, InPrecision(stage.get_submodule(name), builder.dtype))

    def convolve_guidance(self, guides: Sequence[Tensor]) -> Tensor:
        """See `UpsampleStage.convolve_guidance`; the result has its channels last in memory."""
        ones = torch.ones_like(guides[0][:, :1])
        maps = torch.cat([*guides, ones], dim=1).to(self.guiding.dtype, memory_format=torch.channels_last)
        return F.conv2d(maps, self.guiding, padding=1)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """See `UpsampleStage.forward`; the result has its channels last in memory."""
        (b, t, _, h, w), outputs = x.shape, len(self.phases) // 4
        maps = x.flatten(0, 1).to(self.phases.dtype, memory_format=torch.channels_last)
        phases = F.conv2d(maps, self.phases, padding=1).unflatten(1, (2, 2, outputs)).unflatten(0, (b, t))
        mixed = phases.new_empty(b, t, 2 * h, 2 * w, outputs).permute(0, 1, 4, 2, 3)  # (B, t, C', 2h, 2w)
        for row in range(2):
            for column in range(2):
                part = phases[:, :, row, column, :, row : row + h, column : column + w]
                mixed[..., row::2, column::2] = part + guidance[:, None, :, row::2, column::2]
        mixed = self.conv2(F.relu_(self.norm1(mixed.flatten(0, 1))))
        return F.relu_(self.norm2(mixed)).unflatten(0, (b, t))


def compose_phases(up: Tensor, conv: Tensor) -> Tensor:
    """Compose a transposed 2x2 convolution of stride 2 with the 3x3 convolution behind it.

    Output row 2 i + p of the 3x3 convolution reads rows 2 i + p + d - 1 of the raised map, d = 0, 1, 2, which
    come from rows i + a of the coarse map with a in {p - 1, p}; columns likewise.

    Args:
        up: Weight (I, R, 2, 2) of the transposed convolution.
        conv: Weight (O, R, 3, 3) of the convolution with padding 1.

    Returns:
        Weight (4 O, I, 2, 2), outputs grouped by the phase (row, column): with padding 1, phase (p, q) of the
        result is its part from (p, q) on.
    """
    composed = conv.new_zeros(2, 2, len(conv), len(up), 2, 2)
    taps = [(p, d, *divmod(p + d - 1, 2)) for p in range(2) for d in range(3)]  # phase, tap, a, row of `up`
    for p, d, a, of_up in taps:
        for q, e, b, also in taps:
            product = torch.einsum("or,ir->oi", conv[:, :, d, e], up[:, :, of_up, also])
            composed[p, q, :, :, a + 1 - p, b + 1 - q] += product
    return composed.flatten(0, 2)


class Decoder(HasInferenceForm):
    """Two upsampling stages and a 3x3 head."""

    def __init__(self, dim: int, guides: int, chunk: int) -> None:
        super().__init__()
        self.chunk = chunk
        self.stages: ModuleListOf[UpsampleStage] = ModuleListOf(
            [
                UpsampleStage(dim, dim // 2, dim // 4, guides),
                UpsampleStage(dim // 2, dim // 4, dim // 8, guides),
            ]
        )
        self.head = nn.Conv2d(dim // 4, 1, 3, padding=1)

    def forward(self, x: Tensor, guides: Sequence[Sequence[Tensor]]) -> Tensor:
        """Decode a cost embedding, a few classes at a time.

        Args:
            x: (B, T, C, h, w).
            guides: Entry j: the guidance maps (B, G, H, W) of stage j.

        Returns:
            Logits (B, T, 4h, 4w).
        """
        guidance = [stage.convolve_guidance(maps) for stage, maps in zip(self.stages, guides, strict=True)]
        return torch.cat([self._decode(part, guidance) for part in x.split(self.chunk, dim=1)], dim=1)

    def _decode(self, x: Tensor, guidance: Sequence[Tensor]) -> Tensor:
        """Decode (B, t, C, h, w) with the convolved guidance of every stage, (B, t, 4h, 4w)."""
        for stage, maps in zip(self.stages, guidance, strict=True):
            x = stage(x, maps)
        return self.predict(x)

    def predict(self, x: Tensor) -> Tensor:
        """Apply the head to the output of the last stage, (B, t, C, H, W) -> logits (B, t, H, W)."""
        return self.head(x.flatten(0, 1)).squeeze(1).unflatten(0, x.shape[:2])

    def inference_form(self, builder: FormBuilder) -> nn.Module:
        """See `HasInferenceForm`; the head computes logits in float32."""
        form = builder.copy(self, head=InPrecision(self.head, torch.float32))
        form.chunk = max(1, self.chunk // 2)  # whose maps of the second stage stay in cache
        return form
