"""Whether a form computes what the plain form does; without this no time is worth anything."""

from dataclasses import dataclass

from torch import Tensor

from rskt_seg.errors import RSKTSegError

MOST_ABSOLUTE = 2e-5
"""Greatest difference of a logit in fp32."""
MOST_RELATIVE = 1.5e-2
"""Greatest relative L2 distance of the logits in bf16."""
_MARGIN = 10 * MOST_RELATIVE
"""Margin between the two highest logits, in standard deviations of the logits, from which bf16 must keep the
label. A bound by the error that was found would hold by itself: a label can only change within twice that."""


class UnequalError(RSKTSegError):
    """A form computes something else than the plain one."""


@dataclass(frozen=True)
class Equality:
    """How far a form is from the plain one.

    Attributes:
        form: Label of the form.
        precision: Its precision.
        classes: Number of classes.
        max_abs: Greatest difference of a logit.
        relative_l2: L2 distance of the logits by the L2 norm of the plain ones.
        changed: Share of the pixels with another label; with random weights classes are nearly alike, so
            that it says little.
        flipped: Number of pixels with another label although the plain margin is clear.
    """

    form: str
    precision: str
    classes: int
    max_abs: float
    relative_l2: float
    changed: float
    flipped: int

    @property
    def holds(self) -> bool:
        """Whether the form is equal within the bounds of its precision; NaN is not."""
        if self.precision == "fp32":
            return self.max_abs <= MOST_ABSOLUTE
        return self.relative_l2 <= MOST_RELATIVE and not self.flipped

    def require(self, advice: str = "") -> None:
        """Raise `UnequalError` unless it holds; `advice` ends the message."""
        if not self.holds:
            bound = (
                f"a difference of at most {MOST_ABSOLUTE:g}"
                if self.precision == "fp32"
                else f"a relative L2 distance of at most {MOST_RELATIVE:g} and no clear label changed"
            )
            raise UnequalError(
                f"{self.form} differs from the plain form with {self.classes} classes: expected {bound}; "
                f"found a difference of {self.max_abs:.3g}, a relative distance of {self.relative_l2:.3g} "
                f"and {self.flipped} clear labels changed. No time is given for another computation"
                + (f"; {advice}" if advice else "")
            )


def compare(form: str, precision: str, plain: Tensor, found: Tensor) -> Equality:
    """Compare logits with those of the plain form.

    Args:
        form: Label of the form.
        precision: Its precision.
        plain: Logits (B, T, H, W) of the plain form.
        found: Those of the form.

    Returns:
        How far they are apart.
    """
    plain, found = plain.double(), found.double()
    difference = found - plain
    top = plain.topk(min(2, plain.shape[1]), dim=1).values
    clear = (top[:, 0] - top[:, -1]) > _MARGIN * plain.std()
    changed = plain.argmax(dim=1) != found.argmax(dim=1)
    return Equality(
        form,
        precision,
        plain.shape[1],
        float(difference.abs().max()),
        float(difference.norm() / plain.norm()),
        float(changed.double().mean()),
        int((changed & clear).sum()),
    )
