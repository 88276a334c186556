#!/usr/bin/env python
"""The orthophoto of docs/scenes.md, which is generated, and pictures of what `rskt-seg segment` made of it.

    python tools/scene_picture.py draw output/river/river.tif
    python tools/scene_picture.py show output/river/river.tif output/river/maps --output docs/images
    python tools/scene_picture.py compare output/river/river.tif output/river/maps output/river/whole \\
        --output docs/images

`draw` also writes a vocabulary with colours, and the true classes as a raster and as polygons. The pictures
take grids, colours and names from the results alone, as QGIS does.
"""

import argparse
import sys
from pathlib import Path

import matplotlib
import numpy as np
import rasterio
import shapely
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.path import Path as Outline
from PIL import Image
from rasterio.windows import Window

from rskt_seg.commands.entry import run
from rskt_seg.geo.polygons import write_polygons
from rskt_seg.legend import Legend
from rskt_seg.synthetic import MINIATURES, render_scene

PIXEL = 0.3
"""Side of a pixel, m."""
DETAIL = Window(700, 205, 256, 192)
"""Columns and rows of the detail that shows polygons."""
NO_DATA = 255
CLASSES = {
    "buildings": "#c8503c",
    "grass": "#7ab648",
    "bare soil": "#c9a26d",
    "water": "#3f7fbf",
    "ship": "#ffd23f",
    "trees": "#1f6b2f",
    "pavement": "#8c8c8c",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    draw = commands.add_parser("draw", help="write the orthophoto")
    draw.add_argument("scene", type=Path)
    draw.add_argument("--height", type=int, default=720, help="px (default 720)")
    draw.add_argument("--width", type=int, default=960, help="px (default 960)")
    draw.add_argument("--seed", type=int, default=68)
    draw.set_defaults(act=lambda args: draw_scene(args.scene, (args.height, args.width), args.seed))
    show = commands.add_parser("show", help="draw the orthophoto, its map, polygons and confidence")
    show.add_argument("scene", type=Path)
    show.add_argument("maps", type=Path, help="--output of rskt-seg segment")
    show.set_defaults(act=lambda args: show_maps(args.scene, args.maps / args.scene.stem, args.output))
    compare = commands.add_parser("compare", help="draw the truth and several maps, with their accuracy")
    compare.add_argument("scene", type=Path)
    compare.add_argument("maps", type=Path, nargs="+", help="--output of rskt-seg segment")
    compare.set_defaults(act=lambda args: compare_maps(args.scene, args.maps, args.output))
    for each in (show, compare):
        each.add_argument("--output", type=Path, required=True, help="folder of the pictures")
    return parser.parse_args()


def draw_scene(path: Path, size: tuple[int, int], seed: int) -> None:
    """Write an orthophoto with a slanted border without data, its truth, and a vocabulary."""
    row = MINIATURES["DLRSD"]
    scene = render_scene(np.random.default_rng([7, seed]), size, row.style, row.concepts)
    rows, columns = np.indices(size)
    outside = columns + rows / 5 < size[0] / 4
    pixels = np.maximum(scene.image, 1)  # 0 means no data
    pixels[outside] = 0
    numbers = np.full(256, NO_DATA, np.uint8)
    for number, name in enumerate(CLASSES):
        numbers[row.classes.index(name)] = number
    truth = np.where(outside, NO_DATA, numbers[row.labels(scene)])
    place = {
        "crs": "EPSG:32632",
        "transform": rasterio.Affine(PIXEL, 0, 411000, 0, -PIXEL, 5652000),
        "height": size[0],
        "width": size[1],
        "dtype": "uint8",
        "tiled": True,
        "compress": "deflate",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", driver="GTiff", count=3, nodata=0, photometric="RGB", **place) as file:
        file.write(pixels.transpose(2, 0, 1))
    with rasterio.open(truth_of(path), "w", driver="GTiff", count=1, nodata=NO_DATA, **place) as file:
        file.write(truth, 1)
    colors = np.rint(255 * to_rgba_array(list(CLASSES.values()))[:, :3]).astype(np.uint8)
    write_polygons(truth_of(path).with_suffix(".gpkg"), truth_of(path), Legend.of(tuple(CLASSES), colors))
    lines = ["name,color", *(f"{name},{color}" for name, color in CLASSES.items())]
    (path.parent / "classes.csv").write_text("\n".join(lines) + "\n")


def truth_of(scene: Path) -> Path:
    """The raster of the true classes of a scene, in a folder of its own."""
    folder = scene.parent / "truth"
    folder.mkdir(exist_ok=True)
    return folder / scene.name


def read_image(scene: Path) -> np.ndarray:
    """The orthophoto, (H, W, 4) uint8, transparent where it has no data."""
    with rasterio.open(scene) as file:
        return np.dstack([*file.read(), file.dataset_mask()])


def read_map(path: Path) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Ids (H, W), the colour of every id (256, 4) uint8, and id -> name: what the raster itself states."""
    with rasterio.open(path) as file:
        colors = np.array([file.colormap(1)[value] for value in range(256)], np.uint8)
        colors[int(file.nodata)] = 0
        tags = file.tags(1)
        names = {
            int(key.removeprefix("CLASS_")): name for key, name in tags.items() if key.startswith("CLASS_")
        }
        return file.read(1), colors, names


def show_maps(scene: Path, base: Path, output: Path) -> None:
    """Draw the results of a scene: image, map over it, polygons of a detail, confidence."""
    image = read_image(scene)
    ids, colors, names = read_map(base.with_name(f"{base.name}_ids.tif"))
    figure = Figure(figsize=(9.6, 7.7), layout="compressed")
    (first, second), (third, fourth) = figure.subplots(2, 2)
    panel(first, image, "orthophoto")
    panel(second, image, f"{base.name}_ids.tif over it, 60 % opaque")
    second.imshow(colors[ids], alpha=0.6, interpolation="nearest")
    legend(second, ids, colors, names)
    detail = image[DETAIL.toslices()]
    panel(third, detail, f"{base.name}_polygons.gpkg, a detail")
    with rasterio.open(scene) as file:
        draw_polygons(third, base.with_name(f"{base.name}_polygons.gpkg"), file.transform, colors)
    with rasterio.open(base.with_name(f"{base.name}_confidence.tif")) as file:
        shares = file.read(1, masked=True) * file.scales[0]
    panel(fourth, shares, f"{base.name}_confidence.tif: 0 black, 1 white", cmap="gray", vmin=0, vmax=1)
    save(figure, output / "scene_map.png")


def draw_polygons(axes: Axes, path: Path, transform: rasterio.Affine, colors: np.ndarray) -> None:
    """Draw the borders of polygons over the detail of their scene."""
    import pyogrio

    _, _, geometries, (classes, *_) = pyogrio.raw.read(path, layer=path.stem, columns=["class_id"])
    paths, shades = [], []
    for geometry, number in zip(shapely.from_wkb(geometries), classes, strict=True):
        rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(geometry)]
        pixels = [np.column_stack(~transform * ring.T) - (DETAIL.col_off, DETAIL.row_off) for ring in rings]
        paths.append(Outline.make_compound_path(*(Outline(ring - 0.5, closed=True) for ring in pixels)))
        shades.append(colors[number] / 255)
    axes.add_collection(PathCollection(paths, facecolors=shades, alpha=0.4))
    axes.add_collection(PathCollection(paths, facecolors="none", edgecolors="black", linewidths=1.2))
    axes.set(xlim=(-0.5, DETAIL.width - 0.5), ylim=(DETAIL.height - 0.5, -0.5))


def compare_maps(scene: Path, folders: list[Path], output: Path) -> None:
    """Draw image, truth and maps side by side, each map with the share of its pixels that are right."""
    image = read_image(scene)
    with rasterio.open(truth_of(scene)) as file:
        truth = file.read(1)
    maps = [read_map(folder / f"{scene.stem}_ids.tif") for folder in folders]
    _, colors, names = maps[0]
    rows = (len(maps) + 4) // 3
    figure = Figure(figsize=(9.6, 2.7 * rows), layout="compressed")
    axes = figure.subplots(rows, 3).ravel()
    panel(axes[0], image, "orthophoto")
    panel(axes[1], colors[truth], "truth")
    legend(axes[1], np.stack([truth, *(ids for ids, _, _ in maps)]), colors, names)
    for each, folder, (ids, own, _) in zip(axes[2:], folders, maps, strict=False):
        right = (ids == truth)[truth != NO_DATA].mean()
        panel(each, own[ids], f"{folder.name}: {right:.0%} of the pixels right")
    for each in axes[2 + len(maps) :]:
        each.axis("off")
    save(figure, output / "scene_windows.png")


def panel(axes: Axes, picture: np.ndarray, title: str, **options: object) -> None:
    """Show a picture under a title."""
    axes.imshow(picture, interpolation="nearest", **options)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)


def legend(axes: Axes, ids: np.ndarray, colors: np.ndarray, names: dict[int, str]) -> None:
    """List the classes that maps have on at least a thousandth of their pixels."""
    present = [number for number in names if (ids == number).mean() >= 0.001]
    patches = [Patch(color=colors[number] / 255, label=names[number]) for number in present]
    axes.legend(handles=patches, fontsize=7, loc="lower left", framealpha=0.9)


def save(figure: Figure, path: Path) -> None:
    """Save a figure as a PNG file of a small palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def main() -> None:
    args = arguments()
    matplotlib.use("agg")
    args.act(args)


if __name__ == "__main__":
    sys.exit(run(main))
