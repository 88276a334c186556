"""Contrastive pretraining of the tiny CLIP on captioned crops of synthetic aerial scenes.

    python tools/pretrain_tiny_clip.py --output rskt_seg/encoders/tiny_clip.safetensors

Writes the weights (fp16) and their SHA-256 beside them, and prints the zero-shot figures on scenes that
were not trained on. docs/tiny_clip.md says what the result is and is not. Shapes: B crop or cell, N name.
"""

import argparse
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from rskt_seg.data.catalog import DLRSD
from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.presets import CLIP_PIXEL_MEAN, CLIP_PIXEL_STD, CLIP_TINY
from rskt_seg.encoders.text import Tokenizer, build_tokenizer, cut_padding, vocabulary_size
from rskt_seg.synthetic import CONCEPTS, INDEX, MINIATURES, NAMES, Scene, render_scene

TEMPLATES = (
    "A photo of a {} in the scene",
    "a satellite photo of a {}",
    "an aerial image of the {}",
    "an aerial photo with a {}",
    "{} seen from above",
    "the {} in an overhead view",
)
"""Captions; the first one is the prompt of the method."""
SCENE_SIDE, CROP, WIDE = 144, 32, 96
PATCH = CLIP_TINY.vision.patch_size
_HELD_OUT = 10_000_019
"""Added to the seed of training scenes for those that are only evaluated."""
_SHARE_TRUE, _SHARE_CELL = 0.04, 0.3
_TRUE = np.zeros((len(CONCEPTS), len(NAMES)), bool)
for _column, _concepts in enumerate(NAMES.values()):
    _TRUE[[INDEX[c] for c in _concepts], _column] = True


@dataclass(frozen=True)
class Batch:
    """`images` (B, 3, S, S) normalised; `positive` and `masked` (B, N) bool: names of what a crop (or a
    cell) shows, and names that are true of something else in it and therefore count neither way. `cells`
    (B, 2) long: image and token of each row where rows are cells, None where they are whole crops."""

    images: Tensor
    positive: Tensor
    masked: Tensor
    cells: Tensor | None = None


