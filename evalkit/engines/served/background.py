"""An event loop in a thread of its own, and jobs worked on in it, so that a sync caller gets results as they come."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from queue import SimpleQueue
from typing import Any, TypeVar

Job = TypeVar("Job")
T = TypeVar("T")
LOOP_DESCRIPTORS = 4  # a selector, a pair of sockets to wake it, and the first connection


def _check_descriptors() -> None:
    """Whether a loop can be made at all: one that is made by half complains in a traceback when it is taken away.

    Raises:
        OSError: "Too many open files".
    """
    held: list[int] = []
    try:
        while len(held) < LOOP_DESCRIPTORS:
            held.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for handle in held:
            os.close(handle)


class Turns:
    """Work that is done side by side and goes on in the order in which it was begun."""

    def __init__(self) -> None:
        self._last = asyncio.Event()
        self._last.set()

    async def result(self, work: Awaitable[T]) -> T:
        """What the work returns, no sooner than the results that were asked for before."""
        before, own = self._last, asyncio.Event()
        self._last = own
        try:
            result = await work
            await before.wait()
            return result
        finally:
            own.set()


class Background:
    """Also works where a loop is already running in the caller's thread (notebooks)."""

    def __init__(self) -> None:
        _check_descriptors()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="evalkit-background", daemon=True)
        self._thread.start()

    def stream(self, jobs: Iterator[Job], work: Callable[[Job], Coroutine[Any, Any, T]], workers: int) -> Iterator[T]:
        """Work on the jobs, `workers` at a time. Results as they come.

        A worker takes its next job when the caller asks for the result after its last one: the caller has stored that
        one by then, so a kill loses at most one job of each worker. An error ends all of it and is raised after the
        results that came before; leaving early cancels the work.
        """
        results: SimpleQueue[tuple[T, asyncio.Event] | None] = SimpleQueue()

        async def worker() -> None:
            for job in jobs:  # shared by all workers: each job is taken once
                stored = asyncio.Event()
                results.put((await work(job), stored))
                await stored.wait()

        async def crew() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(workers):
                        group.create_task(worker())
            except BaseExceptionGroup as errors:  # the task group wraps whatever ended it; the first error is the cause
                raise errors.exceptions[0] from None
            finally:
                results.put(None)

        running = asyncio.run_coroutine_threadsafe(crew(), self._loop)
        try:
            while (result := results.get()) is not None:
                value, stored = result
                yield value
                self._loop.call_soon_threadsafe(stored.set)
            running.result()
        finally:
            running.cancel()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
