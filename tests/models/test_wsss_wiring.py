"""Options of the weakly supervised model stand in their places, also at the edges and in half precision."""

import math

import pytest
import torch
import torch.nn.functional as F

from rskt_seg.models.wsss import PriorOutput, find_channels
from rskt_seg.models.wsss.par import ParOptions
from rskt_seg.models.wsss.pseudo import complement_labels, dual_threshold_labels
from tests.models.test_wsss import build, images, present


class TestClasses:
    def test_a_background_is_found_by_its_whole_name(self):
        names = ("carport", "Car", "tree/shrub")
        assert find_channels(names, "class:car").background == 1
        assert find_channels(names, "class:shrub").background == 2


class TestLabels:
    @pytest.mark.parametrize("pseudo", ["complement", "dual_threshold"])
    def test_pseudo_labels_are_made_with_the_options_of_the_spec_each_in_its_place(self, pseudo):
        levels = {"high": 0.6, "low": 0.45} if pseudo == "dual_threshold" else {}
        model = build(encode=False, pseudo=pseudo, par_w1=0.7, par_w2=0.05, par_iters=3, **levels)
        x, here = images(height=40, width=56), present([1, 1, 0], [0, 1, 1])
        cams = torch.rand(2, 4, 5, 7, generator=torch.Generator().manual_seed(5))
        make = dual_threshold_labels if levels else complement_labels
        expected = make(x, cams, here, par=ParOptions((1, 2), 3, 0.7, 0.05), **levels)
        assert torch.equal(model.pseudo_labels(x, cams, here), expected)
        assert len(expected.unique()) == (5 if levels else 4)

    def test_the_labels_of_the_stages_are_those_of_the_last_one(self):
        model, x, here = build(), images(), present([1, 1, 0], [0, 1, 1])
        model.vpe.prototypes.normal_(generator=torch.Generator().manual_seed(3))
        model.vpe.ready.fill_(True)
        stages = model.stages(x, here)
        assert torch.equal(stages.labels, model.pseudo_labels(x, stages.final, here))
        for stage in (stages.initial, stages.refined):
            assert not torch.equal(stages.labels, model.pseudo_labels(x, stage, here))

    def test_cells_that_hang_over_the_image_keep_their_place_in_labels(self):
        model = build(encode=False, par_iters=0)
        cams = torch.rand(1, 4, 5, 4, generator=torch.Generator().manual_seed(5))
        here = present([1, 1, 1])
        whole = model.pseudo_labels(images(1, 40, 32), cams, here)
        cut = model.pseudo_labels(images(1, 37, 27), cams, here)
        assert torch.equal(cut, whole[:, :37, :27])


class TestLosses:
    @pytest.mark.parametrize(("height", "width"), [(48, 48), (37, 27)])
    def test_the_plain_loss_is_the_mean_over_labelled_pixels_at_the_places_of_their_cells(
        self, height, width
    ):
        model = build(encode=False, seg_loss="plain", seg_weight=0.5, affinity_weight=0.0)
        draws = torch.Generator().manual_seed(2)
        grid = (math.ceil(height / 8), math.ceil(width / 8))
        logits = torch.randn(2, 4, *grid, generator=draws)
        target = torch.randint(0, 4, (2, height, width), generator=draws)
        target[:, :9] = 255
        whole = F.interpolate(logits, [8 * cells for cells in grid], mode="bilinear", align_corners=False)
        expected = F.cross_entropy(whole[..., :height, :width], target, ignore_index=255) / 2
        torch.testing.assert_close(model.losses(PriorOutput(logits), target)["loss_seg"], expected)

    def test_the_halves_of_the_balanced_loss_are_the_class_that_is_the_background_and_all_others(self):
        names = ("Road", "Building", "Clutter/background")
        model = build(
            names, encode=False, background="class:clutter", tpe=False, descriptions="", affinity_weight=0.0
        )
        draws = torch.Generator().manual_seed(2)
        logits, target = torch.randn(2, 3, 6, 6, generator=draws), torch.zeros(2, 48, 48, dtype=torch.long)
        target[:, :8], target[:, 8:12] = 2, 1  # three classes: of two, either would be the other's half
        whole = F.interpolate(logits, (48, 48), mode="bilinear", align_corners=False)
        each = F.cross_entropy(whole, target, reduction="none")
        expected = each[target == 2].mean() / 2 + each[target != 2].mean() / 2
        torch.testing.assert_close(model.losses(PriorOutput(logits), target)["loss_seg"], expected)


class TestForward:
    def test_training_drops_channels_before_both_decodings(self):
        class Nothing(torch.nn.Module):
            def forward(self, x):
                return torch.zeros_like(x)

        model, x = build(decode_dino=True), images()
        model.dropout = Nothing()
        torch.testing.assert_close(model(x).logits, model.decoder(torch.zeros(2, 16, 6, 6)))


class TestPrecision:
    def test_cams_and_labels_are_the_same_inside_and_outside_of_mixed_precision(self):
        model, x, here = build(), images(), present([1, 1, 0], [0, 1, 1])
        model.vpe.prototypes.normal_(generator=torch.Generator().manual_seed(3))
        model.vpe.ready.fill_(True)
        evidence = model(x, evidence=True).evidence
        plain = model.cams(evidence, here)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model.cams(evidence, here)
            labels = model.pseudo_labels(x, plain.final.unflatten(2, evidence.grid), here)
        for name in ("initial", "refined", "final"):
            assert torch.equal(getattr(mixed, name), getattr(plain, name)), name
        assert torch.equal(labels, model.pseudo_labels(x, plain.final.unflatten(2, evidence.grid), here))
