"""The weakly supervised head behind Detectron2: scores, CAMs, and a training step part by part."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.data import MetadataCatalog

from rskt_seg.d2.methods import wsss as wsss_head
from rskt_seg.d2.methods.wsss import SegmentorCams
from rskt_seg.d2.segmentor import plain_model
from rskt_seg.errors import ConfigError, DatasetError
from rskt_seg.inference.predict import evaluating
from rskt_seg.inference.scales import scaled_scores
from rskt_seg.inference.views import VIEWS
from rskt_seg.losses.affinity import affinity_loss, affinity_target
from rskt_seg.models.wsss.cams import initial_cam
from rskt_seg.models.wsss.prototypes import select_seeds
from rskt_seg.models.wsss.relations import joint_affinity, refine_cams
from tests.d2.wsss.tiny import entry, segmentor


class TestHead:
    def test_the_classes_are_those_of_the_data(self):
        model = plain_model(segmentor())
        assert model.class_names == tuple(MetadataCatalog.get("iSAID_wsss_train_sem_seg").stuff_classes)
        assert model.class_names[0] == "background" and len(model.foreground) == 15

    def test_image_level_labels_leave_the_background_out(self):
        head = segmentor().sem_seg_head
        rows = head.present([entry(image_labels=(0, 3)), entry(image_labels=())]).tolist()
        assert np.flatnonzero(rows[0]).tolist() == [2] and not any(rows[1])

    @pytest.mark.parametrize("labels", [{}, {"image_labels": (16,)}, {"image_labels": (255,)}])
    def test_missing_or_unknown_image_level_labels_are_one_clear_error(self, labels):
        with pytest.raises(DatasetError, match=r"0\.png: image_labels must be ids of the 16 classes"):
            segmentor().sem_seg_head.present([entry(**labels)])

    def test_losses_reach_only_what_learns(self):
        model = segmentor().train()
        valid = torch.ones(32, 32, dtype=torch.bool)
        terms = model([entry(i, image_labels=(0, 1 + i), valid=valid) for i in range(2)])
        assert set(terms) == {"loss_seg", "loss_affinity"}
        sum(terms.values()).backward()
        trained = {name for name, p in model.named_parameters() if p.grad is not None}
        assert trained and not any(".clip." in name or ".dinov2." in name for name in trained)

    @pytest.mark.parametrize("size", [(32, 32), (90, 70), (20, 150)])
    def test_scores_have_the_size_of_the_source_and_sum_to_one(self, size):
        with torch.no_grad():
            scores = segmentor()([entry(0, *size, height=size[0], width=size[1])])[0]["sem_seg"]
        assert scores.shape == (16, *size)
        torch.testing.assert_close(scores.sum(dim=0), torch.ones(size))

    def test_scales_and_flips_are_read(self):
        one = segmentor()([entry()])[0]["sem_seg"]
        more = segmentor("TEST.SCALES", "(0.75, 1.25)")([entry()])[0]["sem_seg"]
        unflipped = segmentor("TEST.SCALES_FLIP", "False")([entry()])[0]["sem_seg"]
        assert not torch.equal(one, more) and not torch.equal(one, unflipped)

    def test_cams_name_only_the_classes_of_the_image(self):
        model = SegmentorCams(segmentor().sem_seg_head)
        with evaluating(model):
            labels = model([entry(0, 40, 36, image_labels=(0, 4, 7), height=20, width=18)])[0]["labels"]
        assert labels.shape == (20, 18) and set(labels.unique().tolist()) <= {0, 4, 7}

    def test_scores_are_those_of_the_tiles_scales_and_views_that_are_asked_for(self):
        keys = ("TEST.SCALES", "(1.0, 0.5)", "TEST.SCALES_FLIP", "False")
        segment = segmentor(*keys, "TEST.TILE", "48", "TEST.TILE_OVERLAP", "24")
        one, model = entry(2, 60, 110), plain_model(segment)
        with evaluating(segment):
            for views in (VIEWS["none"], VIEWS["lr"]):
                found = segment.sem_seg_head.probabilities(one, views)
                expected = scaled_scores(
                    model, one["image"], tile=48, overlap=24, scales=(1.0, 0.5), flip=False, views=views
                )
                torch.testing.assert_close(found, expected)

    @pytest.mark.parametrize("asked", [True, False])
    def test_a_crf_refines_where_the_configuration_asks_for_it(self, monkeypatch, asked):
        told = []
        monkeypatch.setattr(wsss_head, "check_crf_installed", lambda: None)
        monkeypatch.setattr(wsss_head, "scaled_scores", lambda *_, **options: told.append(options))
        segmentor("TEST.CRF", str(asked)).sem_seg_head.probabilities(entry(), VIEWS["none"])
        assert told[0]["crf"] is asked


class TestWiring:
    """Each step of a training and of a CAM's score, made by hand from the public parts."""

    def model_of(self, *opts: str):
        segment = segmentor("MODEL.WSSS.DROPOUT", "0.0", *opts)
        model = plain_model(segment)
        draws = torch.Generator().manual_seed(4)
        model.vpe.prototypes.normal_(generator=draws)
        model.vpe.ready[:8] = True
        return segment, model

    @staticmethod
    def final_cams(model, images, present, learn, valid=None):
        """Equations 9 to 20 from what the parts of the model say."""
        spec = model.spec
        padded = model._pad(images)
        pixels = (padded - model.clip_mean) / model.clip_std
        trace = {"value_path": spec.cam_attention == "value", "antialias": True}
        seen = model.clip.visual.traced(pixels, [0, 1, 2], spec.first_layer - 1, **trace)
        side = [cells // model.dino_stride * model.dino_stride for cells in padded.shape[2:]]
        small = F.interpolate(padded, side, mode="bilinear", align_corners=False)
        dino = model.dino_adapter([model.dinov2((small - model.dino_mean) / model.dino_std)])
        clip = model.clip_adapter([seen.taps[level - 1] for level in spec.clip_levels])
        dino = F.interpolate(dino, clip.shape[2:], mode="bilinear", align_corners=False)
        joint = torch.cat([clip, dino], dim=1).flatten(2).detach()
        affinity = joint_affinity(joint, spec.affinity)
        initial = initial_cam(seen.final.flatten(2), model.text_enriched, present, spec.background_power)
        attention = torch.stack([seen.attention[i] for i in sorted(seen.attention)], dim=1)
        refined = refine_cams(
            affinity, attention, initial, present, steps=spec.alpha, power=spec.background_power
        )
        if learn:
            stride = model.stride
            middle = slice(stride // 2, None, stride)
            cells = F.pad(valid, (0, 3))[:, middle, middle].flatten(1)[:, None]
            model.vpe.update(joint, select_seeds(refined.cams * cells, present, spec.seed_percent))
        return model.vpe.cam(joint, refined.cams, present, spec.background_power), clip.shape[2:], affinity

    def test_a_training_step_is_its_parts_in_their_order(self, monkeypatch):
        segment, model = self.model_of()
        segment.train()
        entries = [entry(i, 40, 29, image_labels=(0, 1 + i, 5), valid=torch.ones(40, 29, dtype=torch.bool))
                   for i in range(2)]  # fmt: skip
        entries[1]["valid"][30:] = False
        images, present = segment.sem_seg_head.images(entries), segment.sem_seg_head.present(entries)
        images, before = torch.stack(images), model.state_dict()["vpe.prototypes"].clone()
        valid = torch.stack([each["valid"] for each in entries])
        cams, grid, affinity = self.final_cams(model, images, present, learn=True, valid=valid)
        by_hand = model.vpe.prototypes.clone()
        model.vpe.prototypes.copy_(before)
        labels = model.pseudo_labels(images, cams.unflatten(2, grid), present, valid)
        seen = []
        original = type(model).losses
        monkeypatch.setattr(
            type(model),
            "losses",
            lambda self, out, target: (seen.append(target), original(self, out, target))[1],
        )
        terms = segment(entries)
        torch.testing.assert_close(model.vpe.prototypes, by_hand)
        assert (seen[0] == labels).float().mean() > 0.999 and (seen[0][1, 30:] == 255).all()
        target = F.pad(labels, (0, 3, 0, 0), value=255)
        pairs = affinity_target(target, tuple(grid), model.spec.radius)
        expected = model.spec.affinity_weight * affinity_loss(affinity, pairs)
        torch.testing.assert_close(terms["loss_affinity"].detach(), expected.detach(), rtol=1e-4, atol=1e-6)

    def test_cam_labels_are_the_refined_mean_over_the_passes(self):
        segment, model = self.model_of("TEST.SCALES", "(1.0, 0.5)")
        one = entry(3, 32, 48, image_labels=(2, 6))
        image = one["image"][None].float()
        present = segment.sem_seg_head.present([one])
        total = 0
        for size in ((32, 48), (16, 24)):
            for mirrored in (False, True):
                seen = F.interpolate(image, size, mode="bilinear") if size != (32, 48) else image
                seen = seen.flip(3) if mirrored else seen
                cams, grid, _ = self.final_cams(model, seen, present, learn=False)
                maps = F.interpolate(cams.unflatten(2, grid), (32, 48), mode="bilinear")
                total = total + (maps.flip(3) if mirrored else maps)
        mean = total[:, 1:] / 4
        low, high = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
        foreground = (mean - low) / (high - low).clamp(min=1e-6) * present[..., None, None]
        rebuilt = (1 - foreground.amax(1, keepdim=True)) ** model.spec.background_power
        labels = model.pseudo_labels(image, torch.cat([rebuilt, foreground], dim=1), present)
        with evaluating(model):
            found = segment.sem_seg_head.cam_labels(one)
        assert (found == labels[0]).float().mean() > 0.99

    def test_cams_of_more_than_a_tile_are_refused_before_they_explode(self):
        segment, _ = self.model_of()
        with pytest.raises(ConfigError, match=r"TEST\.TILE 64 px; found \(65, 20\)"):
            segment.sem_seg_head.cam_labels(entry(0, 65, 20, image_labels=(1,)))

    def test_cams_are_scored_by_the_complement_whatever_trains(self):
        scores = []
        for pseudo in ("complement", "dual_threshold"):
            segment, _ = self.model_of("MODEL.WSSS.PSEUDO", pseudo)
            with evaluating(segment):
                scores.append(segment.sem_seg_head.cam_labels(entry(3, image_labels=(2, 6))))
        assert torch.equal(*scores) and not (scores[0] == 255).any()

    def test_the_refinement_is_exact_under_mixed_precision(self):
        segment, model = self.model_of()
        images = torch.stack(segment.sem_seg_head.images([entry(1, 32, 32)]))
        with torch.autocast("cpu", torch.bfloat16):
            evidence = model(images, evidence=True).evidence
            cams = model.cams(evidence, segment.sem_seg_head.present([entry(1, image_labels=(1, 2))]))
        assert evidence.affinity.dtype == cams.final.dtype == torch.float32
        torch.testing.assert_close(
            evidence.affinity, joint_affinity(evidence.joint, "dot"), rtol=1e-6, atol=0
        )
