"""The seconds of docs/hardware.md follow from the operations and distances that they name."""

import re

import pytest

from tests.pages import ROOT

PAGE = (ROOT / "docs/hardware.md").read_text()
PERFORMANCE = (ROOT / "docs/performance.md").read_text()
ROW = re.compile(
    r"^\| RSKT-Seg ViT-B, (\d+) names.*? \| ([\d,]+) \| ([\d.]+), ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", re.M
)
RATES = [
    float(rate) for rate in re.search(r"multiplies\s+(\d+) GFLOP/s in fp32 and (\d+) in bf16", PAGE).groups()
]


def test_rates_are_those_of_the_measured_machine():
    fp32, bf16 = re.search(r"machine: (\d+) GFLOP/s in fp32 .*?, (\d+) in bf16", PERFORMANCE).groups()
    assert [float(fp32), float(bf16)] == RATES


@pytest.mark.parametrize("row", ROW.findall(PAGE), ids=lambda row: f"{row[0]} names")
def test_seconds_are_operations_times_distance_over_the_rate(row):
    names, work, *figures = row
    fp32, bf16, seconds_fp32, seconds_bf16 = map(float, figures)
    needed = float(work.replace(",", ""))
    assert re.search(rf"^\| {names} \| \d+ \| {needed:.0f} \|$", PERFORMANCE, re.M)
    for form, distance in (("fp32", fp32), ("bf16", bf16)):
        assert re.search(
            rf"^\| \*\*form {form}\*\* \| {names} \|.*\| \*\*{distance}\*\* \|", PERFORMANCE, re.M
        )
    assert seconds_fp32 == pytest.approx(needed * fp32 / RATES[0], abs=0.05)
    assert seconds_bf16 == pytest.approx(needed * bf16 / RATES[1], abs=0.05)


def test_there_are_two_rows():
    assert len(ROW.findall(PAGE)) == 2
