"""Modules of open_clip that are useful without its models."""

from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType


def open_clip_module(name: str) -> ModuleType:
    """Return a module of open_clip by itself: the package imports its models, for longer than torch takes.

    Args:
        name: Of a module that imports no other one of the package.

    Returns:
        The module, not in `sys.modules`.

    Raises:
        ModuleNotFoundError: open_clip is not installed, or has no such module.
    """
    package = find_spec("open_clip")
    spec = package and PathFinder.find_spec(f"open_clip.{name}", package.submodule_search_locations)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named 'open_clip.{name}'", name=f"open_clip.{name}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
