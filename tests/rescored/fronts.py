"""The column on fronts: does a released file hallucinate less than its own base that simply stops earlier?

The base of a file is named in index.tsv: the same model without the method. Nothing is compared across reference
objects or image lists that differ; items scored in both count.
"""

from collections.abc import Callable, Sequence

from evalkit.analysis.front_file import read_fronts
from evalkit.analysis.standing import Placed, place, signed
from evalkit.reports.fronts import verdict_text
from evalkit.runs.run import load_run
from tests.rescored.files import index
from tests.rescored.rows import Row

REMARK = """Files of a method whose base was released too have a verdict against the *front* of that base: its own
responses cut after every sentence and every five words, compared at the recall of the file (docs/statistics.md).
*Beyond*: fewer hallucinations than the base that simply stops earlier; *behind*: more; *on the front*: neither shown;
*higher recall*: more than the base ever reaches, compared with its whole responses. The difference is in points of the
metric, by sentences, with its 95 % interval.
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
        fronts = read_fronts(load_run(base.run))
        placed = [placed for front in fronts for placed in place(front, "base", {"file": load_run(row.run)})]
        return "<br>".join(map(described, placed)) or "no item in common"

    return cell


def described(placed: Placed) -> str:
    """The headline in a cell: "behind: +9.3 [5.9, 12.8] chair_s; the base has 7.3 at recall 43.5; n = 500"."""
    standing = placed.headline
    first = standing.positions[0]
    verdict = verdict_text(standing, placed.at.name)
    if first.level is None or first.base is None:
        return verdict
    at = f"{first.base:.1f} at {placed.at.name} {first.level:.1f}"
    if not first.reached:
        at = f"{first.base:.1f} at {placed.at.name} {placed.reach:.1f}, the file reaches {first.level:.1f}"
    return f"**{verdict}**: {signed(first.difference)} {first.metric.name}; the base has {at}; n = {placed.items}"
