"""Every row of the manifest is complete, gives a reason for what it does not know, and is documented."""

import re
from pathlib import Path
from urllib.parse import urlparse

import pytest
import yaml

from rskt_seg.checkpoints.manifest import FOLDER, MODEL_ROLE, by_file, by_name
from rskt_seg.errors import WeightsNotFoundError
from rskt_seg.methods import find_preset, registered_methods
from rskt_seg.methods.weights import fetch_command, manifest
from tests.d2.configurations import configurations, own_keys

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "weights.md").read_text()
ROWS = manifest()
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def mentioned_paths():
    """Path below `pretrained/` -> the keys of the project's configurations that mention it."""
    paths = {}
    for config in configurations(ROOT / "configs"):
        encoders = own_keys(config).get("MODEL", {}).get("ENCODERS", {})
        for key, source in encoders.items():
            if source.startswith(f"{FOLDER}/"):
                paths.setdefault(source, []).append(f"MODEL.ENCODERS.{key}")
    return paths


@each_row
def test_a_row_states_every_fact_or_why_it_is_unknown(row):
    for field in ("sha256", "size", "licence"):
        known = getattr(row, field) is not None
        assert known != (field in row.unknown), f"{field} must be known, or have a reason, not both"
    assert row.unknown.keys() <= {"sha256", "size", "licence"}
    assert all(len(reason) > 10 for reason in row.unknown.values())
    assert row.facts and re.fullmatch(r"[a-z0-9-]+", row.name)


def test_the_role_of_a_row_is_that_of_an_encoder_or_a_whole_model():
    roles = {role for method in registered_methods() for role in method.encoders}
    for row in ROWS:
        published = any(row in method.weights for method in registered_methods())
        assert row.role == MODEL_ROLE if published else row.role in roles
        key = "MODEL.WEIGHTS" if published else f"MODEL.ENCODERS.{row.role.upper()}"
        assert row.config_keys[0] == key and set(row.also) <= roles


@each_row
def test_a_digest_is_whole_or_the_beginning_that_the_file_name_publishes(row):
    if row.sha256 is not None:
        assert re.fullmatch(r"[0-9a-f]{8,64}", row.sha256)
        assert len(row.sha256) == 64 or row.sha256 in row.file
    assert row.size is None or row.size > 0


@each_row
def test_a_row_has_one_source_and_a_page_for_people(row):
    assert [bool(row.hub), bool(row.url), bool(row.by_hand), bool(row.package)].count(True) == 1
    assert not row.package or (ROOT / row.page).is_file()
    for address in filter(None, ("" if row.package else row.page, row.url)):
        parts = urlparse(address)
        assert parts.scheme == "https" and "." in parts.netloc
    if row.url:
        assert row.url.rsplit("/", 1)[1] == row.file
    if row.hub:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", row.hub)


def test_names_and_files_are_unique():
    assert len({row.name for row in ROWS}) == len({row.file for row in ROWS}) == len(ROWS)


def test_the_digests_of_openai_are_those_of_the_addresses_that_open_clip_knows():
    from open_clip import get_pretrained_cfg

    for name, model in (("clip-vitb16", "ViT-B-16"), ("clip-vitl14-336", "ViT-L-14-336")):
        row = by_name(name, ROWS)
        assert row.url == get_pretrained_cfg(model, "openai")["url"]
        assert row.sha256 == row.url.split("/")[-2]


def test_the_addresses_are_those_that_torchvision_and_timm_know():
    import timm
    from torchvision.models import ConvNeXt_Base_Weights, VGG16_Weights

    known = {
        "vgg16": VGG16_Weights.IMAGENET1K_V1.url,
        "convnext-base": ConvNeXt_Base_Weights.IMAGENET1K_V1.url,
        "dino-vitb8": "vit_base_patch8_224.dino",
        "dinov2-vits14": "vit_small_patch14_dinov2.lvd142m",
        "dinov2-vitb14": "vit_base_patch14_dinov2.lvd142m",
    }
    for name, source in known.items():
        url = source if source.startswith("https") else timm.models.get_pretrained_cfg(source).url
        assert by_name(name, ROWS).url == url


def test_every_file_that_a_configuration_names_has_a_row_of_its_role():
    paths = mentioned_paths()
    assert len(paths) >= 5
    for path, keys in paths.items():
        row = by_file(path, ROWS)
        assert row is not None, f"{path} has no row"
        assert set(row.config_keys) == set(keys)


@pytest.mark.parametrize("row", [row for row in ROWS if row.role == MODEL_ROLE], ids=lambda row: row.name)
def test_a_published_checkpoint_names_the_configurations_and_the_model_that_load_it(row):
    assert list(ROOT.glob(re.match(r"configs/\S+\.yaml", row.note)[0]))
    name, _, options = re.search(r"create_model\((.*?)\)", row.note)[1].partition(", ")
    method, _ = find_preset(name.strip('"'))
    assert row in method.weights
    for option in re.findall(r"(\w+)=", options):
        assert option in method.options


def test_the_published_checkpoints_name_their_configuration_and_its_number_of_layers():
    published = [row for row in ROWS if row.name.startswith("rskt-")]
    assert len(published) == 4
    for row in published:
        config = ROOT / re.match(r"configs/\S+\.yaml", row.note)[0]
        layers = yaml.safe_load(config.read_text())["MODEL"]["RSKT"].get("NUM_LAYERS", 5)
        assert f"num_layers={layers})" in row.note


@each_row
def test_the_document_has_a_line_for_every_row_with_what_is_known_of_it(row):
    (line,) = re.findall(rf"^\| `{re.escape(row.name)}` \|.*$", DOCUMENT, flags=re.MULTILINE)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    digest = f"`{row.sha256[:8]}`" if row.sha256 else "unknown"
    assert cells[1] == f"`{row.file}`" and cells[3] == digest and cells[4] == (row.licence or "unknown")
    assert row.page in cells[2]


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(WeightsNotFoundError, match="did you mean clip-vitb16"):
        by_name("clip-vitb32", ROWS)
    with pytest.raises(WeightsNotFoundError, match=r"known are clip-vitb16, .*fctl-deepglobe"):
        by_name("???", ROWS)


def test_the_command_for_a_file_leads_to_where_it_is_looked_for():
    command = "rskt-seg weights fetch clip-vitb16"
    assert fetch_command("pretrained/ViT-B-16.pt") == command
    assert fetch_command("/data/w/ViT-B-16.pt") == f"{command} --to /data/w"
    assert fetch_command("pretrained/own.pt") is None
