"""The registered methods: those of the package, those of installed packages, and those of the caller.

An installed package offers a method by an entry point of the group `rskt_seg.methods` that names a `Method`.
"""

import logging
from importlib.metadata import entry_points

from rskt_seg.errors import ConfigError
from rskt_seg.methods.record import Method

GROUP = "rskt_seg.methods"
logger = logging.getLogger(__name__)


class _Registry:
    """Methods by name; built-in ones and entry points are loaded at the first look."""

    def __init__(self) -> None:
        self._methods: dict[str, Method] = {}
        self._loaded = False

    def all(self) -> tuple[Method, ...]:
        if not self._loaded:
            self._loaded = True
            self._load()
        return tuple(self._methods.values())

    def add(self, method: Method) -> None:
        for other in self.all():
            taken = sorted(set(other.presets) & set(method.presets))
            if other.name == method.name or taken or other.model is method.model:
                what = f"the preset {taken[0]}" if taken else "its model class"
                what = f"the name {method.name!r}" if other.name == method.name else what
                raise ConfigError(f"method {method.name!r}: {other.title} has {what} already; choose another")
        self._methods[method.name] = method

    def remove(self, name: str) -> None:
        if name not in {method.name for method in self.all()}:
            raise ConfigError(f"no method is called {name!r}; known are {', '.join(self._methods)}")
        del self._methods[name]

    def _load(self) -> None:
        from rskt_seg.methods.builtin import BUILTIN

        for method in BUILTIN:
            self.add(method)
        for point in entry_points(group=GROUP):
            try:
                method = point.load()
                if not isinstance(method, Method):
                    raise TypeError(f"a rskt_seg.methods.Method expected; found {type(method).__name__}")
                self.add(method)
            except Exception as error:  # a defect of another package must not stop this one
                logger.warning("the method %s (%s) cannot be used: %s", point.name, point.value, error)


_REGISTRY = _Registry()


def register_method(method: Method) -> Method:
    """Make a method known to `create_model`, `load_checkpoint`, `Segmenter`, training and the benchmark.

    Returns:
        The method, so that `METHOD = register_method(Method(...))` reads well.

    Raises:
        ConfigError: its name, one of its presets or its model class is taken.
    """
    _REGISTRY.add(method)
    return method


def unregister_method(name: str) -> None:
    """Forget a method.

    Raises:
        ConfigError: none has this name.
    """
    _REGISTRY.remove(name)


def registered_methods() -> tuple[Method, ...]:
    """Return every method: built in, from installed packages, registered by the caller."""
    return _REGISTRY.all()


def method_of(model: object) -> Method:
    """Return the method whose model class `model` is an instance of.

    Raises:
        ConfigError: the model is of no registered method.
    """
    for method in registered_methods():
        if isinstance(model, method.model):
            return method
    raise ConfigError(
        f"{type(model).__name__} is the model of no registered method; build one with rskt_seg.create_model, "
        "or register its method with rskt_seg.register_method"
    )
