"""Whole checkpoints load strictly under either naming; encoder files load as users have them."""

import argparse
import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

import rskt_seg
from rskt_seg.checkpoints.rules import LoadReport, Rule, convert
from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.dino import DINO
from rskt_seg.encoders.presets import CLIP_TINY, DINO_TINY
from rskt_seg.encoders.text import vocabulary_size
from rskt_seg.errors import CheckpointError, WeightsNotFoundError
from rskt_seg.methods.rskt.checkpoint import rules_for


def tiny(seed=0, **options):
    torch.manual_seed(seed)
    return rskt_seg.create_model("rskt_tiny", **options)


def assert_same_weights(a, b):
    for (name, x), (_, y) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        assert torch.equal(x, y), name


@pytest.mark.parametrize("prefix", ["", "sem_seg_head.model.", "module.sem_seg_head.model."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_our_own_checkpoint_round_trips(tmp_path, prefix, suffix):
    source, target = tiny(1), tiny(2)
    state = {prefix + key: value for key, value in source.state_dict().items()}
    path = tmp_path / f"w{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save({"model": state, "iteration": 9}, path)
    report = rskt_seg.load_checkpoint(target, path)
    assert_same_weights(source, target)
    assert len(report.converted if prefix else report.loaded) == len(state) and not report.dropped


def test_the_report_of_a_published_checkpoint_gives_every_dropped_key_a_reason():
    model = tiny()
    remote = "sem_seg_head.predictor.clip_model_remote."
    unused = {
        remote + "token_embedding.weight": "text tower",
        remote + "visual.transformer.resblocks.3.ln_1.bias": "last tapped block",
        remote + "visual.proj": "last tapped block",
    }
    report = LoadReport("published")
    convert({key: torch.zeros(1) for key in unused}, rules_for(model), report)
    assert report.dropped.keys() == unused.keys()
    assert all(word in report.dropped[key] for key, word in unused.items())
    assert "dropped 2: RemoteCLIP stops" in str(report)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.to_sparse(),
        lambda tensor: tensor.to("meta"),
        lambda tensor: tensor.to(torch.complex64),
        lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
    ],
    ids=["sparse", "meta", "complex", "quantized"],
)
def test_a_tensor_that_cannot_be_copied_whole_changes_nothing(change):
    model = tiny(1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = tiny(2).state_dict()
    key = [name for name, tensor in state.items() if tensor.is_floating_point()][-1]
    with pytest.raises(CheckpointError, match="no plain tensors") as error:
        rskt_seg.load_checkpoint(model, {**state, key: change(state[key])})
    assert key in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_own_checkpoint_of_another_method_is_named(tmp_path):
    other = rskt_seg.create_model("fctl_tiny", 2)
    torch.save({"model": other.state_dict(), "options": asdict(other.spec)}, tmp_path / "w.pth")
    with pytest.raises(
        CheckpointError, match=r"w\.pth is a checkpoint of FCtL, the model is one of RSKT-Seg"
    ):
        rskt_seg.load_checkpoint(tiny(), tmp_path / "w.pth")


def test_a_partial_foreign_or_misshapen_checkpoint_changes_nothing_and_names_the_keys():
    model = tiny()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    partial = dict(list(before.items())[:-12])
    with pytest.raises(CheckpointError, match=r"12 missing: .*decoder.*, and 2 more"):
        rskt_seg.load_checkpoint(model, partial)
    with pytest.raises(CheckpointError, match=r"1 unexpected: backbone\.stem"):
        rskt_seg.load_checkpoint(model, {**before, "backbone.stem": torch.zeros(1)})
    with pytest.raises(
        CheckpointError, match=r"of another shape: .*decoder\.head\.bias \(7,\), the model has \(1,\)"
    ):
        rskt_seg.load_checkpoint(model, {**before, "decoder.head.bias": torch.zeros(7)})
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_two_source_keys_for_one_target_are_refused():
    with pytest.raises(CheckpointError, match="given twice"):
        convert({"x.w": torch.ones(1), "y.w": torch.ones(1)}, [Rule(r"[xy]\.", "z.")], LoadReport("twins"))


def test_a_checkpoint_in_memory_is_unwrapped_like_a_file():
    source, target = tiny(1), tiny(2)
    rskt_seg.load_checkpoint(target, {"model": source.state_dict(), "iteration": 3})
    assert_same_weights(source, target)


def test_a_tensor_given_under_two_names_is_refused():
    model = tiny()
    state = model.state_dict()
    twin = {"sem_seg_head.model.decoder.head.bias": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"decoder\.head\.bias is given twice"):
        rskt_seg.load_checkpoint(model, {**state, **twin})


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_options_that_leave_no_trace_in_the_weights_are_compared_where_the_checkpoint_states_them(
    tmp_path, suffix
):
    trained = tiny(1, num_heads=4, loss="cross_entropy")
    options, path = asdict(trained.spec), tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save({"model": trained.state_dict(), "options": options}, path)
    else:
        save_file(trained.state_dict(), path, metadata={"options": json.dumps(options)})
    with pytest.raises(CheckpointError, match=r"num_heads=4 \(this model: 8\), loss='cross_entropy'"):
        rskt_seg.load_checkpoint(tiny(), path)
    rskt_seg.load_checkpoint(tiny(num_heads=4, loss="cross_entropy", padding="aligned"), path)


HEAD = "sem_seg_head.predictor.transformer.layers.0."


def test_window_masks_must_be_those_of_the_model():
    model = tiny(aggregator="original", window=6, num_layers=1)
    norm = {HEAD + "swin_block.guidance_norm.bias": torch.zeros(32)}
    for mask in ({HEAD + "swin_block.block_2.attn_mask": torch.zeros(9, 16, 16)}, {}):
        with pytest.raises(CheckpointError, match="another window size"):
            rskt_seg.load_checkpoint(model, {**norm, **mask})
    whole = tiny(aggregator="original", num_layers=1)
    with pytest.raises(CheckpointError, match="another window size"):
        rskt_seg.load_checkpoint(whole, {HEAD + "swin_block.block_2.attn_mask": torch.zeros(9, 16, 16)})
    with pytest.raises(CheckpointError, match="has no RemoteCLIP, this model has"):
        rskt_seg.load_checkpoint(tiny(), {HEAD + "swin_block.block_2.attn_mask": torch.zeros(9, 16, 16)})


def packed(state):
    """Our names -> those of an OpenAI or open_clip file, with packed q/k/v matrices and the sizes."""
    out = {}
    for key, value in state.items():
        if key.endswith("q_proj_weight"):
            parts = [state[key.replace("q_proj", f"{p}_proj")] for p in "qkv"]
            out[key.replace("q_proj_weight", "in_proj_weight")] = torch.cat(parts)
        elif not key.endswith(("k_proj_weight", "v_proj_weight")):
            out[key] = value
    sizes = {"input_resolution": 32, "context_length": 24, "vocab_size": 9}
    return out | {key: torch.tensor(value) for key, value in sizes.items()}


@pytest.fixture
def clip_file(tmp_path):
    torch.manual_seed(5)
    clip = CLIP(CLIP_TINY, vocabulary_size(CLIP_TINY.text))
    torch.save(packed(clip.state_dict()), tmp_path / "clip.pt")
    return clip, tmp_path / "clip.pt"


def test_clip_files_are_split_and_rounded_through_half_where_the_published_loader_rounds(clip_file):
    clip, path = clip_file
    model = tiny()
    rskt_seg.load_encoder(model, "clip", path)
    own = dict(clip.state_dict())
    for key, value in model.clip.state_dict().items():
        half = not any(part in key for part in ("ln_", "embedding", "logit_scale"))
        expected = own[key].half().float() if half else own[key]
        assert torch.equal(value, expected), key
    assert not torch.equal(own["visual.proj"], model.clip.visual.proj)


def test_the_weakly_supervised_method_takes_clip_as_it_is(clip_file):
    clip, path = clip_file
    model = rskt_seg.create_model("prior_wsss_tiny", ["ship", "plane"])
    rskt_seg.load_encoder(model, "clip", path)
    own = dict(clip.state_dict())
    for key, value in model.clip.state_dict().items():
        assert torch.equal(value, own[key]), key


def test_remote_clip_takes_the_visual_trunk_and_drops_the_rest_with_reasons(clip_file):
    clip, path = clip_file
    model = tiny()
    report = rskt_seg.load_encoder(model, "remote_clip", path)
    trunk = model.remote_clip.state_dict()
    assert torch.equal(trunk["positional_embedding"], clip.visual.positional_embedding)
    assert torch.equal(
        trunk["transformer.resblocks.2.attn.v_proj_weight"],
        clip.visual.transformer.resblocks[2].attn.v_proj_weight.half().float(),
    )
    assert any("text tower" in reason for reason in report.dropped.values())


def test_dino_files_are_found_under_their_teacher_and_prefixes(tmp_path):
    torch.manual_seed(6)
    dino = DINO(DINO_TINY)
    teacher = {f"module.backbone.{key}": value for key, value in dino.state_dict().items()}
    teacher["module.head.mlp.0.weight"] = torch.zeros(3)
    args = argparse.Namespace(patch_size=8)
    torch.save({"student": {}, "teacher": teacher, "args": args}, tmp_path / "RSIB.pth")
    model = tiny()
    report = rskt_seg.load_encoder(model, "dino", tmp_path / "RSIB.pth")
    assert_same_weights(dino, model.dino)
    assert list(report.dropped) == ["head.mlp.0.weight"]


def test_wrong_encoder_requests_say_what_is_wrong(clip_file, tmp_path):
    model = tiny(remote_clip=False)
    with pytest.raises(CheckpointError, match="built without remote_clip"):
        rskt_seg.load_encoder(model, "remote_clip", clip_file[1])
    with pytest.raises(CheckpointError, match="they have clip, remote_clip, dino"):
        rskt_seg.load_encoder(model, "vgg", clip_file[1])
    with pytest.raises(WeightsNotFoundError, match="neither a file nor an open_clip name"):
        rskt_seg.load_encoder(model, "clip", "pretrained/missing.pt")
    with pytest.raises(WeightsNotFoundError, match="does not exist"):
        rskt_seg.load_encoder(model, "dino", tmp_path / "missing.pth")
    with pytest.raises(CheckpointError, match="does not fit this model"):
        rskt_seg.load_encoder(model, "dino", clip_file[1])


def test_names_of_weights_trained_with_another_activation_are_refused(monkeypatch, tmp_path):
    import huggingface_hub

    config = tmp_path / "open_clip_config.json"
    config.write_text('{"model_cfg": {"embed_dim": 512}}')
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *names: str(config))
    for name in ("ViT-B-16/laion2b_s34b_b88k", "hf-hub:laion/CLIP-ViT-B-16-laion2B-s34B-b88K"):
        with pytest.raises(CheckpointError, match="trained with GELU"):
            rskt_seg.load_encoder(tiny(), "clip", name)


def test_a_name_that_cannot_be_fetched_says_what_to_do(monkeypatch):
    import open_clip.pretrained

    def fail(config):
        raise ConnectionError

    monkeypatch.setattr(open_clip.pretrained, "download_pretrained", fail)
    with pytest.raises(WeightsNotFoundError, match=r"could not be fetched.*give its path"):
        rskt_seg.load_encoder(tiny(), "clip", "ViT-B-16/openai")


def test_a_model_is_built_and_loaded_without_reading_any_other_file(monkeypatch, tmp_path):
    state = tiny(3).state_dict()
    torch.save({"model": state}, tmp_path / "model_final.pth")
    reads = []
    load = torch.load
    monkeypatch.setattr(
        torch, "load", lambda path, *a, **k: (reads.append(str(path)), load(path, *a, **k))[1]
    )
    rskt_seg.load_checkpoint(rskt_seg.create_model("rskt_tiny"), tmp_path / "model_final.pth")
    assert reads == [str(tmp_path / "model_final.pth")]
