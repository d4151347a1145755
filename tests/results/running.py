"""Entries on bases, so many at a time; the page is written as they are finished."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from tests.results.bench import Bench
from tests.results.entry import Entry, measure, read, unfinished
from tests.results.page import picture_name, section, write_page
from tests.results.registry import ENTRIES


def run(entries: Sequence[Entry], bench: Bench, wanted: Sequence[str] | None, report: Path, jobs: int) -> None:
    """Measure entries on every base, so many (entry, base) at a time; a section is written after each."""
    work = [(entry, seed) for entry in entries for seed in bench.seeds]
    if jobs <= 1:
        for entry, seed in work:
            measure_base(entry.name, bench, seed, wanted)
            write(entry, bench, report)
        return
    for entry in entries:
        entry.at(bench).worlds  # noqa: B018  (drawn before two processes would)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=settle, initargs=(threads,)) as pool:
        running = {pool.submit(measure_base, entry.name, bench, seed, wanted): entry for entry, seed in work}
        try:
            for done in as_completed(running):
                if (error := done.exception()) is not None:
                    print(f"{running[done].name}: {error!r}; what runs now is finished first", flush=True)
                done.result()
                write(running[done], bench, report)
        finally:
            pool.shutdown(cancel_futures=True)


def settle(threads: int) -> None:
    """Make a process of the pool work like one that was started by hand: its data loaders fork, its threads are few."""
    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(threads)


def train_bases(entries: Sequence[Entry], bench: Bench, wanted: Sequence[str] | None) -> None:
    """Train what is missing of the bases that entries need, one after the other: each takes two threads."""
    needed = {
        (entry.at(bench), seed): None
        for entry in entries
        for seed in bench.seeds
        if not entry.arms or unfinished(entry, entry.at(bench), seed, wanted)
    }
    for place, seed in needed:
        print(f"{time.strftime('%H:%M:%S')} base {seed}", flush=True)
        place.base(seed)


def measure_base(name: str, bench: Bench, seed: int, wanted: Sequence[str] | None) -> None:
    """Measure an entry on one base."""
    measure(ENTRIES[name], bench, seed, wanted)


def write(entry: Entry, bench: Bench, report: Path) -> None:
    """The section of an entry, and its picture, from what is there."""
    measured = read(entry, bench)
    if measured is not None:
        if entry.picture is not None:
            entry.picture(measured, report.parent / "images" / picture_name(entry))
        write_page(report, list(ENTRIES.values()), {entry.name: section(measured)})
