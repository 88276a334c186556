"""Weight files are read whatever their wrapping, and never run."""

import argparse
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from rskt_seg.checkpoints.files import read_weights
from rskt_seg.errors import CheckpointError, WeightsNotFoundError

STATE = {"a": torch.arange(3.0), "b.c": torch.ones(2, 2)}


def assert_state(path):
    state = read_weights(path).state
    assert state.keys() == STATE.keys() and all(torch.equal(state[k], STATE[k]) for k in STATE)


@pytest.mark.parametrize("wrap", [None, "model", "state_dict", "teacher"])
def test_plain_and_wrapped_state_dicts_are_found(tmp_path, wrap):
    torch.save(STATE if wrap is None else {wrap: STATE, "iteration": 3}, tmp_path / "w.pth")
    assert_state(tmp_path / "w.pth")


def test_safetensors_are_read(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    assert_state(tmp_path / "w.safetensors")


def test_the_namespace_inside_dino_files_is_allowed(tmp_path):
    torch.save({"teacher": STATE, "args": argparse.Namespace(arch="vit_base")}, tmp_path / "w.pth")
    assert_state(tmp_path / "w.pth")


class Malicious:
    def __reduce__(self):
        return (open, ("executed", "w"))


def test_code_in_a_file_is_refused_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": STATE, "extra": Malicious()}, "w.pth")
    with pytest.raises(CheckpointError, match="cannot be read safely"):
        read_weights("w.pth")
    assert not (tmp_path / "executed").exists()


def test_pickles_are_refused_by_name(tmp_path):
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"model": {}}))
    with pytest.raises(CheckpointError, match=r"\.pkl files can run code"):
        read_weights(tmp_path / "w.pkl")


def test_missing_truncated_and_empty_files_are_named(tmp_path):
    with pytest.raises(WeightsNotFoundError, match=r"absent\.pth does not exist"):
        read_weights(tmp_path / "absent.pth")
    torch.save(STATE, tmp_path / "w.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:300])
    with pytest.raises(CheckpointError, match=r"cut\.pth.*truncated"):
        read_weights(tmp_path / "cut.pth")
    torch.save({"note": "nothing"}, tmp_path / "empty.pth")
    with pytest.raises(CheckpointError, match=r"found no tensors"):
        read_weights(tmp_path / "empty.pth")
    with pytest.raises(WeightsNotFoundError, match="is a folder"):
        read_weights(tmp_path)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match=r"found list"):
        read_weights(tmp_path / "list.pth")


def test_a_flipped_bit_in_any_tensor_is_refused_wherever_it_is(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"model": STATE}, path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        data = [each.header_offset for each in archive.infolist() if "/data/" in each.filename]
    assert len(data) == len(STATE)
    for start in data:
        spot = whole.index(b"\0\0\x80?", start)  # the number 1
        for bit in range(32):
            broken = bytearray(whole)
            broken[spot + bit // 8] ^= 1 << bit % 8
            path.write_bytes(broken)
            with pytest.raises(
                CheckpointError, match=r"w\.pth is damaged: the checksum of .*/data/\d+ is wrong"
            ):
                read_weights(path)


@pytest.mark.parametrize("kind", ["compressed", "shared"])
def test_an_archive_that_unfolds_to_more_than_it_holds_is_refused(tmp_path, kind):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(10_000)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {each: archive.read(each) for each in archive.infolist()}
    packing = zipfile.ZIP_DEFLATED if kind == "compressed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", packing) as archive:
        for info, content in members.items():
            archive.writestr(info.filename, content)
        if kind == "shared":
            archive.filelist *= 200
    with pytest.raises(CheckpointError, match="compressed or share their bytes: save it again"):
        read_weights(path)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("step", [b"\x85", b"q\x00h\x00\x85", b"K\x01\x86", b"(h\x00t"])
def test_tuples_that_would_overflow_the_stack_are_refused_and_end_nothing(tmp_path, legacy, step):
    """Hashing them recurses in C, and a process that does ends without a word."""
    path = tmp_path / "w.pth"
    step = step.replace(b"(h\x00t", b"q\x00(h\x00t")
    forged = b"\x80\x02}" + b")" + step * 300_000 + b"K\x01s."
    if legacy:
        path.write_bytes(forged)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("w/data.pkl", forged)
            archive.writestr("w/version", "3\n")
    with pytest.raises(CheckpointError, match="tuples within tuples, over 1000 levels"):
        read_weights(path)


def test_older_files_of_torch_are_read(tmp_path):
    torch.save({"model": STATE}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert_state(tmp_path / "w.pth")


def test_a_name_that_no_file_can_have_is_one_that_does_not_exist():
    for name in ("a" * 5000, "a\0b"):
        with pytest.raises(WeightsNotFoundError, match="does not exist"):
            read_weights(name)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4" * 64 + b"\nsize 350000000\n"
PAGES = [b"<!DOCTYPE html>\n<html>", b"\n  <html><body>Quota", b"\xef\xbb\xbf<?xml version='1.0'?><Error>"]


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".ckpt"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (POINTER, "a Git LFS pointer, which stands for a file of 350000000 bytes .*; run `git lfs pull`"),
        (b"", r"an empty file \(0 bytes\)"),
        *((page, "a saved web page") for page in PAGES),
    ],
)
def test_what_is_saved_in_place_of_weights_is_named_with_the_way_to_get_them(tmp_path, suffix, content, told):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"w\{suffix} is {told}.*rskt-seg weights fetch") as error:
        read_weights(path)
    assert "truncated" not in str(error.value) and "\n" not in str(error.value)


def test_a_safetensors_file_whose_header_length_looks_like_text_is_read(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(STATE, path, metadata={"note": ""})
    short = int.from_bytes(path.read_bytes()[:8], "little")
    wanted = 0x3C20  # its bytes are a space and "<"; headers are padded to multiples of 8
    save_file(STATE, path, metadata={"note": "x" * (wanted - short)})
    assert path.read_bytes()[:2] == b" <"
    assert_state(path)
