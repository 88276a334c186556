"""The notebooks of the documentation run, one after the other in one process, as `make docs` runs them."""

import pytest
from docs_notebooks import Kernel, page_of, read_notebook
from docs_site import notebooks

from tests.pages import ROOT

each_notebook = pytest.mark.parametrize("path", notebooks(ROOT), ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def kernel():
    with Kernel() as kernel:
        yield kernel


@each_notebook
def test_a_notebook_runs_and_shows_pictures(kernel, path):
    page, pictures = page_of(kernel.run(read_notebook(path)), path.name)
    assert len(pictures) >= 2 and "docs-site-" not in page


@each_notebook
def test_a_notebook_is_kept_without_outputs(path):
    for cell in read_notebook(path).cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


def test_a_cell_that_fails_is_an_error(kernel):
    import nbformat
    from nbclient.exceptions import CellExecutionError

    for source in ("1 / 0", "%%bash\nrskt-seg segment --no-such-flag"):
        with pytest.raises(CellExecutionError):
            kernel.run(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]))


def test_names_and_files_of_one_notebook_are_not_those_of_the_next(kernel):
    import nbformat

    def run(source):
        return kernel.run(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]))

    run("mine = 1; open('mine.txt', 'w').close()")
    run("import os; assert 'mine' not in globals() and not os.listdir()")
