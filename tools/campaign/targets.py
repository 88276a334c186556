"""The table of files that are damaged."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from campaign.children import Call
from campaign.judging import Results, checkpoint_entries, read_results
from campaign.material import NAMES, Material, own_dataset, tiny_tree
from campaign.mutants import Target
from campaign.mutators import BYTES, TEXTS, TREES

# Images: segmented.


def _scene(material: Material) -> Image.Image:
    return Image.open(material.images[0]).crop((0, 0, 64, 56))


def _write_image(material: Material, folder: Path, name: str) -> None:
    image, path = _scene(material), folder / name
    match path.stem:
        case "gray16":
            deep = np.asarray(image.convert("L")).astype(np.uint16) * 201
            Image.fromarray(deep).save(path)
        case "palette":
            image.quantize(64).save(path)
        case "gray":
            image.convert("L").save(path)
        case "alpha":
            image.putalpha(Image.linear_gradient("L").resize(image.size))
            image.save(path)
        case "deflate16" | "lzw" | "geo":
            _write_tiff(np.asarray(image), path)
        case _:
            image.save(path)


def _write_tiff(pixels: np.ndarray, path: Path) -> None:
    import rasterio
    from rasterio.transform import Affine

    values = pixels.transpose(2, 0, 1)
    options: dict[str, object] = {"compress": "lzw", "tiled": True, "blockxsize": 16, "blockysize": 16}
    if path.stem == "deflate16":
        values, options = values.astype(np.uint16) * 11, {"compress": "deflate", "predictor": 2}
    elif path.stem == "geo":
        options = {"crs": "EPSG:32632", "transform": Affine(0.5, 0, 300000, 0, -0.5, 5600000), "nodata": 0}
    count, height, width = values.shape
    shape = {"count": count, "height": height, "width": width, "dtype": values.dtype.name}
    with rasterio.open(path, "w", driver="GTiff", **shape, **options) as dataset:
        dataset.write(values)


_IMAGES = (
    "rgb.png",
    "gray16.png",
    "palette.png",
    "gray.png",
    "alpha.png",
    "photo.jpg",
    "deflate16.tif",
    "lzw.tif",
    "geo.tif",
    "plain.tif",
    "picture.bmp",
    "picture.webp",
    "picture.gif",
)


def _image(name: str) -> Target:
    lay_out = partial(_write_image, name=name)
    return Target("image", name, lay_out, lambda m: m.segment("out", [name]), BYTES)


# Masks, dataset descriptions and image-level labels: checked, then read as training reads them.


def _own(_material: Material, folder: Path, name: str = "") -> None:
    own_dataset(folder)
    match name:
        case "labels/b.tif":
            Image.open(folder / "labels/b.png").save(folder / name, compression="tiff_adobe_deflate")
        case "labels/a.png":
            image = Image.open(folder / name)
            image.putpalette([0, 200, 0, 200, 0, 0, 90, 90, 90])
            image.save(folder / name)
    if name.endswith(".tif"):
        (folder / "labels/b.png").unlink()


def _checked(material: Material) -> Call:
    """Check the dataset and, if it is clean, note what a training would read."""

    def call() -> int:
        status = material.check("own.yaml", "report.json")() or 0
        Path("out").mkdir()
        shutil.copy("report.json", "out") if Path("report.json").exists() else None
        if status:
            return status
        from rskt_seg.data.image_labels import split_image_labels
        from rskt_seg.data.labels import read_label
        from rskt_seg.data.own import read_own

        seen = {}
        for split in read_own("own.yaml"):
            seen[split.name] = [str(split.class_set), split.ignore_label, *split.stems]
            if split.image_labels:
                seen[split.name].append(str(split_image_labels(split, "")))
            for path in sorted(Path(split.labels).iterdir()) if split.labels else ():
                np.save(f"out/{path.stem}.npy", read_label(path))
        Path("out/seen.json").write_text(json.dumps(seen))
        return 0

    return call


def _without_paths(folder: Path) -> Results:
    """Return the results, in which the folder of the try, another in each, has one name."""
    found = read_results(folder / "out")
    return {name: content.replace(str(folder).encode(), b"FOLDER") for name, content in found.items()}


def _mask(name: str) -> Target:
    return Target("mask", name, partial(_own, name=name), _checked, BYTES, _without_paths)


def _description(name: str, mutators: tuple) -> Target:
    return Target("own-data", name, _own, _checked, mutators, _without_paths)


# Vocabularies: segmented with.

_VOCABULARIES = {
    "plain.txt": "building\nroad\ntree\nwater\n",
    "synonyms.txt": "building, house, roof\nroad\ntree, forest\nwater, lake\n",
    "list.json": '["building", "road", "tree", "water"]',
    "brackets.txt": "['building', 'road', 'tree']",
    "map.txt": "# label:color_rgb:parts:actions\nbuilding:200,0,0::\nroad:0,200,0::\nwater:0,0,200::\n",
}


def _vocabulary(name: str) -> Target:
    def lay_out(material: Material, folder: Path) -> None:
        (folder / name).write_text(_VOCABULARIES[name])
        _scene(material).resize((32, 32)).save(folder / "rgb.png")

    mutators = TREES if name.endswith(".json") else TEXTS
    return Target("vocabulary", name, lay_out, lambda m: m.segment("out", ["rgb.png"], name), mutators)


# Configurations: a training is checked as far as its first process.


def _write_config(_material: Material, folder: Path) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump(tiny_tree()))


def _checked_run(material: Material) -> Call:
    def call() -> int:
        import rskt_seg.d2.launch as launching
        from rskt_seg.d2 import load_config

        def note(_main: object, run: object, _device: str) -> None:
            cfg = load_config(run.args.config_file, run.args.opts)
            Path("out").mkdir(exist_ok=True)
            Path("out/found.yaml").write_text(cfg.dump())

        launching.launch = note
        return material.train_from("config.yaml", "OUTPUT_DIR", "out")() or 0

    return call


# Weights: segmented with, or converted.


def _copy(material: Material, folder: Path, source: str) -> None:
    shutil.copy(material.root / source, folder / Path(source).name)
    _scene(material).resize((32, 32)).save(folder / "rgb.png")


def _tensors(folder: Path) -> Results:
    """Return a converted file without its metadata, which names the file that it was made of."""
    path = folder / "out" / "made.safetensors"
    if not path.exists():
        return {}
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header.pop("__metadata__", None)
    return {"header": json.dumps(header, sort_keys=True).encode(), "data": content[end:]}


def _segmented_by(source: str) -> Target:
    name = Path(source).name

    def call(material: Material) -> Call:
        return material.segment("out", ["rgb.png"], NAMES, name)

    return Target("weights", name, partial(_copy, source=source), call, BYTES)


def _converted(source: str) -> Target:
    name = Path(source).name

    def call(material: Material) -> Call:
        return material.convert(name, "out/made.safetensors")

    return Target("weights", name, partial(_copy, source=source), call, BYTES, _tensors)


# Downloads: prepared.


def _prepared(folder: Path) -> Results:
    """Return the prepared set and its manifest; the journal is for the next run alone."""
    return {name: content for name, content in _without_paths(folder).items() if not name.endswith(".jsonl")}


def _write_download(material: Material, folder: Path) -> None:
    shutil.copy(material.download, folder)


def _write_volumes(material: Material, folder: Path) -> None:
    content = material.download.read_bytes()
    (folder / "UDD.zip.001").write_bytes(content[: len(content) // 2])
    (folder / "UDD.zip.002").write_bytes(content[len(content) // 2 :])


# States of runs that are continued: nothing that happens to them may change a result.


def _benchmark(folder: Path) -> Results:
    return read_results(folder / "out", "benchmark*", "inference/*_seg.json")


def final_model(folder: Path) -> Results:
    """Return what a training ends with: every entry of its last checkpoint, and the scores."""
    return {
        **checkpoint_entries(folder / "out" / "model_final.pth"),
        **read_results(folder / "out", "inference/*_seg.json"),
    }


def _state(
    file: str, source: str, call: Callable[[Material], Call], read: Callable[[Path], Results]
) -> Target:
    def lay_out(material: Material, folder: Path) -> None:
        shutil.copytree(material.root / source, folder / "out")
        for finished in (
            "model_0000002.pth",
            "model_0000003.pth",
            "model_final.pth",
        ):  # it stopped after two steps
            (folder / "out" / finished).unlink(missing_ok=True)
        if (folder / "out" / "last_checkpoint").exists():
            (folder / "out" / "last_checkpoint").write_text("model_0000001.pth")

    mutators = TREES if file.endswith(".json") else TEXTS
    return Target("state", f"out/{file}", lay_out, call, mutators, read, is_state=True)


TARGETS: dict[str, list[Target]] = {
    "image": [_image(name) for name in _IMAGES],
    "mask": [_mask(name) for name in ("labels/a.png", "labels/b.png", "labels/b.tif")],
    "own-data": [
        _description("own.yaml", TREES),
        _description("own.yaml", TREES),
        _description("labels.csv", TEXTS),
        _description("list.txt", TEXTS),
    ],
    "vocabulary": [_vocabulary(name) for name in _VOCABULARIES],
    "configuration": [Target("configuration", "config.yaml", _write_config, _checked_run, TREES)],
    "weights": [
        _segmented_by("model.pth"),
        _segmented_by("model.safetensors"),
        _converted("encoder.pt"),
        _converted("encoder.pth"),
    ],
    "download": [
        Target(
            "download", "UDD.zip", _write_download, lambda m: m.prepare("out", "UDD.zip"), BYTES, _prepared
        ),
        Target(
            "download",
            "UDD.zip.001",
            _write_volumes,
            lambda m: m.prepare("out", "UDD.zip.001"),
            BYTES,
            _prepared,
        ),
    ],
    "state": [
        _state("inference/DLRSD_val_sem_seg.counts.json", "eval", lambda m: m.evaluate("out"), _benchmark),
        _state("inference/UDD5_all_sem_seg.json", "eval", lambda m: m.evaluate("out"), _benchmark),
        _state("model_0000001.pth", "train", lambda m: m.train("out", resume=True), final_model),
        _state("last_checkpoint", "train", lambda m: m.train("out", resume=True), final_model),
        _state("UDD5/prepare.jsonl", "prepared", lambda m: m.prepare("out"), _prepared),
    ],
}
"""Kind -> the files that are damaged, one after the other."""
