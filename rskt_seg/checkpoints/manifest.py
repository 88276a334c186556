"""Weight files that the project can use: where each comes from, how it is recognised, its licence.

Facts, not guesses: what is not known is None in its row, and `unknown` gives the reason; `facts` names the
source of a row. No row has been checked against a download: `rskt_seg.checkpoints.fetch` compares files.

The rows here are those of pretrained encoders. Each method lists its own checkpoints in its record
(`Method.weights`); `rskt_seg.methods.manifest` returns both.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from rskt_seg.errors import WeightsNotFoundError

FOLDER = "pretrained"
"""Folder of the weight files in the configurations, relative to the working directory."""
MODEL_ROLE = "model"
"""Role of whole checkpoints. Every other role is that of an encoder."""


def config_key(role: str) -> str:
    """Return the configuration key that takes a file of this role."""
    return "MODEL.WEIGHTS" if role == MODEL_ROLE else f"MODEL.ENCODERS.{role.upper()}"


@dataclass(frozen=True)
class Weights:
    """One weight file.

    Attributes:
        name: Name in commands and messages: lower case letters, digits and hyphens.
        role: Encoder role that takes the file, such as "clip"; "model" for a whole checkpoint.
        file: File name below `FOLDER`.
        page: Web page about the file.
        facts: Source of what this row states.
        hub: Hub repository "ORGANISATION/NAME" that holds the file under the same name. Exactly one of
            `hub`, `url`, `by_hand` and `package` is given.
        url: Address of the file.
        by_hand: Instruction for getting the file from `page`.
        package: Package that the file was installed with, such as "rskt_seg.encoders".
        instead: Alternative to the file.
        sha256: 64 hexadecimal digits, or fewer if only the beginning is published; None if unknown.
        size: Bytes; None if unknown.
        licence: Licence; None if unknown.
        unknown: Field that is None -> reason.
        note: Further remarks.
        also: Further roles of encoders that take the file.
    """

    name: str
    role: str
    file: str
    page: str
    facts: str
    hub: str = ""
    url: str = ""
    by_hand: str = ""
    package: str = ""
    instead: str = ""
    sha256: str | None = None
    size: int | None = None
    licence: str | None = None
    unknown: Mapping[str, str] = field(default_factory=dict, hash=False)
    note: str = ""
    also: tuple[str, ...] = ()

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles that take the file, `role` first."""
        return (self.role, *self.also)

    @property
    def config_keys(self) -> tuple[str, ...]:
        """Configuration keys that take the file, that of `role` first."""
        return tuple(map(config_key, self.roles))

    @property
    def where(self) -> str:
        """Origin in a few words: the hub repository, the host, "this package", or "by hand"."""
        if self.hub:
            return f"hub: {self.hub}"
        if self.package:
            return "this package"
        return self.url.split("/")[2] if self.url else "by hand"

    def place(self, folder: str | os.PathLike[str] = FOLDER) -> Path:
        """Return where the file is, or has to be.

        Args:
            folder: Folder of the files that do not come with a package.

        Returns:
            The path; nothing need be there.
        """
        base = str(files(self.package)) if self.package else folder
        return Path(base, self.file)


NO_SIZE = "no source at hand states the number of bytes"
NO_DIGEST = "no source at hand states a digest"
NO_LICENCE = "none given"
"""Value of `Weights.licence` if the authors give no licence, which permits nothing."""
_NO_HUB_DIGEST = "no source at hand states one; a download is compared with the digest that the hub states"


def unknown_facts(
    sha256: str | None = None, size: str = NO_SIZE, licence: str | None = None
) -> dict[str, str]:
    """Return the value of `Weights.unknown` from the reasons why facts are unknown.

    Args:
        sha256: Why the digest is unknown; None: it is known.
        size: Why the number of bytes is unknown.
        licence: Why the licence is unknown; None: it is known.

    Returns:
        Name of each unknown fact -> reason.
    """
    reasons = {"sha256": sha256, "size": size, "licence": licence}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _openai(name: str, file: str, sha256: str, hub_name: str) -> Weights:
    return Weights(
        name,
        "clip",
        file,
        page="https://github.com/openai/CLIP",
        facts="open_clip 3.3.0 lists the address, whose folder is the digest",
        url=f"https://openaipublic.azureedge.net/clip/models/{sha256}/{file}",
        sha256=sha256,
        licence="MIT",
        unknown=unknown_facts(),
        instead=f"{config_key('clip')} {hub_name} needs no file: it takes the same weights from the hub",
        note="the licence is that of OpenAI's repository; timm lists its copy on the hub as Apache-2.0",
    )


