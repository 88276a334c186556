#!/usr/bin/env python
"""Write the tables of docs/model_zoo.md from the records of the methods.

    python tools/model_zoo.py

A test compares the page with them, so that a model or a licence that changes is told there.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from rskt_seg.methods import Method, NamedModel
from rskt_seg.methods.builtin import BUILTIN

PAGE = Path(__file__).resolve().parents[1] / "docs/model_zoo.md"
PARITY = {
    "rskt": "logits, windows and a training step equal recorded outputs of the published code",
    "catseg": "logits, windows and a training step equal recorded outputs of the published code",
    "ovrs": "logits, windows and a training step equal recorded outputs of the published code, with ViT-B",
    "gsnet": "logits, windows and a training step equal recorded outputs of the published code, with ViT-B",
    "clip_zeroshot": "logits and labels equal recorded outputs of the published code, without its upsampler",
    "bicor": "every step, the training objective and test-time augmentation equal recorded outputs of the "
    "published code",
    "fctl": "patches, whole images and contexts equal recorded outputs of the published code; positional "
    "embeddings and ALE, which it lacks, equal the equations",
    "wsss": "each step equals the equations of the paper in float64: no code is public",
}
"""Method -> what of it is verified (docs/verification.md)."""


def main() -> None:
    PAGE.write_text(with_tables(PAGE.read_text(), BUILTIN))


def with_tables(page: str, methods: Sequence[Method]) -> str:
    """Return the page with the tables as the records have them.

    Args:
        page: The page as it is.
        methods: The methods.

    Returns:
        The page; all but its tables stays.
    """
    named = [(method, model) for method in methods for model in method.models]
    tables = {
        "models": table(MODEL_COLUMNS, (model_row(*each) for each in named)),
        "methods": table(METHOD_COLUMNS, map(method_row, methods)),
    }
    for name, rows in tables.items():
        before, start, rest = page.partition(f"<!-- {name}: tools/model_zoo.py -->\n")
        _, end, after = rest.partition("<!-- end -->")
        page = f"{before}{start}\n{rows}\n{end}{after}"
    return page


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


MODEL_COLUMNS = ("name", "method", "configuration", "weights", "licence", "verified of the file", "for")


def model_row(method: Method, model: NamedModel) -> Sequence[str]:
    """Return the cells of a model that is used by name."""
    weights = model.weights
    how = "in the package" if weights.package else "by hand" if weights.by_hand else "fetched"
    page = re.sub("^docs/", "", weights.page)
    if weights.package:
        verified = "digest, loading, figures on generated scenes"
    elif weights.sha256:
        verified = f"nothing but its digest, `{weights.sha256[:8]}...`: not at hand"
    else:
        verified = "nothing: not at hand, no digest known"
    return (
        f"`{model.name}`",
        method.title,
        f"[`{model.config}`](../configs/{model.config})",
        f"[{how}]({page})",
        weights.licence or "unknown",
        verified,
        model.purpose,
    )


METHOD_COLUMNS = ("method", "presets", "learns from", "verified of the method")


def method_row(method: Method) -> Sequence[str]:
    """Return the cells of a method."""
    learns = {"masks": "masks", "image labels": "image-level labels", "none": "nothing"}[method.supervision]
    return (method.title, ", ".join(f"`{name}`" for name in method.presets), learns, PARITY[method.name])


if __name__ == "__main__":
    main()
