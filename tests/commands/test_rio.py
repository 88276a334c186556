"""`rio segment`, as rasterio's command line finds it."""

from importlib.metadata import entry_points

import pytest
from click.testing import CliRunner

from rskt_seg.commands import rio


def test_rasterio_finds_the_plug_in():
    (plugin,) = (each for each in entry_points(group="rasterio.rio_plugins") if each.name == "segment")
    assert plugin.load() is rio.segment


@pytest.mark.parametrize(
    ("argv", "status", "text"),
    [
        (["--help"], 0, "usage: rio segment"),
        (["a.tif", "--output", "out"], 2, "rio segment: error: give either --weights FILE"),
        (["--output", "out"], 2, "no image is given"),
    ],
)
def test_all_arguments_go_to_the_command(tmp_path, capfd, monkeypatch, argv, status, text):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(rio.segment, argv)
    assert result.exit_code == status
    assert text in result.output + "".join(capfd.readouterr())
