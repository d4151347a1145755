"""docs/results.md: one section an entry, each kept until the entry is measured again.

A section says what is claimed, how it is decided, what came out, on which bases and when. Entries that were never run
stand there with their hypothesis and say so.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from evalkit.files.atomic import replace_text
from evalkit.runs.run import Run
from tests.results.bench import SCENES, pooled
from tests.results.entry import MARGIN, Entry, Measured

HEADER = f"""\
# Results on the miniature world

Written by `make results` and `make results-all`: {SCENES} scenes of the test split, which nothing trains on, greedy
decoding unless a row says otherwise. Settings were chosen on other scenes; one recipe a method for all bases, one
training run a row. Intervals: 95 %, scenes resampled, all bases together; differences are paired by scene. Figures
differ from one kind of CPU to another: other kernels, another model.

Verdicts: *supported*, the interval lies on the claimed side and so does every single base; *not supported*, the
interval leaves no room for a difference that is worth claiming ({MARGIN:g} points of CHAIR_s unless another is named);
*cannot tell*, anything else. At equal recall: of two arms the one that says more is cut short along its own truncation
front.
"""
SECTION = re.compile(r"<!-- entry (?P<name>[\w-]+) -->\n.*?<!-- end -->\n", re.DOTALL)
WIDTH = 120
COLUMNS = ("chair_s", "per_100", "recall", "wrong_numbers", "wrong_colours", "length")


def write_page(path: Path, entries: Sequence[Entry], sections: dict[str, str]) -> None:
    """Put new sections into the page, in the order of the entries; the others stay as they are there."""
    known = {match["name"]: match[0] for match in SECTION.finditer(path.read_text())} if path.exists() else {}
    parts = [HEADER]
    for entry in entries:
        body = sections.get(entry.name)
        whole = known.get(entry.name) if body is None else wrapped(entry, body)
        parts.append(whole if whole is not None else wrapped(entry, f"{heading(entry)}\n\nNot run yet."))
    replace_text(path, "\n".join(parts))


def wrapped(entry: Entry, body: str) -> str:
    """A section between its marks."""
    return f"<!-- entry {entry.name} -->\n{body.strip()}\n<!-- end -->\n"


def heading(entry: Entry) -> str:
    """Title, claim and judge."""
    texts = (f"*Claim*: {entry.hypothesis}", f"*Judge*: {entry.judge}")
    claim, judge = (fill(" ".join(text.split()), WIDTH) for text in texts)
    return f"## {entry.title}\n\n{claim}\n\n{judge}"


def section(measured: Measured) -> str:
    """The section of an entry that was measured."""
    entry = measured.entry
    seeds = ", ".join(map(str, measured.seeds))
    bases = f"base{'s' * (len(measured.seeds) > 1)} {seeds}"
    days = f"Run {' and '.join(measured.dates)}" if measured.dates else "Measured"
    parts = [heading(entry), f"{days} on {bases}: `python -m tests.results {entry.name}`."]
    verdicts = [f"- {verdict.line()}" for verdict in entry.verdicts(measured) if verdict is not None]
    if verdicts:
        parts.append("\n".join(verdicts))
    absent = [arm for arm in entry.arms if not measured.runs[arm]]
    if any(measured.last(arm) for arm in entry.arms):
        parts.append(arms_table(measured))
    if absent:
        parts.append(f"Not run yet: {', '.join(absent)}.")
    if entry.picture is not None:
        parts.append(f"![{entry.title}](images/{picture_name(entry)})")
    extra = entry.tables(measured)
    return "\n\n".join([*parts, extra] if extra else parts)


def picture_name(entry: Entry) -> str:
    """File of an entry's picture, below images/ beside the page."""
    return f"results-{entry.name}.svg"


def arms_table(measured: Measured) -> str:
    """Every arm at its end, below the base on the bases that have the arm."""
    columns = (*COLUMNS, *(["wrong_relations"] if measured.entry.neighbours else []))
    lines = [f"| arm | bases | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    lines += [
        f"| {arm} | {bases} | {' | '.join(cells(pooled(runs, arm), columns))} |" for arm, bases, runs in measured.ends()
    ]
    return "\n".join(lines)


def cells(run: Run, columns: Sequence[str] = COLUMNS) -> list[str]:
    """The columns' values with their intervals."""
    values = run.intervals()
    return [values[name].text() for name in columns]
