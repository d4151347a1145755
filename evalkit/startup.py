"""Importing large libraries without garbage collection."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
