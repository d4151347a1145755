"""The sub-command front: is a run better than its base that simply stops earlier?"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cli.arguments import add_task_options
from evalkit.errors import RecordError, UsageError
from evalkit.files.json_values import json_value

if TYPE_CHECKING:
    from evalkit.analysis.front import RunFront
    from evalkit.runs.run import Run

ABOUT = """Cut the responses of a base after every sentence and every few words, score what is left, and
say whether runs hallucinate less than the base that simply stops earlier, at equal recall:
beyond its front, on it, or behind it. Nothing is generated. For yes/no benchmarks the
answers are shifted blindly instead, compared at an equal share of "yes".

  evalkit front runs/llava/chair                                   the curve alone
  evalkit front runs/vcd/chair --base runs/llava/chair --plot front.png
  evalkit front runs/vcd/pope --base runs/sampled/pope --greedy runs/greedy/pope

Methods that were published beside a base that samples may gain no more than greedy decoding
does; --greedy shows the base's own greedy run as a row beside them. Without --base it is the
run of the checkpoint's parent, as its card names it.
"""
FORMATS = ("terminal", "markdown", "csv", "latex", "json")
CARD = "card.json"
DECODING = ("T", "top_p", "top_k")  # signature fields in which greedy decoding differs from sampling


def add_front_command(commands: Any) -> None:
    """Add the sub-command."""
    front = commands.add_parser(
        "front",
        help="is a run better than its base that simply stops earlier?",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    front.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="scored runs of one benchmark")
    front.add_argument("--base", type=Path, metavar="RUN", help="whose responses are cut (default: the card's parent)")
    front.add_argument("--greedy", type=Path, metavar="RUN", help="the base decoded greedily, where the base samples")
    front.add_argument("--metric", metavar="M", help="the metric that is drawn (default: the headline)")
    front.add_argument("--plot", type=Path, metavar="FILE", help="a picture, .png or .svg")
    front.add_argument("--force", action="store_true", help="compare runs that were measured differently")
    front.add_argument("--allow", default="", metavar="A,B", help="signature fields that may differ, e.g. T,beams")
    front.add_argument("--format", choices=FORMATS, default="terminal")
    front.add_argument("--output", type=Path, metavar="FILE", help="also write it to this file")
    add_task_options(front)
    front.set_defaults(command=show_fronts)


def show_fronts(options: argparse.Namespace) -> int:
    """`evalkit front`."""
    from evalkit.analysis.comparison import check_alike, distinct_labels
    from evalkit.analysis.front_file import write_fronts
    from evalkit.analysis.standing import place, placed_json
    from evalkit.commands import words
    from evalkit.files.atomic import write_output
    from evalkit.reports.fronts import fronts_report
    from evalkit.reports.pictures.fronts import write_picture
    from evalkit.reports.tables import terminal_width
    from evalkit.runs.run import load_run

    runs = [load_run(path) for path in options.runs]
    base_path = options.base or parent_of(runs)
    base = load_run(base_path) if base_path is not None else None
    if base is None and len(runs) > 1:
        raise UsageError("front: several runs need a --base; none of them has a card that names its parent's run")
    others = runs if base is not None else []
    base = base or runs[0]
    labels = distinct_labels([base, *others])
    for run, label in zip(others, labels[1:], strict=True):
        check_alike(base, run, labels[0], label, options.force, words(options.allow))
    named = dict(zip(labels[1:], others, strict=True))
    if options.greedy is not None:
        named |= greedy_row(base, labels[0], load_run(options.greedy), words(options.allow))
    own = {run.path: fronts_of(run, options) for run in (base, *named.values())}
    fronts = [(front, place(front, labels[0], named)) for front in own[base.path]]
    for label, run in named.items():
        beside = [placed_json(placed) for _, many in fronts for placed in many if placed.other == label]
        write_fronts(run.folder, str(run.signature), own[run.path], beside)
    report = fronts_report(labels[0], str(base.signature), fronts, options.format, terminal_width())
    print(report)
    if options.output is not None:
        write_output(options.output, fronts_report(labels[0], str(base.signature), fronts, options.format) + "\n")
    if options.plot is not None:
        front, placed = fronts[0]
        write_picture(options.plot, front, labels[0], placed, options.metric)
        print(f"drawn in {options.plot}", file=sys.stderr)
    return 0


def greedy_row(base: "Run", label: str, greedy: "Run", allow: "Sequence[str]" = ()) -> "dict[str, Run]":
    """The greedy run of a base that samples, under its name in reports.

    Raises:
        UsageError: if it is of another model, is not greedy, differs in more than decoding, or the base is greedy too.
    """
    from evalkit.analysis.comparison import check_alike

    temperatures = [float((run.manifest.get("sampling") or {}).get("temperature") or 0) for run in (base, greedy)]
    if temperatures[1] > 0 or temperatures[0] <= 0:
        raise UsageError(
            f"front: --greedy takes the greedy run of a base that samples; temperature {temperatures[1]:g} there, "
            f"{temperatures[0]:g} in the base"
        )
    models = [(run.manifest.get("model") or {}).get("model") for run in (base, greedy)]
    if not _same_model(str(models[0]), str(models[1])):
        raise UsageError(f"front: --greedy takes a run of the base's own model; it is {models[1]}, not {models[0]}")
    name = f"{label}, greedy"
    check_alike(base, greedy, label, name, allow=(*allow, *DECODING))
    return {name: greedy}


def fronts_of(run: "Run", options: argparse.Namespace) -> "list[RunFront]":
    """The fronts of a run: the stored ones, else measured now and stored.

    Raises:
        UsageError: if the benchmark has no front: its verdicts are on whole responses.
    """
    from benchmarks.cli.planning import rebuild
    from evalkit.analysis.front import measure
    from evalkit.analysis.front_file import fits, read_fronts, write_fronts
    from evalkit.harness.stages import stored_samples
    from evalkit.harness.stored import plan_of_run

    if fits(run):
        return read_fronts(run)
    work = plan_of_run(run.folder, rebuild(options))
    fronts = measure(work.benchmark, stored_samples(work, run))
    if not fronts and work.benchmark.fronts():
        raise UsageError(f"{run.folder}: no response has a score that could be cut short: all of them failed")
    if not fronts:
        raise UsageError(
            f"{run.folder}: {run.benchmark} has no front: its verdicts are on whole responses, and a cut one would "
            "need new ones; there are fronts where mentions or marks are counted (CHAIR, AMBER, Object HalBench, "
            "MHumanEval) and where yes or no is asked (POPE, RePOPE, DASH-B, AMBER)"
        )
    write_fronts(run.folder, str(run.signature), fronts)
    return fronts


def parent_of(runs: "Sequence[Run]") -> Path | None:
    """The one run beside these, of the same benchmark, whose model is the parent that their cards name.

    Runs lie in DIR/<model>/<benchmark>, so it is looked for in DIR. None if a run has no card.

    Raises:
        UsageError: if the cards name different parents, or there is not exactly one run of it.
    """
    from evalkit.runs.records import read_manifest
    from evalkit.runs.run import find_runs

    parents = {card_parent(run) for run in runs}
    if None in parents:
        return None
    if len(parents) > 1:
        raise UsageError(
            f"front: the runs have different parents ({', '.join(sorted(map(str, parents)))}); name a --base"
        )
    (parent,) = parents
    folder = runs[0].folder.absolute().parent.parent
    own = {run.folder.absolute() for run in runs}
    beside = [path for path in find_runs(folder) if path.absolute() not in own]
    fitting = [
        path
        for path in beside
        if (manifest := read_manifest(path))["benchmark"] == runs[0].benchmark
        and _same_model(str(manifest["model"].get("model")), str(parent))
    ]
    if len(fitting) != 1:
        raise UsageError(f"front: {len(fitting)} runs of the parent {parent} below {folder}; name one with --base")
    return fitting[0]


def card_parent(run: "Run") -> str | None:
    """The parent that the card of a run's checkpoint names; None without a card."""
    path = Path(str(run.manifest.get("model", {}).get("model"))) / CARD
    try:
        card = json_value(path.read_text("utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error
    parent = card.get("parent") if isinstance(card, dict) else None
    return str(parent) if parent else None


def _same_model(first: str, second: str) -> bool:
    return first == second or (Path(first).exists() and Path(first).resolve() == Path(second).resolve())
