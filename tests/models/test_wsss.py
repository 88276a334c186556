"""Laws of the weakly supervised model as a whole, on its tiny form with random encoders."""

import dataclasses
import math

import pytest
import torch

import rskt_seg
from rskt_seg import create_model
from rskt_seg.data.class_sets import ISAID, ISPRS
from rskt_seg.errors import ConfigError, LabelError, VocabularyError
from rskt_seg.models.wsss.budget import count_parameters, count_table4_operations
from rskt_seg.models.wsss.classes import find_channels, with_background
from rskt_seg.models.wsss.spec import PriorWSSSSpec

NAMES = ("ship", "plane", "harbor")
SMALL = {"par_dilations": (1, 2), "par_iters": 2, "dim": 16, "heads": 2, "decoder_layers": 1}


def build(names=NAMES, seed=0, encode=True, **options):
    torch.manual_seed(seed)
    model = create_model("prior_wsss_tiny", names, **{**SMALL, **options})
    if encode:
        model.encode_classes()
    return model


def images(batch=2, height=48, width=48, seed=1):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 255


def present(*rows):
    return torch.tensor(rows, dtype=torch.bool)


def learn(model, x, here, valid=None):
    output = model(x, evidence=True)
    cams = model.cams(output.evidence, here, learn=True)
    labels = model.pseudo_labels(x, cams.final.unflatten(2, output.evidence.grid), here, valid)
    return model.losses(output, labels), labels


class TestClasses:
    def test_a_background_class_is_added_once(self):
        model = build()
        assert model.class_names == ("background", *NAMES)
        assert model.foreground == NAMES and model.channel_ids == (0, 1, 2, 3)
        assert with_background(("Background", "ship"), "complement") == ("Background", "ship")

    def test_a_class_of_the_data_may_stand_for_the_background(self):
        model = build(ISPRS.names, background="class:clutter", encode=False)
        assert model.class_names == ISPRS.names and model.channel_ids == (5, 0, 1, 2, 3, 4)
        other = find_channels(ISPRS.names, "class:impervious surfaces")
        assert other.ids == (0, 1, 2, 3, 4, 5) and "Clutter/background" in other.foreground

    def test_without_a_background_every_class_has_a_text(self):
        model = build(background="none")
        assert model.class_names == NAMES and model.channel_ids == (255, 0, 1, 2)

    @pytest.mark.parametrize(
        ("names", "background", "said"),
        [
            (("ship", "plane"), "class:harbour", "one class named 'harbour'"),
            (("ship", "background"), "complement", "with the id 0"),
            (("background",), "complement", "besides the background"),
            (("roof/a", "wall/a"), "class:a", "exactly one class named"),
        ],
    )
    def test_a_background_that_is_not_there_is_one_clear_error(self, names, background, said):
        with pytest.raises(ConfigError, match=said):
            find_channels(names, background)

    def test_the_model_needs_names(self):
        with pytest.raises(ConfigError, match="by name"):
            create_model("prior_wsss_tiny", 15)
        with pytest.raises(VocabularyError, match="twice"):
            create_model("prior_wsss_tiny", ["ship", "Ship"])
        with pytest.raises(ConfigError, match="twice"):
            create_model("prior_wsss_tiny", ["ship"], class_names=["ship"])

    def test_classes_that_no_packaged_file_describes_are_one_clear_error(self):
        model = build(("igloo",), encode=False, descriptions="")
        with pytest.raises(ConfigError, match=r"igloo.*tpe=False"):
            model.encode_classes()

    def test_texts_that_were_kept_are_the_same_and_as_loudly_alike(self, tmp_path, caplog):
        caplog.set_level("INFO")
        model, texts, said = build(encode=False, text_weight=5.0), [], []
        rskt_seg.load_encoder(model, "clip", "tiny")
        for _ in range(2):
            caplog.clear()
            model.encode_classes(tmp_path)
            texts.append(model.text_enriched.clone())
            said.append([line for line in caplog.messages if "cosine" in line])
        assert torch.equal(*texts) and said[0] == said[1]
        assert any("makes classes similar" in line for line in said[0])
        assert len(list(tmp_path.glob("class_texts_*.npy"))) == 1