def _meta(name: str, role: str, model: str, folder: str, note: str) -> Weights:
    family = folder.split("/", 1)[0]
    return Weights(
        name,
        role,
        f"{model}_pretrain.pth",
        page=f"https://github.com/facebookresearch/{family}",
        facts="timm 1.0.31 lists the address and the licence",
        url=f"https://dl.fbaipublicfiles.com/{folder}/{model}_pretrain.pth",
        licence="Apache-2.0",
        unknown=unknown_facts(NO_DIGEST),
        note=note,
    )


def _torchvision(
    name: str, role: str, file: str, mebibytes: float, note: str, also: tuple[str, ...] = ()
) -> Weights:
    return Weights(
        name,
        role,
        file,
        page="https://docs.pytorch.org/vision/stable/models.html",
        facts="torchvision 0.26.0 lists the address; the file name ends in the first 8 digits of the digest",
        url=f"https://download.pytorch.org/models/{file}",
        sha256=file.rsplit("-", 1)[1].removesuffix(".pth"),
        unknown=unknown_facts(
            size=f"torchvision states {mebibytes} MiB, not the number of bytes",
            licence="torchvision's code is BSD-3-Clause; for the weights it states no licence",
        ),
        note=note,
        also=also,
    )


def _mit(name: str, note: str = "") -> Weights:
    return Weights(
        name.replace("_", "-"),
        "local",
        f"{name}.pth",
        page="https://github.com/NVlabs/SegFormer",
        facts="the licence is that of the SegFormer repository; the address of the file was never at hand",
        by_hand=f"look for {name}.pth, pretrained on ImageNet-1K (not for a whole segmenter)",
        licence="NVIDIA Source Code License (non-commercial)",
        unknown=unknown_facts(NO_DIGEST),
        note=f"SegFormer backbone of patches and contexts. {note}".strip(),
    )


ENCODER_WEIGHTS: tuple[Weights, ...] = (
    _openai(
        "clip-vitb16",
        "ViT-B-16.pt",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        "ViT-B-16/openai",
    ),
    _openai(
        "clip-vitl14-336",
        "ViT-L-14-336px.pt",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        "ViT-L-14-336/openai",
    ),
    Weights(
        "remoteclip-vitb32",
        "remote_clip",
        "RemoteCLIP-ViT-B-32.pt",
        page="https://huggingface.co/chendelong/RemoteCLIP",
        facts="the repository and file name in the code of RemoteCLIP and of those who start from it",
        hub="chendelong/RemoteCLIP",
        unknown=unknown_facts(_NO_HUB_DIGEST, licence="see the page; no source at hand states it"),
        also=("clip",),
    ),
    Weights(
        "rs-dino",
        "dino",
        "RSIB.pth",
        page="https://github.com/yecy749/GSNet",
        facts="the published code that starts from the file; its address was never at hand",
        by_hand="look for RSIB.pth there (a DINO ViT-B/8 trained on aerial images)",
        licence=NO_LICENCE,
        unknown=unknown_facts(NO_DIGEST),
    ),
    _meta(
        "dino-vitb8",
        "dino",
        "dino_vitbase8",
        "dino/dino_vitbase8_pretrain",
        "DINO ViT-B/8 trained on natural images, for ablations of the one trained on aerial images",
    ),
    _meta("dinov2-vits14", "dinov2", "dinov2_vits14", "dinov2/dinov2_vits14", 'for dino="vits14"'),
    _meta("dinov2-vitb14", "dinov2", "dinov2_vitb14", "dinov2/dinov2_vitb14", 'for dino="vitb14"'),
    _torchvision(
        "convnext-base",
        "convnext",
        "convnext_base-6075fbad.pth",
        338.064,
        'ConvNeXt-B on ImageNet-1K (IMAGENET1K_V1), for encoder="convnextb"',
    ),
    _torchvision(
        "vgg16",
        "local",
        "vgg16-397923af.pth",
        527.796,
        'VGG16 on ImageNet-1K (IMAGENET1K_V1), for encoder="vgg16"',
        also=("medium", "large"),
    ),
    _mit("mit_b2", "The hub repository smp-hub/mit_b2.imagenet holds a copy in another layout"),
    _mit("mit_b5"),
)
"""Pretrained encoders."""


def by_name(name: str, rows: Sequence[Weights]) -> Weights:
    """Return the row with a name.

    Args:
        name: Name of the weights.
        rows: Rows of a manifest.

    Returns:
        The row.

    Raises:
        WeightsNotFoundError: No row has this name. The message names the nearest, or all of them.
    """
    names = [row.name for row in rows]
    if name in names:
        return rows[names.index(name)]
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
    raise WeightsNotFoundError(f"no weights are called {name!r}; {hint}")


def by_file(path: str | Path, rows: Iterable[Weights]) -> Weights | None:
    """Return the row of a file, in whatever folder it is.

    Args:
        path: A path; only its file name is compared.
        rows: Rows of a manifest.

    Returns:
        The first row of this file name; None if there is none.
    """
    return next((row for row in rows if row.file == Path(path).name), None)
