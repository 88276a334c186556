"""`rskt-seg weights` as a user runs it: list, fetch, verify and convert, their outputs and exit statuses."""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import rskt_seg
from rskt_seg.checkpoints.manifest import Weights, by_name
from rskt_seg.checkpoints.rules import LoadReport, convert
from rskt_seg.commands import weights
from rskt_seg.d2 import find_config, load_config
from rskt_seg.d2.weights import check_weights
from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.dino import DINO
from rskt_seg.encoders.presets import CLIP_TINY, DINO_TINY
from rskt_seg.encoders.text import vocabulary_size
from rskt_seg.methods.rskt.checkpoint import rules_for
from rskt_seg.methods.weights import manifest
from tests.checkpoints.test_load import assert_same_weights, packed, tiny

ROOT = Path(__file__).parents[2]
REACHABLE = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
CONTENT = b"PK weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run the tool in an empty folder: arguments -> exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run_tool(*argv, rows=None):
        status = weights.main([str(arg) for arg in argv], rows)
        return status, *capsys.readouterr()

    return run_tool


@pytest.fixture
def rows(server):
    """A manifest of a file at the local server, one with a wrong digest, and one to be had by hand."""
    server.files = {"/good.pt": CONTENT, "/bad.pt": CONTENT}
    common = {"page": "https://example.org/page", "facts": "a test"}
    reasons = {key: f"{key} was never published" for key in ("sha256", "size", "licence")}

    def row(name, **fields):
        unknown = {key: text for key, text in reasons.items() if key not in fields}
        return Weights(name, "clip", f"{name}.pt", unknown=unknown, **common, **fields)

    return (
        row("good", url=f"{server.url}/good.pt", sha256=DIGEST, licence="MIT"),
        row("bad", url=f"{server.url}/bad.pt", sha256="0" * 64),
        row("manual", by_hand="press the button"),
    )


def test_fetch_fetches_once_and_then_needs_no_network(call, rows, server, tmp_path):
    status, out, err = call("fetch", "good", rows=rows)
    assert (status, err) == (0, "") and "licence MIT" in out and "sha256 fits" in out
    assert (tmp_path / "pretrained" / "good.pt").read_bytes() == CONTENT
    server.asked.clear()
    assert call("fetch", "good", rows=rows)[0] == 0 and server.asked == []


def test_one_file_that_cannot_be_had_does_not_keep_the_others_back(call, rows, tmp_path):
    status, _, err = call("fetch", "manual", "bad", "good", "--to", "w", rows=rows)
    lines = err.splitlines()
    assert status == 1 and len(lines) == 2
    assert "press the button" in lines[0] and str(tmp_path / "w" / "manual.pt") in lines[0]
    assert f"expected sha256 {'0' * 64}, found {DIGEST}" in lines[1]
    assert sorted(os.listdir("w")) == ["bad.pt.wrong", "good.pt"]


def test_fetch_for_a_configuration_takes_every_file_that_it_starts_from(call, server, tmp_path):
    (tmp_path / "pretrained").mkdir()
    files = ["ViT-B-16.pt", "RemoteCLIP-ViT-B-32.pt", "dino_vitbase8_pretrain.pth"]
    rows = [
        Weights(
            row.name, row.role, row.file, row.page, row.facts, url=f"{server.url}/{row.file}", sha256=DIGEST
        )
        for row in manifest()
        if row.file in files
    ]
    server.files = {f"/{file}": CONTENT for file in files}
    config = ROOT / "configs/ovrsis/ablations.yaml:table3_rotate_ndino_rclip"
    status, _, err = call("fetch", "--all-for", config, rows=rows)
    assert (status, err) == (0, "") and sorted(os.listdir("pretrained")) == sorted(files)
    check_weights(load_config(str(config)))


def test_every_command_of_the_document_can_be_typed_as_it_stands():
    text = (ROOT / "docs" / "weights.md").read_text() + weights.__doc__
    name = r"(?:python tools/weights\.py|rskt-seg weights)"
    commands = re.findall(rf"{name} (.*?)(?: +#.*)?$", text, re.MULTILINE)
    typed = [command for command in commands if "NAME" not in command]
    assert len(typed) >= 7
    for command in typed:
        args = weights.parse_args(command.split())
        for name in getattr(args, "names", []):
            by_name(name, manifest())
        assert find_config(getattr(args, "all_for", None) or "ovrsis/vitb_dlrsd.yaml").exists()


