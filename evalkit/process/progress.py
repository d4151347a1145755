"""Progress: the callback type, and a bar with throughput and time left.

On a terminal it is a bar, elsewhere a line every half minute.
"""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

from evalkit.process.printing import SafeStream, printable


class ProgressBar:
    """A callback `(what, done, total)` for library functions; shows nothing for work shorter than two seconds.

    On a terminal it draws a bar, elsewhere (a log file, CI) it prints a line every 30 seconds.
    """

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self.title = printable(title)
        stream = stream or sys.stderr
        self.stream = stream.stream if isinstance(stream, SafeStream) else stream  # the bar moves the cursor itself
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._started: dict[str, tuple[float, int]] = {}
        self._said = 0.0
        self._notes: dict[str, str] = {}

    def note(self, what: str, text: str) -> None:
        """Words that stand behind the figures of `what` from now on."""
        self._notes[what] = text

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        start, already = self._started.setdefault(what, (now, done))
        if now - start < 2 and what not in self._tasks:
            return
        rate = (done - already) / max(now - start, 1e-9)
        if self.stream.isatty():
            self._draw(what, done, total, rate)
        elif now - self._said > 30:
            self._said = now
            known = done - already >= min(20, total / 10)  # before that a rate is a guess
            left = f", {rate:.1f}/s, {(total - done) / rate:.0f} s left" if known else ""
            noted = f", {self._notes[what]}" if what in self._notes else ""
            self.stream.write(f"{self.title}: {what} {done}/{total}{left}{noted}\n")
            self.stream.flush()

    def _draw(self, what: str, done: int, total: int, rate: float) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(file=self.stream),
                transient=True,
            )
            self._bar.start()
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(f"{self.title}: {what}", total=total, rate="")
        shown = "  ".join(filter(None, (f"{rate:.1f}/s", self._notes.get(what))))
        self._bar.update(self._tasks[what], completed=done, total=total, rate=shown)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def hide_loading_bars() -> None:
    """Switch off the bars that transformers draws for reading and writing weights; hub downloads keep theirs."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


Progress = Callable[[str, int, int], None]  # (what is done, how many so far, how many in all)


def note(progress: Progress, what: str, text: str) -> None:
    """Let a progress display that can say more than figures say `text` behind those of `what`."""
    if isinstance(progress, ProgressBar):
        progress.note(what, text)


def silent(what: str, done: int, total: int) -> None:
    """A progress callback that shows nothing."""


def as_stage(stage: str, progress: Progress | None) -> Progress | None:
    """A progress callback that reports everything under the name of one stage of a pipeline."""
    if progress is None:
        return None
    report = progress
    return lambda _, done, total: report(stage, done, total)
