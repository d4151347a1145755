"""`make rescored`: released response files of others, scored here; writes docs/rescored.md.

    python -m tests.rescored [--folder rescored] [--rows 1,62,80-84]

The files come from EVALKIT_ASSETS/released, else from the commits where they were found. A minute or two; everything
stays in the folder: each row is a run that `evalkit report` and `evalkit dashboard` open.
"""

import argparse
import sys
from pathlib import Path

from tests.rescored.page import page
from tests.rescored.rows import build_row, entries

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs" / "rescored.md"


def main() -> int:
    """Score every row and write the page; 1 if a file was not to be had."""
    options = _arguments()
    known, cited = entries()
    wanted = [entry for entry in known if not options.rows or entry.number in options.rows]
    rows = []
    for entry in wanted:
        rows.append(build_row(entry, options.folder))
        print(
            f"{entry.number}: {entry.file}: {rows[-1].problem or '; '.join(rows[-1].verdicts) or 'scored'}", flush=True
        )
    missing = [row for row in rows if row.problem]
    if options.rows:
        return int(bool(missing))
    REPORT.write_text(page(rows, cited), encoding="utf-8")
    print(f"{REPORT}: {len(rows) - len(missing)} files scored, {len(missing)} not to be had")
    return int(bool(missing))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.rescored", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "rescored")
    parser.add_argument("--rows", type=_numbers, default=set(), metavar="N,N-M", help="only these; no page is written")
    return parser.parse_args()


def _numbers(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


if __name__ == "__main__":
    sys.exit(main())
