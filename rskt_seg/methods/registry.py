"""Registered methods: those of this package, of installed packages, and of the caller.

An installed package offers a method by an entry point of the group `rskt_seg.methods` that names a `Method`.
"""

import logging
from importlib.metadata import entry_points

from rskt_seg.errors import ConfigError
from rskt_seg.methods.record import Method, StatesMethod

GROUP = "rskt_seg.methods"
logger = logging.getLogger(__name__)


class _Registry:
    """Methods by name. Built-in methods and entry points are loaded on first use."""

    def __init__(self) -> None:
        self._methods: dict[str, Method] = {}
        self._loaded = False

    def all(self) -> tuple[Method, ...]:
        if not self._loaded:
            self._loaded = True  # first, because loading adds methods, which looks at all of them
            self._load()
        return tuple(self._methods.values())

    def add(self, method: Method) -> None:
        if not isinstance(method, Method):
            raise ConfigError(f"expected a rskt_seg.methods.Method; found {type(method).__name__}")
        for other in self.all():
            if other is method:
                return
            presets = sorted(set(other.presets) & set(method.presets))
            if other.name == method.name:
                taken = f"the name {method.name!r}"
            elif presets:
                taken = f"the preset {presets[0]}"
            elif other.title == method.title:
                taken = f"the title {method.title!r}"
            elif other.model is method.model:
                taken = "its model class"
            else:
                continue
            raise ConfigError(f"method {method.name!r}: {other.title} has {taken} already; choose another")
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
                self.add(point.load())
            except (Exception, SystemExit) as error:  # a defect of another package must not stop this one
                logger.warning(
                    "entry point %s = %s of the group %s cannot be used: %s; update or uninstall its package",
                    point.name,
                    point.value,
                    GROUP,
                    " ".join(str(error).split()) or type(error).__name__,
                )


_REGISTRY = _Registry()


def register_method(method: Method) -> Method:
    """Make a method known to `create_model`, `load_checkpoint`, `Segmenter`, training and the benchmark.

    Args:
        method: The record.

    Returns:
        The record, so that `METHOD = register_method(Method(...))` can be written.

    Raises:
        ConfigError: Another method has its name, its title, one of its presets or its model class.
    """
    _REGISTRY.add(method)
    return method


def unregister_method(name: str) -> None:
    """Remove a method from the registered ones.

    Args:
        name: `Method.name`.

    Raises:
        ConfigError: No method has this name.
    """
    _REGISTRY.remove(name)


def registered_methods() -> tuple[Method, ...]:
    """Return all methods: built-in, from installed packages, and registered by the caller."""
    return _REGISTRY.all()


def method_of(model: object) -> Method:
    """Return the method of a model.

    Args:
        model: An instance of the model class of a registered method, or of a subclass; or one that states
            its method itself.

    Returns:
        Of several candidates, the method whose model class is nearest in the bases of the class.

    Raises:
        ConfigError: The model belongs to no registered method.
    """
    if isinstance(model, StatesMethod):
        return model.method
    by_class = {method.model: method for method in registered_methods()}
    for base in type(model).__mro__:
        if base in by_class:
            return by_class[base]
    raise ConfigError(
        f"{type(model).__name__} is the model class of no registered method; build models with "
        "rskt_seg.create_model, or register the method with rskt_seg.register_method"
    )
