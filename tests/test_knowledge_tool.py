"""`rskt-seg knowledge` as a user runs it: what it prints, what it warns of, its exit statuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.commands import knowledge
from rskt_seg.commands import knowledge_file as tool
from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss.knowledge import PACKAGED, TINY, read_knowledge

ROOT = Path(__file__).parents[1]
DESCRIPTIONS = ROOT / "rskt_seg/models/wsss/descriptions"


@pytest.fixture
def call(capsys):
    """Run the tool: arguments -> exit status, standard output, standard error."""

    def run_tool(*argv):
        status = knowledge.main([str(arg) for arg in argv])
        return status, *capsys.readouterr()

    return run_tool


def lines_of(output, kind):
    return [line.removeprefix(f"{kind}: ") for line in output.splitlines() if line.startswith(f"{kind}: ")]


def changed(tmp_path, name="potsdam", **texts):
    """A copy of a packaged file; `texts`: class (blanks as _) -> its last descriptions after the opening."""
    content = json.loads(
        (ROOT / "rskt_seg/models/wsss/descriptions" / f"{name}.json").read_text(encoding="utf-8")
    )
    for each in content["classes"]:
        new = texts.get(each["name"].replace(" ", "_"), ())
        opening = content["template"].replace("{name}", each["name"]) + " It exhibits "
        for position, text in enumerate(new, start=1):
            each["descriptions"][-position] = opening + text
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_file_has_neither_errors_nor_warnings(call, name):
    status, output, _ = call("check", name)
    assert status == 0 and output.endswith("\n0 errors, 0 warnings\n")
    assert read_knowledge(name).digest in output
    for each in read_knowledge(name).classes:
        assert any(line.startswith(f"{each.name} ") for line in output.splitlines())


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("a dark roof.", "tree: 12..40 words expected, found 11: 'an overhead"),
        (f"a roof {'of many many tiles ' * 8}with a ridge.", "tree: 12..40 words expected, found 4"),
        ("one thing of a certain form. And another thing of that form.", "tree: one sentence expected"),
        ("some leaves of a certain form without an end", "tree: no full stop at the end"),
    ],
)
def test_a_sentence_that_is_badly_written_is_a_warning(call, tmp_path, text, warning):
    status, output, _ = call("check", changed(tmp_path, tree=[text]))
    (found,) = lines_of(output, "warning")
    assert status == 0 and found.startswith(warning) and output.endswith("\n0 errors, 1 warnings\n")


def test_hedging_is_counted_over_the_whole_file(call, tmp_path):
    once = {"tree": ["leaves that may be of any green between very dark and very pale."]}
    assert call("check", changed(tmp_path, **once))[1].endswith("0 errors, 0 warnings\n")
    twice = once | {"car": ["a body that is often white but just as well grey or black."]}
    output = call("check", changed(tmp_path, **twice))[1]
    assert lines_of(output, "warning") == ["hedging: may (1), often (1)"]


def test_more_than_a_third_of_sentences_with_other_classes_is_a_warning(call, tmp_path):
    # The only one that does is among those that are exchanged; a third of 20 are 6.
    named = [
        "leaves that grow close to tall buildings and hide their north side.",
        "a row of four equal crowns parallel to one building of brick.",
        "shade upon the hoods of three cars which stand in a corner.",
        "thin twigs over clutter where every colour of plastic shows through.",
        "one dome, several times as high as any car nearby and twice as wide.",
        "green lobes around a grey Building with pale gaps between both.",
        "some hundred points of light where low vegetation shows below bare twigs.",
    ]
    assert not lines_of(call("check", changed(tmp_path, tree=named[:6]))[1], "warning")
    output = call("check", changed(tmp_path, tree=named))[1]
    assert lines_of(output, "warning") == [
        "tree: 7 of 20 sentences name other classes of the file; at most a third"
    ]


def test_lengths_in_figures_are_for_where_they_are_typical(call, tmp_path):
    sizes = ("3 m wide", "40m long", "2.5 metres high", "900 mm deep")
    forms = ("crown", "needle top", "branching fan", "leafless mesh")
    texts = [
        f"a {form} that is {size} as seen in this picture." for form, size in zip(forms, sizes, strict=True)
    ]
    assert not lines_of(call("check", changed(tmp_path, tree=texts[:3]))[1], "warning")
    output = call("check", changed(tmp_path, tree=texts))[1]
    assert lines_of(output, "warning") == ["tree: 4 lengths in figures; at most 3, where they are typical"]


def test_one_sentence_under_two_classes_is_a_warning(call, tmp_path):
    same = "a wide plane of brown and grey stripes that run from left to right."
    other = same.replace("wide", "broad")
    output = call("check", changed(tmp_path, car=[same], clutter=[other]))[1]
    (found,) = lines_of(output, "warning")
    assert found.startswith("car, clutter: hardly different: 'a wide plane")


def test_what_the_text_tower_cannot_read_is_an_error(call, tmp_path):
    long = " ".join(["uncharacteristically crisscrossed"] * 14) + " ground."
    status, output, _ = call("check", changed(tmp_path, tree=[long]))
    (error,) = lines_of(output, "error")
    assert status == 1 and error.startswith("tree: the text encoder reads at most 77 tokens")
    status, output, _ = call("check", "potsdam", "--clip", "tiny")
    assert status == 1 and "the text encoder reads at most 24 tokens" in lines_of(output, "error")[0]
    assert "nearest own" not in output


def test_a_file_that_cannot_be_used_is_an_error_and_no_traceback(call, tmp_path):
    path = changed(tmp_path, tree=[""])
    status, output, _ = call("check", path)
    assert status == 1 and output.endswith("1 errors, 0 warnings\n")
    assert "class 'tree', line " in lines_of(output, "error")[0]
    assert call("check", tmp_path / "absent.json")[0] == 1


@pytest.mark.parametrize("dataset", ["Potsdam", "potsdam", "Potsdam_all_sem_seg", "Vaihingen"])
def test_potsdams_classes_are_those_of_the_isprs_sets(call, dataset):
    status, output, _ = call("check", "potsdam", "--classes", dataset)
    assert status == 0 and output.endswith("\n0 errors, 0 warnings\n")


def test_another_datasets_classes_are_an_error_and_an_unknown_dataset_a_wrong_call(call):
    status, output, _ = call("check", "isaid", "--classes", "Potsdam")
    assert status == 1 and "no descriptions of 'Impervious surfaces'" in lines_of(output, "error")[0]
    status, _, said = call("check", "isaid", "--classes", "Potsdum_all_sem_seg")
    assert status == 2 and "did you mean Potsdam_all_sem_seg" in said


def test_ids_that_are_not_those_of_the_dataset_are_a_warning(call):
    status, output, _ = call("check", "isaid", "--classes", "iSAID_val_sem_seg")
    assert status == 0
    assert lines_of(output, "warning") == ["ids are not those of iSAID; classes are found by their names"]


def test_what_is_called_background_needs_no_text_and_unused_classes_are_told(call, tmp_path):
    content = json.loads(
        (ROOT / "rskt_seg/models/wsss/descriptions" / "potsdam.json").read_text(encoding="utf-8")
    )
    clutter = content["classes"].pop()
    path = tmp_path / "five.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert call("check", path, "--classes", "Potsdam")[1].endswith("0 errors, 0 warnings\n")
    text = json.dumps(clutter).replace("clutter", "heap").replace("Clutter/background", "Heap")
    content["classes"].append(json.loads(text))
    path.write_text(json.dumps(content), encoding="utf-8")
    output = call("check", path, "--classes", "Potsdam")[1]
    assert lines_of(output, "warning") == ["Potsdam has no class heap"]


@pytest.mark.parametrize("name", TINY)
def test_a_file_for_the_tiny_tower_is_read_well_by_it(call, name):
    status, output, _ = call("check", name, "--clip", "tiny")
    assert status == 0 and "nearest own" in output
    assert not [line for line in lines_of(output, "warning") if "nearest to their own class" in line]


def unit(rows):
    return F.normalize(torch.tensor(rows, dtype=torch.float32), dim=-1)


def test_the_figures_of_sentences_on_a_circle_are_those_of_geometry():
    angles = torch.deg2rad(torch.tensor([0.0, 60.0, 120.0, 180.0, 10.0, 20.0, 30.0, 40.0]))
    texts = torch.stack((angles.cos(), angles.sin()), dim=1)
    wide, narrow = tool.spreads(texts, 2)
    # Pairs of the first: three of 60 degrees, two of 120, one of 180.
    assert wide.cosine == pytest.approx((3 * 0.5 - 2 * 0.5 - 1) / 6, abs=1e-6)
    # Means at 90 and 25 degrees, so that 0 degrees lies nearer to the other class.
    assert wide.nearest == 0.75
    assert narrow.nearest == 1.0 and narrow.cosine > 0.9
    assert wide.clusters == 4 and narrow.clusters == 4, "eight sentences, eight clusters"


@settings(max_examples=15)
@given(st.integers(2, 5), st.integers(10, 14), st.integers(0, 10_000))
def test_classes_far_apart_are_nearest_to_themselves(classes, n, seed):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.eye(8)[:classes].repeat_interleave(n, dim=0)
    texts = F.normalize(centres + 0.05 * torch.randn(classes * n, 8, generator=generator), dim=-1)
    for spread in tool.spreads(texts, classes):
        assert spread.nearest == 1.0 and spread.cosine > 0.8 and 1 <= spread.clusters <= 8


def test_each_limit_of_the_embedding_has_its_warning():
    knowledge = read_knowledge("potsdam")
    good = tool.Spread(0.9, 0.9, 2)
    wrong = [
        tool.Spread(0.74, 0.9, 2),
        tool.Spread(0.98, 0.9, 2),
        tool.Spread(0.9, 0.85, 2),
        tool.Spread(0.9, 1.0, 1),
    ]
    found = tool.Findings()
    tool.check_spreads(knowledge, [good, *wrong, good], found)
    names = ["building", "low vegetation", "tree", "car"]
    assert [line.split(":")[0] for line in found.warnings] == names and not found.errors
    assert "mean cosine 0.740" in found.warnings[0] and "85%" in found.warnings[2]


def test_weights_that_are_not_there_are_a_wrong_call(call, tmp_path):
    status, _, said = call("check", "potsdam", "--clip", tmp_path / "absent.pt")
    assert status == 2 and "absent.pt" in said


def test_it_runs_as_a_program():
    command = [sys.executable, str(ROOT / "tools" / "knowledge.py"), "check", "nothing.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "error: cannot read the description file nothing.json" in done.stdout


def test_the_example_of_the_documentation_misses_nothing_but_more_sentences(tmp_path):
    text = (ROOT / "docs" / "weak_supervision.md").read_text()
    example = json.loads(text.partition("```json\n")[2].partition("```")[0])
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(example))
    with pytest.raises(ConfigError, match=r"class 'ship', .*expected 10 to 40 descriptions, found 1"):
        read_knowledge(path)
    words = ["broad", "bright", "dark", "narrow", "round", "square", "pale", "long", "short"]
    for each in example["classes"]:
        (first,) = each["descriptions"]
        each["descriptions"] += [f"{first[:-1]}, {word} and {word}." for word in words]
    path.write_text(json.dumps(example))
    found = read_knowledge(path)
    assert not found.notices and found.for_classes(["Ship", "harbour"])[1].name == "harbor"
