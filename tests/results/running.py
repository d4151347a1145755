"""Entries on bases, so many bases at a time; the page is written as bases are finished."""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from tests.results.bench import Bench
from tests.results.entry import Entry, measure, read, unfinished
from tests.results.page import picture_name, section, write_page
from tests.results.registry import ENTRIES


def run(entries: Sequence[Entry], bench: Bench, wanted: Sequence[str] | None, report: Path, jobs: int) -> None:
    """Measure entries on every base, so many bases at a time; their sections are written after each."""
    if jobs <= 1:
        for seed in bench.seeds:
            measure_base([entry.name for entry in entries], bench, seed, wanted)
            write(entries, bench, report)
        return
    for entry in entries:
        entry.at(bench).worlds  # noqa: B018  (drawn before two processes would)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        names = [entry.name for entry in entries]
        for done in as_completed([pool.submit(measure_base, names, bench, seed, wanted) for seed in bench.seeds]):
            done.result()
            write(entries, bench, report)


def train_bases(entries: Sequence[Entry], bench: Bench, wanted: Sequence[str] | None) -> None:
    """Train what is missing of the bases that entries need, one after the other: each takes two threads."""
    for entry in entries:
        place = entry.at(bench)
        for seed in place.seeds:
            if not entry.arms or unfinished(entry, place, seed, wanted):
                place.base(seed)


def measure_base(names: Sequence[str], bench: Bench, seed: int, wanted: Sequence[str] | None) -> None:
    """Measure entries on one base."""
    for name in names:
        measure(ENTRIES[name], bench, seed, wanted)


def write(entries: Sequence[Entry], bench: Bench, report: Path) -> None:
    """The sections of entries, and their pictures, from what is there."""
    for entry in entries:
        measured = read(entry, bench)
        if measured is not None:
            if entry.picture is not None:
                entry.picture(measured, report.parent / "images" / picture_name(entry))
            write_page(report, list(ENTRIES.values()), {entry.name: section(measured)})
