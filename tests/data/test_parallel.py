"""Functions over many files: results in order, and a bar that only a terminal sees."""

import io
import sys

import pytest

from rskt_seg.data.parallel import map_files


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "progress", "seen"),
    [(Terminal, True, True), (Terminal, False, False), (io.StringIO, True, False)],
)
def test_the_bar_is_for_terminals_and_does_not_run_into_lines_of_a_log(monkeypatch, stream, progress, seen):
    errors = stream()
    monkeypatch.setattr(sys, "stderr", errors)
    found = list(map_files(lambda item: item * 2, range(30), "doubling", workers=3, progress=progress))
    assert found == [2 * item for item in range(30)]
    assert ("doubling" in errors.getvalue()) is seen