class ScenePool:
    """Rendered scenes, and for each concept the scenes that show at least `least` px of it."""

    def __init__(self, count: int, seed: int, least: int = 12) -> None:
        progress = tqdm(range(count), desc="drawing scenes", unit="scene")
        self.scenes = [render_scene(np.random.default_rng([seed, i]), SCENE_SIDE) for i in progress]
        present = np.array([np.bincount(s.concept_map.ravel(), minlength=len(CONCEPTS)) for s in self.scenes])
        self.holders = [np.flatnonzero(column >= least) for column in present.T]
        if poor := [name for name, holders in zip(CONCEPTS, self.holders, strict=True) if holders.size == 0]:
            raise SystemExit(f"no scene shows {poor}: draw more scenes than {count}")

    def window(self, rng: np.random.Generator, side: float) -> tuple[Scene, int, tuple[int, int, int, int]]:
        """A scene, a concept drawn evenly from all, and a square (left, top, right, bottom) of about
        `side` px around one of its pixels, moved inside the scene."""
        concept = int(rng.integers(len(CONCEPTS)))
        scene = self.scenes[rng.choice(self.holders[concept])]
        pixels = np.flatnonzero(scene.concept_map == concept)
        y, x = divmod(int(pixels[rng.integers(pixels.size)]), SCENE_SIDE)
        side = min(round(side), SCENE_SIDE)
        left, top = (min(max(v - side // 2, 0), SCENE_SIDE - side) for v in (x, y))
        return scene, concept, (left, top, left + side, top + side)


def cut(scene: Scene, box: tuple[int, int, int, int], side: int, turn: int) -> tuple[np.ndarray, np.ndarray]:
    """The square `box` at `side` px, turned by one of the eight flips and rotations: image and concepts."""
    image = np.asarray(Image.fromarray(scene.image).resize((side, side), Image.Resampling.BILINEAR, box=box))
    left, top, right, _ = box
    grid = ((np.arange(side) + 0.5) * (right - left) / side).astype(int)
    concepts = scene.concept_map[np.ix_(top + grid, left + grid)]
    image, concepts = np.rot90(image, turn % 4), np.rot90(concepts, turn % 4)
    return (image[:, ::-1], concepts[:, ::-1]) if turn >= 4 else (image, concepts)


def normalise(images: list[np.ndarray]) -> Tensor:
    """(H, W, 3) uint8 arrays -> (B, 3, H, W) float32, as CLIP expects."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_PIXEL_MEAN, CLIP_PIXEL_STD))
    return (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() - mean) / std


def names_of(focus: np.ndarray, shares: np.ndarray, least: float) -> tuple[Tensor, Tensor]:
    """(positive, masked), each (B, N) bool, of focal concepts (B,) among area shares (B, concepts)."""
    positive = _TRUE[focus]
    masked = ((shares > least).astype(int) @ _TRUE.astype(int) > 0) & ~positive
    return torch.from_numpy(positive), torch.from_numpy(masked)


def crops(pool: ScenePool, rng: np.random.Generator, count: int) -> Batch:
    """Crops of 0.6 to 1.6 times 32 px, balanced over concepts and centred on a pixel of theirs."""
    images, focus, shares = [], [], []
    for _ in range(count):
        scene, concept, box = pool.window(rng, CROP * rng.uniform(0.6, 1.6))
        image, concepts = cut(scene, box, CROP, int(rng.integers(8)))
        images.append(image)
        focus.append(concept)
        shares.append(np.bincount(concepts.ravel(), minlength=len(CONCEPTS)) / concepts.size)
    return Batch(normalise(images), *names_of(np.array(focus), np.array(shares), _SHARE_TRUE))


def cells(pool: ScenePool, rng: np.random.Generator, count: int, per_image: int) -> Batch:
    """Captioned cells of 96 px crops: `per_image` tokens of each, balanced over the concepts it shows."""
    images, rows, focus, shares = [], [], [], []
    for index in range(count):
        scene, _, box = pool.window(rng, WIDE * rng.uniform(0.7, 1.3))
        image, concepts = cut(scene, box, WIDE, int(rng.integers(8)))
        images.append(image)
        share = cell_shares(concepts)
        seen = np.flatnonzero((share > _SHARE_CELL).any(axis=0))
        for concept in rng.choice(seen, per_image):
            token = rng.choice(np.flatnonzero(share[:, concept] > _SHARE_CELL))
            rows.append((index, token))
            focus.append(concept)
            shares.append(share[token])
    names = names_of(np.array(focus), np.array(shares), _SHARE_CELL)
    return Batch(normalise(images), *names, torch.tensor(np.array(rows)))


def cell_shares(concepts: np.ndarray) -> np.ndarray:
    """Concept map (S, S) -> share of each concept in each token's patch, (tokens, concepts)."""
    grid = concepts.shape[0] // PATCH
    token = np.arange(concepts.shape[0]) // PATCH
    flat = (token[:, None] * grid + token[None, :]) * len(CONCEPTS) + concepts
    counts = np.bincount(flat.ravel(), minlength=grid * grid * len(CONCEPTS))
    return counts.reshape(grid * grid, len(CONCEPTS)) / PATCH**2


def contrast(images: Tensor, texts: Tensor, scale: Tensor, batch: Batch) -> Tensor:
    """Symmetric cross-entropy of image embeddings (B, E) and name embeddings (N, E), both of unit length.

    Each row's probability is shared evenly by its positives, masked pairs are left out; so is the text
    side of names that the batch does not show.
    """
    logits = (scale * images @ texts.T).masked_fill(batch.masked, -1e4)
    target = batch.positive.float()
    shown = target.any(dim=0)
    forward = -(target * logits.log_softmax(dim=1)).sum(1) / target.sum(1)
    backward = -(target * logits.log_softmax(dim=0)).sum(0)[shown] / target.sum(0)[shown]
    return 0.5 * (forward.mean() + backward.mean())


def random_captions(rng: np.random.Generator) -> list[str]:
    """One caption for each name, its template drawn at random."""
    return [TEMPLATES[rng.integers(len(TEMPLATES))].format(name) for name in NAMES]


def optimisers(model: CLIP, muon_lr: float, adam_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the transformer blocks, AdamW for everything else."""
    blocks = [(n, p) for n, p in model.named_parameters() if "resblocks" in n and p.ndim == 2]
    inner = {n for n, _ in blocks}
    rest = [p for n, p in model.named_parameters() if n not in inner]
    muon = torch.optim.Muon(
        [p for _, p in blocks], lr=muon_lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, torch.optim.AdamW(rest, lr=adam_lr, weight_decay=0.01, betas=(0.9, 0.98))]


def dense_rows(model: CLIP, batch: Batch) -> Tensor:
    """Dense embeddings of the captioned cells, (B, E)."""
    tokens = model.visual.dense(batch.images).final.flatten(2)
    return tokens[batch.cells[:, 0], :, batch.cells[:, 1]]


def train(model: CLIP, tokenize: Tokenizer, pool: ScenePool, args: argparse.Namespace) -> None:
    rng = np.random.default_rng([args.seed, 1])
    optims = optimisers(model, args.muon_lr, args.adam_lr)
    warmup = max(1, args.iterations // 30)
    progress = tqdm(range(args.iterations), desc="pretraining", unit="it")
    for step in progress:
        factor = min((step + 1) / warmup, 0.5 + 0.5 * np.cos(np.pi * step / args.iterations))
        for optim, rate in zip(optims, (args.muon_lr, args.adam_lr), strict=True):
            optim.param_groups[0]["lr"] = rate * factor
        texts = F.normalize(model.encode_text(cut_padding(tokenize(random_captions(rng)))), dim=-1)
        scale = model.logit_scale.exp().clamp(max=100)
        whole = crops(pool, rng, args.batch)
        loss = contrast(F.normalize(model.visual.pool(whole.images), dim=-1), texts, scale, whole)
        if args.dense_weight:
            wide = cells(pool, rng, args.wide_batch, args.cells)
            dense = contrast(F.normalize(dense_rows(model, wide), dim=-1), texts, scale, wide)
            loss = loss + args.dense_weight * dense
        for optim in optims:
            optim.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            optim.step()
        progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)


@torch.inference_mode()
def evaluate(model: CLIP, tokenize: Tokenizer, pool: ScenePool, seed: int, count: int) -> dict[str, float]:
    """Zero-shot figures in percent: 20 `count` crops of the scenes of `pool`, `count` scenes densely.

    `crop_accuracy_names`: the best of all N names is true of the focal concept; `crop_accuracy_concepts`:
    the best of one name per concept is that concept's; `dense_miou_dlrsd`: per-pixel argmax of the dense
    cosine map over the 17 DLRSD names on 96 px scenes in the style of the miniature DLRSD.
    """
    names = list(NAMES)
    tokens = {name: cut_padding(tokenize([TEMPLATES[0].format(name)])) for name in names}
    embed = {name: F.normalize(model.encode_text(tokens[name]), dim=-1)[0] for name in names}
    batch = crops(pool, np.random.default_rng(seed), count * 20)
    images = torch.cat([model.visual.pool(part) for part in batch.images.split(256)])
    over_names = (images @ torch.stack([embed[n] for n in names]).T).argmax(1)
    own = torch.stack([embed[c] for c in CONCEPTS])
    columns = [names.index(c) for c in CONCEPTS]
    over_concepts = torch.tensor(columns)[(images @ own.T).argmax(1)]
    rows = torch.arange(len(images))
    return {
        "crop_accuracy_names": 100 * batch.positive[rows, over_names].float().mean().item(),
        "crop_accuracy_concepts": 100 * batch.positive[rows, over_concepts].float().mean().item(),
        **dense_scores(model, torch.stack([embed[n] for n in DLRSD.names]), seed, count),
    }


def dense_scores(model: CLIP, texts: Tensor, seed: int, count: int) -> dict[str, float]:
    """mIoU and pixel accuracy (percent) of the dense cosine map on the miniature DLRSD, and IoU per class."""
    row = MINIATURES["DLRSD"]
    table, size = row.label_table(), len(DLRSD.names)
    confusion = np.zeros((size, size), np.int64)
    for index in range(count):
        rng = np.random.default_rng([seed + 2 * _HELD_OUT, index])
        scene = render_scene(rng, WIDE, row.style, row.concepts)
        features = F.normalize(model.visual.dense(normalise([scene.image])).final, dim=1)
        cosine = torch.einsum("behw,te->bthw", features, texts)
        guess = F.interpolate(cosine, size=(WIDE, WIDE), mode="bilinear").argmax(1)[0].numpy()
        truth = table[scene.concept_map]
        confusion += np.bincount((truth.astype(int) * size + guess).ravel(), minlength=size**2).reshape(
            size, size
        )
    hit = np.diag(confusion)
    iou = 100 * hit / np.maximum(confusion.sum(0) + confusion.sum(1) - hit, 1)
    scores = {
        "dense_miou_dlrsd": float(iou.mean()),
        "dense_pixel_accuracy": float(100 * hit.sum() / confusion.sum()),
    }
    return scores | {f"iou {name}": float(v) for name, v in zip(DLRSD.names, iou, strict=True)}


def save(model: CLIP, path: Path, description: dict[str, str]) -> str:
    """Write the weights in fp16 and the digest beside them; returns the digest."""
    tensors = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, path, metadata=description)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".sha256").write_text(f"{digest}  {path.name}\n", encoding="utf-8")
    return digest


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="file to write, .safetensors")
    parser.add_argument("--iterations", type=int, default=4200)
    parser.add_argument("--scenes", type=int, default=4000, help="scenes to draw for training")
    parser.add_argument("--eval-scenes", type=int, default=200)
    parser.add_argument("--batch", type=int, default=64, help="crops of 32 px a step")
    parser.add_argument("--wide-batch", type=int, default=8, help="crops of 96 px a step")
    parser.add_argument("--cells", type=int, default=24, help="captioned cells of each 96 px crop")
    parser.add_argument("--dense-weight", type=float, default=0.0, help="over 0: captioned cells as well")
    parser.add_argument("--muon-lr", type=float, default=5e-3)
    parser.add_argument("--adam-lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = CLIP(CLIP_TINY, vocabulary_size(CLIP_TINY.text))
    tokenize = build_tokenizer(CLIP_TINY.text)
    start = time.process_time()
    train(model, tokenize, ScenePool(args.scenes, args.seed), args)
    seconds = time.process_time() - start
    model.eval().half().float()
    held_out = ScenePool(4 * args.eval_scenes, args.seed + _HELD_OUT)
    scores = evaluate(model, tokenize, held_out, args.seed, args.eval_scenes)
    description = {"seed": str(args.seed), "iterations": str(args.iterations), "scenes": str(args.scenes)}
    digest = save(model, args.output, description)
    size = args.output.stat().st_size
    print(json.dumps({"cpu_seconds": round(seconds), "bytes": size, "sha256": digest} | scores, indent=1))


if __name__ == "__main__":
    main()