class TestForward:
    @pytest.mark.parametrize("size", [(48, 48), (40, 56), (45, 51), (5, 9), (8, 8)])
    def test_any_size_gives_logits_at_the_grid(self, size):
        model, (height, width) = build(), size
        logits = model(images(1, *size)).logits
        assert logits.shape == (1, 4, math.ceil(height / 8), math.ceil(width / 8))
        assert logits.isfinite().all()

    def test_evidence_does_not_change_the_logits(self):
        model, x = build(), images()
        torch.testing.assert_close(model(x).logits, model(x, evidence=True).logits)

    def test_images_of_a_batch_do_not_see_each_other(self):
        model, x, here = build(), images(), present([1, 0, 0], [0, 1, 1])
        both, one = model.stages(x, here), model.stages(x[1:], here[1:])
        for a, b in zip(dataclasses.astuple(both), dataclasses.astuple(one), strict=True):
            torch.testing.assert_close(a[1:], b, atol=1e-5, rtol=1e-4)

    def test_the_mean_of_both_decodings_is_asked_for_by_name(self):
        x = images()
        plain, both = build()(x).logits, build(decode_dino=True)(x).logits
        assert plain.shape == both.shape and not torch.allclose(plain, both)

    def test_padding_has_the_mean_colour_and_the_rest_stays(self):
        model, x = build(), images(1, 45, 51)
        padded = model._pad(x)
        assert padded.shape[2:] == (48, 56)
        torch.testing.assert_close(padded[..., :45, :51], x)
        torch.testing.assert_close(padded[..., 45:, :], model.clip_mean.expand(1, 3, 3, 56))

    def test_cams_before_the_classes_are_encoded_are_one_clear_error(self):
        with pytest.raises(ConfigError, match="encode_classes"):
            build(encode=False)(images(), evidence=True)

    def test_evidence_has_only_the_attention_that_is_read(self):
        evidence = build(first_layer=2)(images(), evidence=True).evidence
        assert evidence.attention.shape == (2, 3, 36, 36)
        assert build(usr=False)(images(), evidence=True).evidence.attention.shape[1] == 0


class TestFrozen:
    def test_gradients_reach_everything_that_learns_and_nothing_frozen(self):
        model = build(dropout=0.0).train()
        terms, _ = learn(model, images(), present([1, 0, 0], [0, 1, 1]))
        sum(terms.values()).backward()
        for name, parameter in model.named_parameters():
            frozen = name.split(".")[0] in ("clip", "dinov2")
            assert parameter.requires_grad is not frozen, name
            assert (parameter.grad is not None and parameter.grad.abs().sum() > 0) is not frozen, name

    def test_frozen_encoders_stay_in_evaluation_mode(self):
        model = build().train()
        assert model.training and model.decoder.training
        assert not any(m.training for part in (model.clip, model.dinov2) for m in part.modules())

    def test_pseudo_labels_carry_no_gradient_but_the_affinity_does(self):
        model = build().train()
        output = model(images(), evidence=True)
        cams = model.cams(output.evidence, present([1, 0, 0], [0, 1, 1]), learn=True)
        assert not cams.final.requires_grad
        assert output.evidence.affinity.requires_grad and not output.evidence.features.requires_grad

    def test_only_training_moves_the_prototypes_and_counts_the_steps(self):
        model, here = build(), present([1, 0, 0], [0, 1, 1])
        model.stages(images(), here)
        assert not model.vpe.ready.any() and model.steps == 0
        learn(model.train(), images(), here)
        assert model.vpe.ready.tolist() == here.any(dim=0).tolist() and model.steps == 1

    def test_the_state_goes_round(self):
        model, here = build().train(), present([1, 0, 0], [0, 1, 1])
        learn(model, images(), here)
        other = build(seed=5)
        other.load_state_dict(model.state_dict())
        for a, b in zip(
            dataclasses.astuple(model.eval().stages(images(), here)),
            dataclasses.astuple(other.stages(images(), here)),
            strict=True,
        ):
            assert torch.equal(a, b)


