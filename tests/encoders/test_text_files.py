"""Embeddings on disk are those of the encoder to the last bit, or they are not used."""

import logging
import os

import pytest
import torch

from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.presets import ClipPreset, TextPreset, VisionPreset
from rskt_seg.encoders.text import TextBank, build_tokenizer
from rskt_seg.encoders.text_files import TextFiles, default_folder, encoder_digest
from rskt_seg.layers.inference_form import FormBuilder, packing_pays

SMALL = ClipPreset(16, VisionPreset(16, 8, 64, 1, 1), TextPreset(64, 1, 1))
NAMES, TEMPLATES = ("tree", "bare soil"), ("a {}", "a photo of a {}")


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return CLIP(SMALL).eval().requires_grad_(False)


@pytest.fixture
def embed(tmp_path):
    """Embed names in a bank that knows nothing but the folder, as another process would."""

    def embed(clip, names=NAMES, templates=TEMPLATES, folder=tmp_path, most_bytes=1 << 20):
        calls, encode = [], type(clip).encode_text
        clip.encode_text = lambda tokens: (calls.append(1), encode(clip, tokens))[1]
        bank = TextBank(build_tokenizer(SMALL.text), templates, TextFiles(folder, most_bytes))
        try:
            with torch.inference_mode():
                return bank(clip, names), bool(calls)
        finally:
            del clip.encode_text

    return embed


def test_another_process_finds_the_same_bits_without_encoding(clip, embed, tmp_path):
    first, encoded = embed(clip)
    again, encoded_again = embed(clip)
    assert encoded and not encoded_again
    assert torch.equal(first, again) and first.dtype == again.dtype and again.shape == (2, 2, 16)
    assert len(list(tmp_path.iterdir())) == 1


def test_whatever_the_embeddings_depend_on_is_part_of_the_question(clip, embed, tmp_path):
    torch.manual_seed(1)
    embed(clip)
    assert embed(clip, names=NAMES[::-1])[1] and embed(clip, names=("Tree", "bare soil"))[1]
    assert embed(clip, templates=TEMPLATES[::-1])[1] and embed(clip, templates=TEMPLATES[:1])[1]
    assert embed(CLIP(SMALL).eval().requires_grad_(False))[1]
    with torch.autocast("cpu", torch.bfloat16):
        assert embed(clip)[1]
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert embed(clip)[1], "rounding can depend on the number of threads"
    finally:
        torch.set_num_threads(threads)
    assert not embed(clip)[1] and len(list(tmp_path.iterdir())) == 8


@pytest.mark.parametrize("packed", [False, True])
def test_the_digest_of_an_encoder_covers_its_text_tower_in_every_form(packed):
    if packed and not packing_pays(torch.device("cpu")):
        pytest.skip("this processor packs nothing")

    clip = CLIP(SMALL, vocabulary_size=9).eval().requires_grad_(False)

    def forms(model):
        with torch.no_grad():
            return [
                encoder_digest(FormBuilder(d, packed).convert(model)) for d in (torch.float32, torch.bfloat16)
            ]

    def changed(name):
        other = CLIP(SMALL, vocabulary_size=9).eval().requires_grad_(False)
        other.load_state_dict(clip.state_dict())
        other.get_parameter(name).view(-1)[0] += 0.5
        return other

    plain = [encoder_digest(clip), *forms(clip)]
    assert len({*plain}) == 3, "each form rounds in its own way"
    for name, _ in clip.named_parameters():
        other = changed(name)
        found = [encoder_digest(other), *forms(other)]
        if name.startswith("visual") or name == "logit_scale":
            assert found == plain, f"{name} has no effect on texts"
        else:
            assert not {*found} & {*plain}, name


def spoil_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def exchange(path):
    """Put the file of other names in its place."""
    (other,) = (each for each in path.parent.iterdir() if each != path)
    os.replace(other, path)


def as_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_bit,
        exchange,
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff" * 100),
    ],
    ids=["bit", "other names", "cut", "empty", "no safetensors"],
)
def test_a_damaged_file_is_warned_of_and_replaced(clip, embed, tmp_path, spoil, caplog):
    expected, _ = embed(clip)
    (path,) = tmp_path.iterdir()
    if spoil is exchange:
        embed(clip, names=("road", "sea"))
    spoil(path)
    with caplog.at_level(logging.WARNING):
        found, encoded = embed(clip)
    assert encoded and torch.equal(found, expected)
    (record,) = caplog.records
    assert str(path) in record.getMessage() and "computed again" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert not embed(clip)[1], "the file is whole again"


def test_a_folder_that_cannot_be_used_costs_a_warning_and_time(clip, embed, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        found, _ = embed(clip, folder=tmp_path / "file")
    assert "are not kept" in caplog.text and torch.equal(found, embed(clip)[0])
    caplog.clear()
    (path,) = tmp_path.glob("*.safetensors")
    as_folder(path)
    assert torch.equal(embed(clip)[0], found) and "are not kept" in caplog.text


def test_the_files_that_were_not_used_for_longest_make_room(clip, embed, tmp_path):
    def age(path, seconds):
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))

    paths = {}
    for days, name in ((4, "tree"), (3, "sea"), (2, "road")):
        known = set(tmp_path.iterdir())
        embed(clip, names=(name,))
        (paths[name],) = set(tmp_path.iterdir()) - known
        age(paths[name], days * 86400)
    embed(clip, names=("tree",))  # which makes it the latest
    size = paths["tree"].stat().st_size
    (tmp_path / ".x.safetensors.1.2.part").write_text("of a process that was killed long ago")
    age(tmp_path / ".x.safetensors.1.2.part", 2 * 86400)
    (tmp_path / "notes.txt").write_text("of the user")
    embed(clip, names=("lane",), most_bytes=3 * size + size // 2)
    assert paths["tree"].exists() and paths["road"].exists() and not paths["sea"].exists()
    assert len(list(tmp_path.glob("*.safetensors"))) == 3 and (tmp_path / "notes.txt").exists()
    assert not list(tmp_path.glob(".*.part"))


def test_nothing_is_kept_while_the_encoder_learns(embed, tmp_path):
    learning = CLIP(SMALL)
    bank = TextBank(build_tokenizer(SMALL.text), TEMPLATES, TextFiles(tmp_path))
    bank(learning, NAMES).sum().backward()
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_user_follows_the_specification_of_base_directories(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, expected in (
        (str(tmp_path / "cache"), tmp_path / "cache"),
        ("relative", tmp_path / ".cache"),
        ("", tmp_path / ".cache"),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert default_folder() == expected / "rskt_seg" / "text"
    monkeypatch.setenv("HOME", "nowhere")
    assert default_folder() is None
