"""FCtL trains on all patches of a batch: what the parts hold, and that their gradients add up."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from rskt_seg.d2.partwise import PartwiseTrainer
from tests.d2.closed_set.tiny import BASELINE, labelled, segmentor, without_chance


def test_the_parts_of_a_batch_are_all_patches_with_their_labels_and_contexts():
    head = segmentor("fctl").sem_seg_head
    data = labelled(100, 64)
    parts = list(head.parts([data, labelled(40, 64, 1)]))
    # Starts 0, 36 in the first image (one column), one padded patch in the second.
    assert [len(part) for part in parts] == [2, 1]
    first, second = parts[0]
    assert torch.equal(first["image"], data["image"][:, :64])
    assert torch.equal(second["image"], data["image"][:, 36:])
    assert torch.equal(second["sem_seg"], data["sem_seg"][36:])
    padded = parts[1][0]
    assert padded["image"].shape == (3, 64, 64) and not padded["image"][:, 40:].any()
    assert (padded["sem_seg"][40:] == 255).all() and not (padded["sem_seg"][7:40] == 255).any()
    # The medium context is twice the patch and centred on it: its inner half is the patch, made smaller.
    black = F.pad(data["image"], (32, 32, 32, 32))[:, 36 : 36 + 128, 0:128]
    shrunk = Image.fromarray(black.permute(1, 2, 0).numpy()).resize((64, 64), Image.BILINEAR)
    assert torch.equal(second["contexts"]["medium"].permute(1, 2, 0), torch.tensor(np.array(shrunk)))
    assert second["windows"]["medium"].tolist() == [-0.5, -0.5, 2.0, 2.0]
    # The whole image stands in the first entry, once for all.
    whole = Image.fromarray(data["image"].permute(1, 2, 0).numpy()).resize((64, 64), Image.BILINEAR)
    assert torch.equal(first["contexts"]["large"].permute(1, 2, 0), torch.tensor(np.array(whole)))
    assert "large" not in second["contexts"]
    assert second["windows"]["large"].tolist() == pytest.approx([-36 / 64, 0, 100 / 64, 1])


def test_a_frozen_encoder_of_the_whole_image_is_asked_once_an_image():
    model = without_chance(segmentor("fctl", "MODEL.FCTL.CONTEXT_ENCODER", "frozen"))
    head, batch = model.sem_seg_head, [labelled(100, 64), labelled(40, 64, 1)]
    once = [sum(model(part).values()) for part in head.parts(batch)]
    asked, encode = [], head.model.encode_context
    head.model.encode_context = lambda name, images: asked.append(name) or encode(name, images)
    list(head.parts(batch))
    assert asked == ["large", "large"]

    # The same losses as with the image itself in every part.
    def unencoded(image: np.ndarray) -> dict:
        small = Image.fromarray(image).resize((64, 64), Image.BILINEAR)
        return {"large": torch.tensor(np.array(small)).permute(2, 0, 1)}

    head._whole_contexts = unencoded
    for loss, part in zip(once, head.parts(batch), strict=True):
        torch.testing.assert_close(sum(model(part).values()), loss)


def test_whole_images_are_trained_at_the_working_side_with_the_nearest_label():
    head = segmentor(
        "fctl", *BASELINE, "MODEL.FCTL.VIEW", "whole", "MODEL.FCTL.PATCH_SIDE", "508"
    ).sem_seg_head
    data = labelled(128, 128)
    (part,) = head.parts([data])
    assert part[0]["image"].shape == (3, 64, 64)
    assert set(torch.unique(part[0]["sem_seg"]).tolist()) <= {*range(17), 255}
    assert torch.equal(part[0]["sem_seg"], data["sem_seg"][1::2, 1::2])


def test_a_step_adds_up_the_gradients_of_all_parts():
    model = without_chance(segmentor("fctl"))
    batch = [labelled(100, 64), labelled(40, 64, 1)]
    parameters = list(model.parameters())
    expected = [torch.zeros_like(p) for p in parameters]
    for part in model.sem_seg_head.parts(batch):
        losses = model(part)
        for total, gradient in zip(
            expected, torch.autograd.grad(sum(losses.values()), parameters, allow_unused=True), strict=True
        ):
            total += 0 if gradient is None else gradient
    before = [p.detach().clone() for p in parameters]
    trainer = PartwiseTrainer(model, [batch], torch.optim.SGD(parameters, lr=1.0))
    trainer._write_metrics = lambda losses, time: None
    trainer.run_step()
    for old, new, gradient in zip(before, parameters, expected, strict=True):
        torch.testing.assert_close(old - new, gradient, atol=2e-6, rtol=1e-4)
    assert max(float(g.abs().max()) for g in expected) > 1e-3


def train_for_gradients(arguments) -> None:
    """What each process of the test below does: one step on its half of a batch."""
    from rskt_seg.d2.compat import create_ddp_model

    folder, batches = arguments
    from detectron2.utils import comm

    model = without_chance(segmentor("fctl"))
    trainer = PartwiseTrainer(
        create_ddp_model(model),
        [batches[comm.get_rank()]],
        torch.optim.SGD(model.parameters(), lr=1.0),
    )
    trainer._write_metrics = lambda losses, time: None
    trainer.run_step()
    name = f"{comm.get_world_size()}.pth" if comm.is_main_process() else "rank1.pth"
    torch.save(model.state_dict(), Path(folder, name))


def test_two_processes_step_as_one(tmp_path):
    from rskt_seg.d2.compat import launch

    images = [labelled(100, 64), labelled(40, 64, 1)]
    launch(train_for_gradients, 2, 1, 0, "auto", ((str(tmp_path), [images[:1], images[1:]]),), on_cpu=True)
    launch(train_for_gradients, 1, 1, 0, "auto", ((str(tmp_path), [images]),), on_cpu=True)
    one, two = (torch.load(tmp_path / f"{n}.pth", weights_only=True) for n in (1, 2))
    start = dict(segmentor("fctl").named_parameters())
    for key in start:
        torch.testing.assert_close(one[key], two[key], atol=5e-6, rtol=1e-4)
    # Every process has the mean of the statistics of all, so that each scores the model that one saves.
    other = torch.load(tmp_path / "rank1.pth", weights_only=True)
    statistics = [key for key in two if "running_" in key]
    assert statistics
    for key in statistics:
        assert torch.equal(two[key], other[key])
    assert any((one[key] - start[key]).abs().max() > 1e-3 for key in start)
