"""Every weight file that the project can use: where it comes from, how it is recognised, its licence.

A table of facts, not of guesses: what is not known here is absent from its row, and `unknown` says why.
`facts` names what each row was taken from. No row was checked against a download: comparing a file with
its row is the business of `rskt_seg.checkpoints.fetch`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from rskt_seg.errors import WeightsNotFoundError

FOLDER = "pretrained"
"""The folder that the configurations look into, relative to where they are run."""
KEYS = {
    "clip": "MODEL.ENCODERS.CLIP",
    "remote_clip": "MODEL.ENCODERS.REMOTE_CLIP",
    "dino": "MODEL.ENCODERS.DINO",
    "dinov2": "MODEL.ENCODERS.DINOV2",
    "model": "MODEL.WEIGHTS",
    "convnext": "MODEL.ENCODERS.CONVNEXT",
    "local": "MODEL.ENCODERS.LOCAL",
}
"""Role -> the configuration key that takes such a file."""


@dataclass(frozen=True)
class Weights:
    """One weight file.

    `role`: a key of `KEYS`. `file`: its name below `FOLDER`. `page`: where a person finds it. `hub`: the hub
    repository "ORGANISATION/NAME" that holds it under the same name; `url`: its address; where both are
    empty, `by_hand` says what to do on the page. `instead`: what else will do. `sha256`: 64 hexadecimal
    digits, fewer where only the beginning is published, None if unknown. `size`: bytes, None if unknown.
    `licence`: None if unknown. `unknown`: the field that is None -> the reason. `facts`: what the row was
    taken from.
    """

    name: str
    role: str
    file: str
    page: str
    facts: str
    hub: str = ""
    url: str = ""
    by_hand: str = ""
    instead: str = ""
    sha256: str | None = None
    size: int | None = None
    licence: str | None = None
    unknown: Mapping[str, str] = field(default_factory=dict, hash=False)
    note: str = ""

    @property
    def where(self) -> str:
        """The source in a few words: the hub repository, the host, or "by hand"."""
        if self.hub:
            return f"hub: {self.hub}"
        return self.url.split("/")[2] if self.url else "by hand"


_NO_SIZE = "no source at hand states the number of bytes"
_NO_DIGEST = "no source at hand states a digest"
_HF_STATES = "no source at hand states one; a download is held to the one that the hub states"
_RSKT = "the published code and its reproduction script; the files themselves were never at hand"
_NO_LICENCE = "none given"


def _unknown(sha256: str | None = None, size: str = _NO_SIZE, licence: str | None = None) -> dict[str, str]:
    reasons = {"sha256": sha256, "size": size, "licence": licence}
    return {key: reason for key, reason in reasons.items() if reason is not None}


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
        unknown=_unknown(),
        instead=f"MODEL.ENCODERS.CLIP {hub_name} needs no file: it takes the same weights from the hub",
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
        unknown=_unknown(_NO_DIGEST),
        note=note,
    )


def _torchvision(name: str, role: str, file: str, mebibytes: float, note: str) -> Weights:
    return Weights(
        name,
        role,
        file,
        page="https://docs.pytorch.org/vision/stable/models.html",
        facts="torchvision 0.26.0 lists the address; the file name ends in the first 8 digits of the digest",
        url=f"https://download.pytorch.org/models/{file}",
        sha256=file.rsplit("-", 1)[1].removesuffix(".pth"),
        unknown=_unknown(
            size=f"torchvision states {mebibytes} MiB, not the number of bytes",
            licence="torchvision's code is BSD-3-Clause; for the weights it states no licence",
        ),
        note=note,
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
        unknown=_unknown(_NO_DIGEST),
        note=f"SegFormer backbone of FCtL. {note}".strip(),
    )


def _rskt(encoder: str, data: str, label: str, model: str, note: str = "") -> Weights:
    return Weights(
        f"rskt-{encoder}-{data}",
        "model",
        f"rskt_{encoder}_{data}.pth",
        page="https://github.com/LiBingyu01/RSKT-Seg",
        facts=_RSKT,
        by_hand=f"take the model_final.pth of {label}",
        licence=_NO_LICENCE,
        unknown=_unknown(_NO_DIGEST),
        note=f"configs/ovrsis/{encoder}_{data}.yaml, or create_model({model}). {note}".strip(),
    )


def _fctl(data: str, branch: str) -> Weights:
    return Weights(
        f"fctl-{data}",
        "model",
        f"fctl_{data}.pth",
        page=f"https://github.com/liqiokkk/FCtL/tree/{branch}",
        facts="a reading of the published code; whether a trained checkpoint is offered there is not known",
        by_hand="take the checkpoint of the last stage (all) if one is offered, or ask the authors",
        unknown=_unknown(_NO_DIGEST, licence="no source at hand states it"),
        note="This project has no model for it yet",
    )


MANIFEST: tuple[Weights, ...] = (
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
        facts="the repository and file name that the published RSKT-Seg and RemoteCLIP use",
        hub="chendelong/RemoteCLIP",
        unknown=_unknown(_HF_STATES, licence="see the page; no source at hand states it"),
    ),
    Weights(
        "rs-dino",
        "dino",
        "RSIB.pth",
        page="https://github.com/yecy749/GSNet",
        facts="the published RSKT-Seg, which uses the file; its address was never at hand",
        by_hand="look for RSIB.pth there (a DINO ViT-B/8 trained on aerial images)",
        licence=_NO_LICENCE,
        unknown=_unknown(_NO_DIGEST),
    ),
    _meta(
        "dino-vitb8",
        "dino",
        "dino_vitbase8",
        "dino/dino_vitbase8_pretrain",
        "the natural-image DINO of the paper's table 3 (configs/ovrsis/ablations.yaml:table3_*ndino*)",
    ),
    _meta(
        "dinov2-vits14",
        "dinov2",
        "dinov2_vits14",
        "dinov2/dinov2_vits14",
        "the smaller DINOv2 of the weakly supervised method, counted in its paper's table 4 "
        '(configs/wsss/vits_*.yaml, dino="vits14")',
    ),
    _meta(
        "dinov2-vitb14",
        "dinov2",
        "dinov2_vitb14",
        "dinov2/dinov2_vitb14",
        'the DINOv2 of the weakly supervised method (configs/wsss/vitb_*.yaml, dino="vitb14")',
    ),
    _torchvision(
        "convnext-base",
        "convnext",
        "convnext_base-6075fbad.pth",
        338.064,
        "ConvNeXt-B on ImageNet-1K (IMAGENET1K_V1), the encoder of BiCoR-Seg",
    ),
    _torchvision(
        "vgg16",
        "local",
        "vgg16-397923af.pth",
        527.796,
        "VGG16 on ImageNet-1K (IMAGENET1K_V1), the encoder of FCtL",
    ),
    _mit("mit_b2", "The hub repository smp-hub/mit_b2.imagenet holds a copy in another layout"),
    _mit("mit_b5"),
    _rskt("vitb", "dlrsd", "ViT-B/16 trained on DLRSD", '"rskt_vitb16", num_layers=5'),
    _rskt("vitb", "isaid", "ViT-B/16 trained on iSAID", '"rskt_vitb16", num_layers=3'),
    _rskt(
        "vitl",
        "dlrsd",
        "ViT-L/14@336px trained on DLRSD",
        '"rskt_vitl14", num_layers=5',
        "Its authors say that the weights of the paper were lost and trained again",
    ),
    _rskt("vitl", "isaid", "ViT-L/14@336px trained on iSAID", '"rskt_vitl14", num_layers=2'),
    Weights(
        "bicor",
        "model",
        "bicor.ckpt",
        page="https://github.com/ShiJinghao566/BiCoR-Seg",
        facts="a reading of the repository as of December 2025",
        by_hand="look whether a checkpoint is offered by now (none was in December 2025), or ask the authors",
        unknown=_unknown(
            "no checkpoint is published", "no checkpoint is published", "no source at hand states it"
        ),
        note="This project has no model for it yet",
    ),
    _fctl("inria", "main"),
    _fctl("deepglobe", "Deepglobe"),
)
"""Every row, in the order in which `rskt-seg weights list` prints them."""


def by_name(name: str, rows: Sequence[Weights] = MANIFEST) -> Weights:
    """The row of a name. Raises `WeightsNotFoundError` that names the nearest, or all of them."""
    names = [row.name for row in rows]
    if name in names:
        return rows[names.index(name)]
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
    raise WeightsNotFoundError(f"no weights are called {name!r}; {hint}")


def by_file(path: str | Path, rows: Sequence[Weights] = MANIFEST) -> Weights | None:
    """The row whose file has the name of `path`, in whatever folder it lies; None if there is none."""
    return next((row for row in rows if row.file == Path(path).name), None)


def fetch_command(path: str | Path) -> str | None:
    """The command that puts a file of the manifest at `path`; None for a file it does not know."""
    row = by_file(path)
    if row is None:
        return None
    folder = Path(path).parent
    return f"rskt-seg weights fetch {row.name}" + ("" if folder == Path(FOLDER) else f" --to {folder}")