class TestLabels:
    def test_absent_classes_are_never_labelled(self):
        model, here = build(), present([1, 0, 0], [0, 0, 1])
        labels = model.stages(images(), here).labels
        assert set(labels[0].unique().tolist()) <= {0, 1} and set(labels[1].unique().tolist()) <= {0, 3}

    def test_pseudo_labels_are_ids_of_the_data(self):
        names = ("Road", "Building", "Clutter/background")
        model = build(names, background="class:clutter", tpe=False, descriptions="")
        assert set(model.stages(images(), present([0, 1], [0, 1])).labels.unique().tolist()) == {1, 2}

    def test_permuting_the_classes_permutes_cams_and_leaves_the_labels_the_same_classes(self):
        order = [2, 0, 1]
        a, b = build(tpe=False), build([NAMES[i] for i in order], tpe=False)
        here = present([1, 1, 0], [0, 1, 1])
        first, second = a.stages(images(), here), b.stages(images(), here[:, order])
        torch.testing.assert_close(first.final[:, [0, 3, 1, 2]], second.final, atol=1e-5, rtol=1e-4)
        table = torch.tensor([0, 3, 1, 2])
        assert (first.labels == table[second.labels]).float().mean() > 0.999

    @pytest.mark.parametrize("pseudo", ["complement", "dual_threshold"])
    @pytest.mark.parametrize("background", ["complement", "none"])
    def test_a_batch_without_any_class_gives_a_finite_loss(self, pseudo, background):
        model = build(pseudo=pseudo, background=background).train()
        terms, labels = learn(model, images(), torch.zeros(2, 3, dtype=torch.bool))
        assert labels.unique().tolist() == [0 if background == "complement" else 255]
        loss = sum(terms.values())
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)

    def test_what_is_not_valid_is_no_label_and_all_else_has_one(self):
        model, here = build(dropout=0.0, vpe=False).train(), present([1, 0, 0], [0, 1, 1])
        valid = torch.ones(2, 48, 48, dtype=torch.bool)
        valid[:, 32:] = False
        _, labels = learn(model, images(), here, valid)
        assert (labels[:, 32:] == 255).all() and (labels[:, :32] != 255).all()

    def test_a_set_of_one_class_can_be_learnt(self):
        model = build(("ship",)).train()
        terms, _ = learn(model, images(), present([1], [0]))
        assert sum(terms.values()).isfinite()

    def test_a_class_outside_is_refused(self):
        model = build()
        with pytest.raises(LabelError):
            model.losses(model(images()), torch.full((2, 48, 48), 4))


class TestPresent:
    @pytest.mark.parametrize(
        "labels", [[True, False, True], [[1, 0, 0], [0, 1, 0]], [[True, False]] * 2, [[True, False, True]]]
    )
    def test_labels_of_another_shape_or_kind_are_one_clear_error(self, labels):
        with pytest.raises(ConfigError, match="one column for each of ship, plane, harbor; found"):
            build().stages(images(), labels)


class TestLosses:
    def test_decoding_both_features_gives_the_mean_of_two_decodings(self):
        model, x = build(decode_dino=True), images()
        evidence = model(x, evidence=True).evidence
        clip, dino = (part.unflatten(2, evidence.grid) for part in evidence.joint.chunk(2, dim=1))
        torch.testing.assert_close(model(x).logits, (model.decoder(clip) + model.decoder(dino)) / 2)

    def test_a_model_without_any_loss_is_refused(self):
        with pytest.raises(ConfigError, match="nothing would be trained"):
            build(encode=False, seg_weight=0.0, affinity_weight=0.0)


