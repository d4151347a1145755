"""A first Ctrl-C (or SIGTERM) lets what is in flight finish; a second one stops at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def finishing_in_flight(stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """While inside, the first SIGINT or SIGTERM calls `stop`; the next one raises KeyboardInterrupt.

    Yields:
        A function that tells whether a signal has come.
    """
    asked = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        stop()

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals reach the main thread only
        return
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
