"""TPE (equations 1 to 4) as the model makes it, and what is kept of it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rskt_seg.models.wsss.prototypes import cluster_texts, enrich_texts
from rskt_seg.models.wsss.text import ReadOnce, describe_classes, encode_class_texts
from tests.models.test_wsss import build


def told(model, texts):
    """Embeddings of unit length, one text after the other."""
    return torch.cat([F.normalize(model.clip.encode_text(model.tokenizer([text]))) for text in texts])


def test_without_enrichment_a_text_is_the_filled_prompt_at_unit_length():
    model = build(tpe=False, template="A photo of a {} in the scene")
    names = describe_classes(model.spec, model.foreground).names
    expected = told(model, [f"A photo of a {name} in the scene" for name in names])
    torch.testing.assert_close(model.text_enriched, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.text_enriched.norm(dim=1), torch.ones(3))


def test_enrichment_clusters_every_description_of_every_class():
    names = ("ship", "plane", "harbor", "bridge")
    model = build(names, clusters=6, topk=2, text_weight=0.5, restarts=2)
    plain = build(names, tpe=False)
    lines = describe_classes(model.spec, model.foreground).descriptions
    assert len(lines) == 80
    centroids = cluster_texts(told(model, lines), 6, 2)
    expected = enrich_texts(plain.text_enriched, centroids, 2, 0.5).texts
    torch.testing.assert_close(model.text_enriched, expected, rtol=1e-3, atol=1e-4)


def test_texts_are_kept_and_read_again(tmp_path):
    model = build(encode=False)
    model.encode_classes(tmp_path / "new")
    first, (file,) = model.text_enriched.clone(), (tmp_path / "new").iterdir()
    assert np.array_equal(np.load(file), first.numpy())
    np.save(file, np.full(first.shape, 7, np.float32))
    model.encode_classes(tmp_path / "new")
    assert (model.text_enriched == 7).all()


@pytest.mark.parametrize(
    "change",
    [
        {"template": "a satellite photo of a {}"},
        {"clusters": 5},
        {"topk": 1},
        {"text_weight": 0.5},
        {"restarts": 1},
        {"names": ("ship", "harbor", "plane")},
        {"names": ("ship", "plane")},
        {"seed": 1},
    ],
    ids=str,
)
def test_what_was_kept_for_other_options_classes_or_weights_is_not_taken_up(tmp_path, change):
    build(encode=False).encode_classes(tmp_path)
    names = change.pop("names", ("ship", "plane", "harbor"))
    other = build(names, encode=False, **change)
    other.encode_classes(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    described = describe_classes(other.spec, other.foreground)
    fresh = encode_class_texts(other.clip, other.tokenizer, other.spec, described)
    assert torch.equal(other.text_enriched, fresh)


def test_texts_by_name_alone_are_not_kept(tmp_path):
    model = build(encode=False, tpe=False)
    model.encode_classes(tmp_path)
    assert not list(tmp_path.iterdir()) and model.text_enriched.any()


def test_the_image_tower_does_not_count_for_what_was_kept(tmp_path):
    model = build(encode=False)
    model.encode_classes(tmp_path)
    model.clip.visual.proj.data += 1
    model.encode_classes(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_whether_a_tensor_has_values_is_read_again_after_every_change():
    read, tensor = ReadOnce(), torch.zeros(3)
    assert not read.has_values(tensor)
    tensor[1] = 2
    assert read.has_values(tensor) and read.has_values(tensor)
    assert not read.has_values(torch.zeros(3))
    assert not read.has_values(tensor.zero_())
    with torch.inference_mode():
        assert read.has_values(torch.ones(3)) and not read.has_values(torch.zeros(3))
