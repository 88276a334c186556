"""The modules of the package as the tests of its source see them: each file is parsed once."""

import ast
from collections.abc import Callable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "rskt_seg"
FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file; nobody changes the tree, and the module of tests that needs it keeps it."""
    return ast.parse(path.read_text())


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def every_file(check: Callable[[Path], None]) -> Callable[[], None]:
    """Make a test of the check of one file: it checks all, and fails with every one that breaks the law.

    A test for each file and law would be thousands, which take longer to be run than what they check.
    """

    def test() -> None:
        broken = []
        for path in FILES:
            try:
                check(path)
            except AssertionError as error:
                broken.append(f"{relative(path)}: {error}")
        assert not broken, "\n".join(broken)

    test.__name__, test.__doc__ = check.__name__, check.__doc__
    return test
