"""The column on fronts: does a released file hallucinate less than its own base that simply stops earlier?

The base of a file is named in index.tsv: the same model without the method. Nothing is compared across reference
objects or image lists that differ; items scored in both count.
"""

from collections.abc import Callable, Sequence

from evalkit.analysis.front_file import read_fronts
from evalkit.analysis.standing import Placed, place, signed
from evalkit.reports.fronts import verdict_text
from evalkit.runs.run import Run, load_run
from tests.rescored.files import index
from tests.rescored.rows import Row

REMARK = """Files of a method whose base was released too have a verdict against the *front* of that base: its own
responses cut after every sentence and every five words, compared at the recall of the file (docs/statistics.md).
*Beyond*: fewer hallucinations than the base that simply stops earlier; *behind*: more; *on the front*: neither shown;
*higher recall*: more than the base ever reaches, compared with its whole responses. The difference is in points of the
metric, by sentences, with its 95 % interval. *Not paired*: less than half of the images are shared, so all
images of both count and the interval is wider.
"""


def front_cells(rows: Sequence[Row]) -> Callable[[Row], str]:
    """The cell of a row among others."""
    runs = {row.entry.file: row for row in rows if row.run is not None}

    def cell(row: Row) -> str:
        known = index().get(row.entry.file)
        if known is None or known.base is None or row.run is None:
            return "-"
        base = runs.get(known.base)
        if base is None or base.run is None:
            return "its base was not scored"
        return "<br>".join(beside(load_run(base.run), load_run(row.run)))

    return cell


def beside(base: Run, run: Run) -> list[str]:
    """Cells of a run beside its base; where less than half of the images are shared, all of both are used."""
    texts = []
    for front in read_fronts(base):
        own, theirs = {item for item, _ in front.keys}, set(run.item_counts(front.names))
        paired = 2 * len(own & theirs) >= min(len(own), len(theirs))
        for placed in place(front, "base", {"file": run}, shared_only=paired):
            images = f"n = {placed.items}" if paired else f"n = {len(own)} and {len(theirs)}, other images: not paired"
            texts.append(f"{described(placed)}; {images}")
    return texts


def described(placed: Placed) -> str:
    """The headline in a cell: "behind: +9.3 [5.9, 12.8] chair_s; the base has 7.3 at recall 43.5"."""
    standing = placed.headline
    first = standing.positions[0]
    verdict = verdict_text(standing, placed.at.name)
    if first.level is None or first.base is None:
        return verdict
    at = f"{first.base:.1f} at {placed.at.name} {first.level:.1f}"
    if not first.reached:
        at = f"{first.base:.1f} at {placed.at.name} {placed.reach:.1f}, the file reaches {first.level:.1f}"
    return f"**{verdict}**: {signed(first.difference)} {first.metric.name}; the base has {at}"
