"""`make results`: what the aligners do to three miniature bases, and claims of papers put to the test there.

    python -m tests.results                    the entries of `make results`, on bases 0, 1 and 2
    python -m tests.results --all              every entry (`make results-all`)
    python -m tests.results dense noise        some
    python -m tests.results --list             what there is

Entries and bases are worked on side by side, one a core. Everything is resumable: the same command goes on where it
stopped. Sections of docs/results.md are written as they are finished; the others stay.
"""

import argparse
import os
import time
from pathlib import Path

from aligners.miniature.demo import language_data_is_ready
from tests.results.bench import SCENES, Bench
from tests.results.registry import ENTRIES
from tests.results.running import run, train_bases

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs" / "results.md"


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entries", nargs="*", metavar="ENTRY", help=f"of {', '.join(ENTRIES)}")
    parser.add_argument("--all", action="store_true", help="every entry")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "results")
    parser.add_argument("--report", type=Path, default=REPORT, help="the page that is written")
    parser.add_argument("--seeds", default="0,1,2", help="of the bases")
    parser.add_argument("--arms", help="some arms of the entries, by comma; the others must be there for a section")
    parser.add_argument("--scenes", type=int, default=SCENES, help="fewer test scenes, to try an entry out")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="bases or entries at a time")
    options = parser.parse_args()
    if options.list:
        for entry in ENTRIES.values():
            print(f"{entry.name}: {entry.title}{' (make results)' if entry.quick else ''}\n    {entry.hypothesis}")
        return
    if unknown := set(options.entries) - set(ENTRIES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(ENTRIES)}")
    chosen = [ENTRIES[name] for name in options.entries]
    chosen = chosen or [entry for entry in ENTRIES.values() if entry.quick or options.all]
    bench = Bench(options.folder, tuple(int(seed) for seed in options.seeds.split(",")), options.scenes)
    wanted = None if options.arms is None else [arm.strip() for arm in options.arms.split(",")]
    start = time.monotonic()
    language_data_is_ready()
    train_bases(chosen, bench, wanted)
    run(chosen, bench, wanted, options.report, min(options.jobs, len(chosen) * len(bench.seeds)))
    print(f"{options.report}: {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