def test_a_configuration_without_files_needs_nothing(call, server):
    status, out, err = call("fetch", "--all-for", ROOT / "configs/ovrsis/tiny_dlrsd.yaml")
    assert (status, err) == (0, "") and "nothing to fetch" in out and server.asked == []


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["fetch"], "give names"),
        (["fetch", "clip-vitb"], "did you mean clip-vitb16"),
        (["fetch", "--all-for", "x.yaml", "--to", "w"], "leave --to out"),
        (["list", "nothing-like-it"], "known are clip-vitb16"),
        (["verify"], "no file of the manifest is in pretrained"),
        (["verify", "gone.pt"], "no weights are called 'gone.pt'"),
        (["convert", "gone.pt", "w.safetensors"], r"gone\.pt does not exist"),
        (["convert", "gone.pt", "w.pth"], r"must end in \.safetensors"),
    ],
)
def test_a_wrong_call_is_answered_in_one_line(call, argv, words):
    status, out, err = call(*argv)
    assert status == 2 and out == "" and err.count("\n") == 1 and re.search(words, err)


def test_verify_reports_every_state_and_fails_for_what_is_wrong_or_missing(call, rows, tmp_path):
    folder = tmp_path / "pretrained"
    folder.mkdir()
    (folder / "good.pt").write_bytes(CONTENT)
    assert call("verify", rows=rows)[:2] == (0, "pretrained/good.pt: verified: sha256 fits\n")
    (folder / "manual.pt").write_bytes(b"mine")
    status, out, _ = call("verify", "manual", rows=rows)
    assert status == 0 and hashlib.sha256(b"mine").hexdigest() in out and "never published" in out
    assert call("verify", "bad", rows=rows)[:2] == (1, "pretrained/bad.pt: absent: not here\n")
    (folder / "bad.pt").write_bytes(CONTENT)
    status, out, _ = call("verify", rows=rows)
    assert status == 1 and [line.split(": ")[1] for line in out.splitlines()] == [
        "verified",
        "wrong",
        "unknown",
    ]


def test_verify_takes_files_anywhere_by_their_name(call, rows, tmp_path):
    (tmp_path / "good.pt").write_bytes(b"not it")
    (tmp_path / "other.pt").write_bytes(CONTENT)
    assert call("verify", "good.pt", rows=rows)[0] == 1
    status, out, _ = call("verify", tmp_path / "other.pt", rows=rows)
    assert status == 0 and "no file of this name" in out and DIGEST in out


def test_list_shows_every_row_and_what_is_here(call, rows, tmp_path):
    status, out, _ = call("list")
    assert status == 0 and all(re.search(rf"^{row.name} ", out, re.MULTILINE) for row in manifest())
    (tmp_path / "pretrained").mkdir()
    for name in ("good", "bad", "manual"):
        (tmp_path / "pretrained" / f"{name}.pt").write_bytes(CONTENT)
    lines = call("list", rows=rows)[1].splitlines()[2:5]
    assert [line.split()[-1] for line in lines] == ["verified", "wrong", "here"]


def test_list_of_a_name_prints_all_that_is_known_and_why_the_rest_is_not(call):
    for row in manifest():
        out = call("list", row.name)[1]
        for text in (row.page, row.facts, row.hub, row.url, row.note, row.instead, *row.unknown.values()):
            assert text in out


