"""COCO and LabelMe files, against pycocotools' own decoder and the centres of pixels."""

import json

import numpy as np
import pytest
import shapely
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from rskt_seg.errors import DatasetError
from tests.data.own_preparation.sources import colors_of, only_labels, prepare, write_description, write_png

SIZE = (40, 50)
TRIANGLE = [3.0, 4.0, 44.5, 9.0, 20.0, 36.0]
SQUARE = [10.0, 10.0, 25.0, 10.0, 25.0, 25.0, 10.0, 25.0]


def write_coco(folder, annotations, categories=("house", "field", "cloud"), images=None, **keys):
    for name in ("a", "b"):
        write_png(folder / f"images/{name}.png", colors_of(1, *SIZE))
    tree = {
        "images": images
        or [{"id": 7, "file_name": "a.png", "height": 40, "width": 50}, {"id": 9, "file_name": "b.png"}],
        "categories": [{"id": 10 * k, "name": name} for k, name in enumerate(categories, start=1)],
        "annotations": [
            {"id": k, "image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0,
             "area": 1, "bbox": [0, 0, 1, 1]}
            for k, (image, category, segmentation) in enumerate(annotations, start=1)
        ],
    }  # fmt: skip
    path = folder / "coco.json"
    path.write_text(json.dumps(tree | keys))
    return path


def coco_labels(folder, allow_missing=False, **labels):
    keys = {"form": "coco", "path": "coco.json", "background": "field"} | labels
    path = write_description(folder, labels={k: v for k, v in keys.items() if v is not None})
    return only_labels(prepare(path, folder / "out", allow_missing=allow_missing, overwrite=True))


def refusal(work, *args, **keys):
    with pytest.raises(DatasetError) as error:
        work(*args, **keys)
    assert "\n" not in str(error.value)
    return str(error.value)


def random_mask(seed):
    return np.kron(np.random.default_rng(seed).integers(0, 2, (8, 10), np.uint8), np.ones((5, 5), np.uint8))


def test_polygons_and_run_lengths_are_drawn_as_pycocotools_decodes_them(tmp_path):
    stored = coco_mask.encode(np.asfortranarray(random_mask(1)))
    compressed = {"size": list(SIZE), "counts": stored["counts"].decode()}
    flat = random_mask(2).ravel(order="F")
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[2], flat, [2]]))))
    counts = ([0] if flat[0] else []) + runs.tolist()
    path = write_coco(
        tmp_path,
        [(7, 10, [TRIANGLE, SQUARE]), (9, 10, compressed), (9, 30, {"size": list(SIZE), "counts": counts})],
    )
    found = coco_labels(tmp_path, ignore=["cloud"])
    tree = COCO(str(path))
    for name, image in (("a", 7), ("b", 9)):
        tree.imgs[image] |= {"height": SIZE[0], "width": SIZE[1]}
        expected = np.zeros(SIZE, np.uint8)
        for number in (1, 255):
            for each in tree.loadAnns(tree.getAnnIds(imgIds=image)):
                if {10: 1, 30: 255}[each["category_id"]] == number:
                    expected[tree.annToMask(each) > 0] = number
        assert (found[name] == expected).all()
    assert (found["b"] == np.where(random_mask(2) > 0, 255, random_mask(1))).all()


def test_the_class_that_is_listed_first_wins(tmp_path):
    write_coco(tmp_path, [(7, 10, [SQUARE]), (7, 20, [TRIANGLE])])
    inside = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([SQUARE], *SIZE))) > 0
    house_first = coco_labels(tmp_path, background=None, priority=["house", "field"])["a"]
    assert (house_first[inside] == 1).all() and set(np.unique(house_first)) == {0, 1, 255}
    other = coco_masks_of(TRIANGLE)
    field_first = coco_labels(tmp_path, background=None)["a"]
    assert (field_first[other] == 0).all() and (field_first[inside & ~other] == 1).all()


def coco_masks_of(ring):
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([ring], *SIZE))) > 0


def test_images_are_found_by_their_name_and_folders(tmp_path):
    for place in ("t1/x.png", "t2/x.png"):
        write_png(tmp_path / place, colors_of(1, *SIZE))
    images = [{"id": 7, "file_name": "t1/x.png"}, {"id": 9, "file_name": "t2/x.png"}]
    write_coco(tmp_path, [(9, 10, [SQUARE])], images=images)
    keys = {"form": "coco", "path": "coco.json", "background": "field"}
    path = write_description(tmp_path, images="t*/*.png", labels=keys)
    found = only_labels(prepare(path, tmp_path / "out"))
    assert (found["t1_x"] == 0).all() and (found["t2_x"] == coco_masks_of(SQUARE)).all()
    write_coco(tmp_path, [(7, 10, [SQUARE])], images=[{"id": 7, "file_name": "x.png"}])
    assert "tell them apart" in refusal(prepare, path, tmp_path / "out2")