class TestOptions:
    def test_every_stage_can_be_switched_off(self):
        here = present([1, 0, 0], [0, 1, 1])
        stages = build(usr=False, vpe=False, tpe=False).stages(images(), here)
        assert torch.equal(stages.initial, stages.final)
        stages = build(vpe=False).stages(images(), here)
        assert torch.equal(stages.refined, stages.final) and not torch.equal(stages.initial, stages.final)

    def test_before_start_iter_every_attention_map_counts(self):
        here = present([1, 0, 0], [0, 1, 1])
        filtered, plain = build(first_layer=1), build(first_layer=1, start_iter=5)
        assert not torch.equal(filtered.stages(images(), here).refined, plain.stages(images(), here).refined)
        plain.steps += 5
        assert torch.equal(filtered.stages(images(), here).refined, plain.stages(images(), here).refined)

    @pytest.mark.parametrize(
        "change",
        [
            {"cam_attention": "value"},
            {"affinity": "cosine"},
            {"alpha": 1},
            {"rounds": 1},
            {"renorm": False},
            {"first_layer": 2},
            {"background_power": 2.0},
            {"topk": 1},
            {"clusters": 5},
            {"text_weight": 0.1},
            {"positions": "timm"},
            {"template": "a satellite photo of a {}"},
            {"par_iters": 0},
            {"par_w1": 0.1},
            {"par_w2": 0.5},
            {"par_dilations": (1,)},
            {"pseudo": "dual_threshold"},
        ],
        ids=str,
    )
    def test_every_option_of_the_labels_bites(self, change):
        here, x = present([1, 0, 0], [0, 1, 1]), images(height=32, width=32)
        a, b = build(), build(**change)
        # Trained, the two would differ more; prototypes set by hand make VPE weigh.
        for model in (a, b):
            model.vpe.prototypes.normal_(generator=torch.Generator().manual_seed(3))
            model.vpe.ready.fill_(True)
        first, second = (dataclasses.astuple(model.stages(x, here)) for model in (a, b))
        assert any(not torch.equal(p, q) for p, q in zip(first, second, strict=True))

    @pytest.mark.parametrize(
        "change",
        [
            {"seg_loss": "plain"},
            {"seg_weight": 0.5},
            {"affinity_weight": 0.5},
            {"radius": 1},
            {"seed_percent": 100.0},
            {"momentum": 0.0},
        ],
        ids=str,
    )
    def test_every_option_of_the_training_bites(self, change):
        here, x = present([1, 0, 0], [0, 1, 1]), images()
        results = []
        for model in (build(dropout=0.0), build(dropout=0.0, **change)):
            learn(model.train(), x, here)
            terms, _ = learn(model, images(seed=9), here)
            results.append([*terms.values(), model.vpe.prototypes])
        assert any(not torch.equal(a, b) for a, b in zip(*results, strict=True))

    def test_dropout_is_for_the_decoder_alone(self):
        model = build(dropout=0.9).train()
        a, b = model(images(), evidence=True), model(images(), evidence=True)
        assert not torch.equal(a.logits, b.logits) and torch.equal(a.evidence.joint, b.evidence.joint)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"heads": 3}, "must divide"),
            ({"clip_levels": (3, 2)}, "ascending"),
            ({"clip_levels": (1, 9)}, "has 4 blocks"),
            ({"first_layer": 5}, "has 4 blocks"),
            ({"topk": 9}, "topk must be at most clusters"),
            ({"background": "clutter"}, "class:<name>"),
            ({"background": "class: "}, "class:<name>"),
            ({"template": "ship"}, "exactly once"),
            ({"low": 0.9, "pseudo": "dual_threshold"}, "low must be at most high"),
            ({"high": 0.9}, "no effect"),
            ({"tpe": False, "clusters": 4}, "no effect"),
            ({"usr": False, "alpha": 1}, "no effect"),
            ({"vpe": False, "momentum": 0.5}, "no effect"),
            ({"momentum": 1.5}, "between 0.0 and 1.0"),
            ({"alpha": 1.5}, "of type int"),
            ({"dino": "vitb8"}, "one of vitb14, vits14, tiny"),
        ],
        ids=str,
    )
    def test_a_value_that_cannot_be_used_is_one_clear_error(self, change, said):
        with pytest.raises(ConfigError, match=said):
            build(encode=False, **change)

    def test_lists_of_a_configuration_stand_for_tuples(self):
        assert PriorWSSSSpec(4, par_dilations=[1, 2]).par_dilations == (1, 2)


@pytest.mark.parametrize(
    ("dino", "levels", "optimised", "trainable", "total"),
    [
        ("vits14", 11, 6_213_904, 16_454_160, 177_891_217),
        ("vitb14", 11, 6_312_208, 16_552_464, 242_513_425),
        ("vits14", 12, 6_542_096, 16_782_352, 178_219_409),
        ("vitb14", 12, 6_640_400, 16_880_656, 242_841_617),
    ],
)
def test_the_parameters_are_those_of_the_specification_to_the_unit(dino, levels, optimised, trainable, total):
    with torch.device("meta"):
        options = {"dino": dino, "clip_levels": tuple(range(1, levels + 1))}
        model = create_model("prior_wsss_vitb16", ISAID.names, **options)
        six = create_model("prior_wsss_vitb16", ISPRS.names, background="class:clutter", **options)
    count = count_parameters(model)
    assert (count.optimised, count.table4_trainable, count.table4_total) == (optimised, trainable, total)
    assert count_parameters(six).optimised == optimised - 2_570
    assert f"{optimised:,} parameters optimised" in str(
        count
    ) and f"{trainable:,} trainable of {total:,}" in str(count)


@pytest.mark.slow
@pytest.mark.parametrize(("dino", "giga"), [("vits14", 194.32), ("vitb14", 318.62)])
def test_the_operations_are_those_of_table_4(dino, giga):
    model = create_model("prior_wsss_vitb16", ISAID.names, dino=dino)
    assert round(count_table4_operations(model) / 1e9, 2) == giga
