"""What all tests share: started processes import the tested copy of the package; memory is given back."""

import ctypes
import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings

from tests.sources import tree

ROOT = Path(__file__).parents[1]
settings.register_profile("laws", deadline=None)  # times are those of the machine, and no law
settings.load_profile("laws")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


@pytest.fixture(autouse=True, scope="session")
def _no_cache_of_the_user(tmp_path_factory) -> Iterator[None]:
    """Keep text embeddings of tests out of the cache of the user; but the fonts of matplotlib stay there."""
    former = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", os.environ.get("MPLCONFIGDIR") or str(former / "matplotlib"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="module")
def _memory_is_given_back() -> Iterator[None]:
    """Return the memory of a module's large models to the system, which glibc would keep for later."""
    yield
    tree.cache_clear()
    gc.collect()
    if sys.platform == "linux":
        with suppress(AttributeError):  # musl has no such function
            ctypes.CDLL(None).malloc_trim(0)


def pytest_collection_modifyitems(items):
    """Put what is slow first: of two parallel processes one has all full-size models, one after the other.

    The many short tests keep the other busy meanwhile, and both until the end; the full-size models of both
    at once would take twice the memory.
    """
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Set the million objects of the imports aside, which every collection of garbage would visit anew."""
    gc.disable()
    result = yield
    gc.collect()
    gc.freeze()
    gc.enable()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Make what a test wrote encodable: parallel workers end at a name of a file that is not UTF-8."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def no_log_set_up():
    """Undo what a run within this process does to loggers: handlers that write to the output of its test.

    Nor does a logger propagate any more that Detectron2 has set up, and a later test would miss its lines.
    """
    before = {logger: (tuple(logger.handlers), logger.level, logger.propagate) for logger in _loggers()}
    yield
    for logger in _loggers():
        handlers, level, propagate = before.get(logger, ((), logging.NOTSET, True))
        for handler in set(logger.handlers) - set(handlers):
            logger.removeHandler(handler)
        if logger.level != level:  # setting it takes a look at every logger
            logger.setLevel(level)
        logger.propagate = propagate


def _loggers():
    return [
        logging.root,
        *(x for x in logging.root.manager.loggerDict.values() if isinstance(x, logging.Logger)),
    ]
