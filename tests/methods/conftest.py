"""The miniature datasets of the Detectron2 tests serve the tests of methods too."""

from tests.d2.conftest import data_root

__all__ = ["data_root"]