def test_every_coco_file_that_cannot_be_right_is_one_line(tmp_path):
    square = [(7, 10, [SQUARE])]
    write_coco(tmp_path, square, categories=[])
    assert "found no categories" in refusal(coco_labels, tmp_path)
    write_coco(tmp_path, square, categories=("hause", "field"))
    assert "values of no class: 'hause' (1); is 'hause' 'house'?" in refusal(coco_labels, tmp_path)
    write_coco(tmp_path, square, images=[{"id": 7, "file_name": "a.png", "height": 50, "width": 40}])
    assert "1 image without a label" in refusal(coco_labels, tmp_path)
    assert "stated as 50 x 40 but is 40 x 50" in refusal(coco_labels, tmp_path, allow_missing=True)
    write_coco(tmp_path, square, images=[{"id": ord(k) - 90, "file_name": f"{k}.png"} for k in "abc"])
    assert "1 label without an image: c.png" in refusal(coco_labels, tmp_path)
    for wrong in ([[1, 2, 3]], [], {"size": [2, 2], "counts": [4]}, {"size": [40, 50], "counts": [4]}, "x"):
        write_coco(tmp_path, [(7, 10, wrong)])
        assert "neither polygons nor a run-length" in refusal(coco_labels, tmp_path)
    assert "expected one COCO file of all images" in refusal(coco_labels, tmp_path, path="images")
    write_coco(tmp_path, [(7, 50, [SQUARE])])
    assert "expected a COCO file" in refusal(coco_labels, tmp_path)
    write_coco(tmp_path, [])
    assert "found no annotations" in refusal(coco_labels, tmp_path)
    write_coco(tmp_path, [*square, ("7", 10, [SQUARE])])
    assert "by image_id: '7'; the ids of images are such as 7" in refusal(coco_labels, tmp_path)
    write_coco(tmp_path, square, images=[{"id": 7, "file_name": "a.png"}, {"file_name": "b.png"}])
    assert "an image, annotation or category lacks or misses 'id'" in refusal(coco_labels, tmp_path)
    write_coco(tmp_path, square, images=[{"id": 7, "file_name": f"{k}.png"} for k in "ab"])
    assert "several images have the id 7" in refusal(coco_labels, tmp_path)
    write_coco(tmp_path, square)
    tree = json.loads((tmp_path / "coco.json").read_text())
    tree["categories"].append({"id": 10, "name": "field"})
    (tmp_path / "coco.json").write_text(json.dumps(tree))
    assert "several categories have the id 10" in refusal(coco_labels, tmp_path)
    write_coco(tmp_path, [(7, 10, [[x + 50 for x in SQUARE]])])
    assert "reach over x 60..75 and y 60..75, the image over 0..50 and" in refusal(coco_labels, tmp_path)
    write_coco(tmp_path, [(7, 10, [[x + 50 for x in SQUARE]]), (7, 10, [SQUARE])])
    assert coco_labels(tmp_path)["a"].any()
    (tmp_path / "coco.json").write_text("{")
    assert "is not valid JSON" in refusal(coco_labels, tmp_path)


def write_labelme(folder, shapes, **keys):
    write_png(folder / "images/a.png", colors_of(1, *SIZE))
    tree = {
        "shapes": [{"label": label, "shape_type": kind, "points": points} for label, kind, points in shapes],
        "imageHeight": 40,
        "imageWidth": 50,
    }
    (folder / "json").mkdir(exist_ok=True)
    (folder / "json/a.json").write_text(json.dumps(tree | keys))


def labelme_labels(folder, **labels):
    keys = {"form": "labelme", "path": "json"} | labels
    return only_labels(prepare(write_description(folder, labels=keys), folder / "out", overwrite=True))["a"]


def test_labelme_shapes_hold_the_centres_of_pixels_inside(tmp_path):
    shapes = [
        ("field", "polygon", np.reshape(TRIANGLE, (-1, 2)).tolist()),
        ("house", "rectangle", [[5.0, 30.0], [18.0, 12.0]]),
        ("cloud", "circle", [[30.0, 15.0], [35.0, 15.0]]),
    ]
    write_labelme(tmp_path, shapes)
    outlines = [
        shapely.box(5, 12, 18, 30),
        shapely.Polygon(shapes[0][2]),
        shapely.Point(30, 15).buffer(5, 16),
    ]
    rows, columns = np.indices(SIZE)
    centres = shapely.points(columns + 0.5, rows + 0.5)
    expected = np.full(SIZE, 255)
    for outline, number in zip(outlines, (1, 0, 255), strict=True):
        expected[shapely.contains(outline, centres)] = number
    found = labelme_labels(tmp_path, ignore=["cloud"])
    assert (found == expected).all() and set(np.unique(found)) == {0, 1, 255}


def test_every_labelme_file_that_cannot_be_right_is_one_line(tmp_path):
    write_labelme(tmp_path, [("hose", "polygon", np.reshape(SQUARE, (-1, 2)).tolist())])
    assert "is 'hose' 'house'?" in refusal(labelme_labels, tmp_path)
    write_labelme(tmp_path, [("house", "line", [[1, 2], [3, 4]])])
    assert "found a line of 2 points" in refusal(labelme_labels, tmp_path)
    write_labelme(tmp_path, [("house", "rectangle", [[5, 40], [9, 60]])])
    assert "nothing of what is drawn lies on a.png" in refusal(labelme_labels, tmp_path)
    write_labelme(tmp_path, [], imageWidth=51)
    assert "stated as 40 x 51 but is 40 x 50" in refusal(labelme_labels, tmp_path)
    (tmp_path / "json/a.json").write_text("[]")
    assert "expected a JSON object" in refusal(labelme_labels, tmp_path)