def test_the_hub_mirror_of_the_environment_is_used_for_the_real_manifest(server, tmp_path):
    row = by_name("remoteclip-vitb32", manifest())
    path = f"/{row.hub}/resolve/main/{row.file}"
    server.files[path] = CONTENT
    server.headers[path] = {"X-Linked-Etag": f'"{DIGEST}"', "X-Repo-Commit": "0" * 40}
    result = subprocess.run(
        [sys.executable, ROOT / "tools" / "weights.py", "fetch", row.name],
        env={**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hub"), **REACHABLE},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert f"{DIGEST}, as the hub states" in result.stdout
    assert (tmp_path / "pretrained" / row.file).read_bytes() == CONTENT
    assert [method for method, asked, _ in server.asked if asked == path] == ["HEAD", "GET"]


def published(model):
    """The weights of a model under the published names, RemoteCLIP's unused text tower included."""
    manifest = json.loads((ROOT / "tests/parity/rskt/manifest_vitb_L5_efficient.json").read_text())
    own, state = model.state_dict(), {}
    for key in manifest["state_dict"]:
        for target in convert({key: torch.zeros(1)}, rules_for(model), LoadReport("names")):
            if target in own:
                state[key] = own[target]
    assert len(state) == len(own)
    return state | {"sem_seg_head.predictor.clip_model_remote.token_embedding.weight": torch.ones(2, 2)}


@pytest.mark.parametrize("layout", ["published", "our own"])
def test_a_converted_checkpoint_loads_as_its_source_does_and_states_its_options(call, tmp_path, layout):
    trained = tiny(1)
    state = published(trained) if layout == "published" else trained.state_dict()
    torch.save({"model": state, "iteration": 9}, tmp_path / "model_final.pth")
    status, out, err = call("convert", "model_final.pth", "w.safetensors", "--model", "rskt_tiny")
    assert (status, err) == (0, ""), err
    assert ("text tower of RemoteCLIP" in out) == (layout == "published")
    from_source, from_target = tiny(2), tiny(3)
    rskt_seg.load_checkpoint(from_source, "model_final.pth")
    rskt_seg.load_checkpoint(from_target, "w.safetensors")
    assert_same_weights(from_source, from_target)
    with pytest.raises(rskt_seg.errors.CheckpointError, match="num_heads"):
        rskt_seg.load_checkpoint(tiny(num_heads=4), "w.safetensors")


def test_the_options_of_the_model_are_given_or_stated_by_the_checkpoint(call, tmp_path):
    trained = tiny(1, num_layers=1, loss="cross_entropy")
    torch.save({"model": trained.state_dict()}, tmp_path / "plain.pth")
    assert "give --model" in call("convert", "plain.pth", "a.safetensors")[2]
    assert "needs --model" in call("convert", "plain.pth", "a.safetensors", "--options", "num_layers=1")[2]
    assert call("convert", "plain.pth", "a.safetensors", "--model", "rskt_tiny")[0] == 2
    given = ("--model", "rskt_tiny", "--options", "num_layers=1", "loss=cross_entropy")
    assert call("convert", "plain.pth", "a.safetensors", *given)[0] == 0
    # What convert wrote states its options, as training runs do: no more need be given.
    assert call("convert", "a.safetensors", "b.safetensors")[0] == 0
    for name in ("a", "b"):
        model = tiny(2, num_layers=1, loss="cross_entropy")
        rskt_seg.load_checkpoint(model, f"{name}.safetensors")
        assert_same_weights(model, trained)


CLOSED = {
    "bicor_tiny": {"width": 16, "num_layers": 1},
    "fctl_tiny": {"patch_side": 64, "input_side": 64, "gpe": True},
}


@pytest.mark.parametrize("name", CLOSED)
def test_a_closed_set_checkpoint_converts_with_its_options_and_class_names(call, tmp_path, name):
    words = ("field", "road", "roof")
    trained = rskt_seg.create_model(name, class_names=words, **CLOSED[name])
    stated = {"options": asdict(trained.spec), "class_names": words}
    torch.save({"model": trained.state_dict(), **stated}, tmp_path / "w.pth")
    status, _, err = call("convert", "w.pth", "w.safetensors")
    assert (status, err) == (0, ""), err
    model = rskt_seg.create_model(name, 3, **CLOSED[name])
    rskt_seg.load_checkpoint(model, "w.safetensors")
    assert_same_weights(model, trained)
    assert model.class_names == words
    other = rskt_seg.create_model(name, class_names=words[::-1], **CLOSED[name])
    with pytest.raises(rskt_seg.errors.CheckpointError, match="trained on the classes field, road, roof"):
        rskt_seg.load_checkpoint(other, "w.safetensors")


def test_the_files_of_context_encoders_are_given_by_name(call, tmp_path):
    torch.save({"vgg.features.0.weight": torch.zeros(1)}, tmp_path / "all.pth")
    given = ("--model", "fctl_tiny", "--options", "num_classes=2", "--contexts")
    assert "--contexts takes NAME=VALUE" in call("convert", "all.pth", "a.safetensors", *given, "medium")[2]
    status, _, err = call("convert", "all.pth", "a.safetensors", *given, "medium=B10.pth")
    assert status == 2 and "['medium', 'large']" in err and "found ['medium']" in err
    torch.save({"options": {"depth": 3}, "model": {"decoder.head.weight": torch.ones(1)}}, "odd.pth")
    assert "states options that no model has: depth" in call("convert", "odd.pth", "b.safetensors")[2]


@pytest.fixture
def clip_state():
    torch.manual_seed(5)
    return packed(CLIP(CLIP_TINY, vocabulary_size(CLIP_TINY.text)).state_dict())


def archive(state, path):
    """A TorchScript archive of so many tensors, in half precision where OpenAI's are."""

    class Empty(torch.nn.Module):
        def forward(self, x):
            return x

    root = Empty()
    for key, value in state.items():
        *parents, name = key.split(".")
        module = root
        for parent in parents:
            if parent not in dict(module.named_children()):
                module.add_module(parent, Empty())
            module = getattr(module, parent)
        module.register_buffer(name, value.half() if value.ndim > 1 else value)
    torch.jit.trace(root, torch.zeros(1)).save(str(path))


@pytest.mark.parametrize("form", ["OpenAI archive", "RemoteCLIP file", "distributed"])
def test_a_converted_clip_loads_as_its_source_does_in_both_roles(call, tmp_path, clip_state, form):
    prefix = "module." if form == "distributed" else ""
    if form == "OpenAI archive":
        archive(clip_state, tmp_path / "clip.pt")
    else:
        torch.save({prefix + key: value for key, value in clip_state.items()}, tmp_path / "clip.pt")
    status, out, err = call("convert", "clip.pt", "clip.safetensors")
    assert (status, err) == (0, "") and "a size or mask, not a weight" in out
    for role in ("clip", "remote_clip"):
        from_source, from_target = tiny(1), tiny(1)
        rskt_seg.load_encoder(from_source, role, "clip.pt")
        rskt_seg.load_encoder(from_target, role, "clip.safetensors")
        assert_same_weights(from_source, from_target)
    kept = load_file("clip.safetensors")["visual.proj"].dtype
    assert kept == (torch.float16 if form == "OpenAI archive" else torch.float32)


def test_a_converted_dino_loads_as_its_source_does(call, tmp_path):
    torch.manual_seed(6)
    teacher = {f"module.backbone.{key}": value for key, value in DINO(DINO_TINY).state_dict().items()}
    teacher["module.head.mlp.0.weight"] = torch.zeros(3)
    torch.save({"student": {}, "teacher": teacher, "args": argparse.Namespace()}, tmp_path / "RSIB.pth")
    status, out, _ = call("convert", "RSIB.pth", "RSIB.safetensors")
    assert status == 0 and "projection head" in out
    from_source, from_target = tiny(1), tiny(2)
    rskt_seg.load_encoder(from_source, "dino", "RSIB.pth")
    rskt_seg.load_encoder(from_target, "dino", "RSIB.safetensors")
    assert_same_weights(from_source.dino, from_target.dino)


def test_a_converted_file_states_the_digest_of_its_source(call, tmp_path, clip_state):
    torch.save(clip_state, tmp_path / "clip.pt")
    call("convert", "clip.pt", "clip.safetensors")
    with safe_open("clip.safetensors", framework="pt") as file:
        stated = file.metadata()
    assert stated["source"] == "clip.pt" and os.stat("clip.safetensors").st_mode & 0o777 == 0o644
    assert stated["source_sha256"] == hashlib.sha256((tmp_path / "clip.pt").read_bytes()).hexdigest()


def test_convert_overwrites_nothing_and_leaves_nothing_behind_when_it_fails(call, tmp_path, clip_state):
    torch.save(clip_state, tmp_path / "clip.pt")
    (tmp_path / "w.safetensors").write_bytes(b"precious")
    status, _, err = call("convert", "clip.pt", "w.safetensors")
    assert status == 2 and "not overwritten" in err
    assert (tmp_path / "w.safetensors").read_bytes() == b"precious"
    torch.save({"backbone.stem": torch.zeros(1)}, tmp_path / "foreign.pth")
    status, _, err = call("convert", "foreign.pth", "new.safetensors")
    assert status == 2 and "is none of" in err and "backbone.stem" in err
    assert call("convert", "clip.pt", "new.safetensors", "--model", "rskt_tiny")[0] == 2
    assert sorted(os.listdir()) == ["clip.pt", "foreign.pth", "w.safetensors"]


def test_a_checkpoint_of_another_model_is_answered_by_flags(call, tmp_path):
    other = rskt_seg.create_model("catseg_tiny")
    torch.save({"model": other.state_dict(), "options": asdict(other.spec)}, tmp_path / "x.pth")
    arguments = ["convert", str(tmp_path / "x.pth"), str(tmp_path / "x.safetensors")]
    status, _, error = call(*arguments, "--model", "rskt_tiny")
    assert status == 2 and "create_model" not in error
    assert error.endswith("; leave --model and --options out, for the file states its model\n")
    assert call(*arguments)[0] == 0
