"""Sub-commands that look: list, report, doctor, calibrate-judge."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import BENCHMARKS
from evalkit.cli.arguments import EXIT_ABORTED, default_output
from evalkit.cli.engines import ENGINES
from evalkit.errors import DataError, RecordError, UsageError

if TYPE_CHECKING:
    from evalkit.benchmark import DataFile, Rating
    from evalkit.cli.doctor import Check
    from evalkit.runs.run import Run

REPORT_FORMATS = ("terminal", "markdown", "csv", "latex", "json", "card")


def add_inspection_commands(commands: Any) -> None:
    """Add the sub-commands that change nothing."""
    listing = commands.add_parser("list", help="benchmarks and engines; with a name its options and metrics")
    listing.add_argument("benchmark", nargs="?", metavar="NAME")
    listing.set_defaults(command=list_benchmarks)

    report = commands.add_parser("report", help="tables of scored runs")
    report.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="run folders, or folders above them")
    report.add_argument("--format", choices=REPORT_FORMATS, default="terminal")
    report.add_argument("--groups", action="store_true", help="also by group (AMBER type, MMHal question type, ...)")
    report.add_argument(
        "--by-scene",
        action="store_true",
        help="hallucination of the objects that a scene suggests, there and anywhere (CHAIR with COCO's annotations)",
    )
    report.add_argument("--signatures", action="store_true", help="long signatures, one per run")
    report.add_argument("--published", action="store_true", help="published figures as labelled rows of their own")
    report.add_argument("--html", type=Path, metavar="FILE", help="one self-contained page with images, for sharing")
    report.add_argument("--site", type=Path, metavar="DIR", help="a static site: tables and every sample, no server")
    report.add_argument(
        "--images",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="with --html or --site: also take images from this folder, beside EVALKIT_DATA and the runs; repeatable",
    )
    report.add_argument("--model-card", action="store_true", help="same as --format card: a model index")
    report.add_argument(
        "--hub-dataset",
        action="append",
        default=[],
        metavar="BENCHMARK=ORG/NAME",
        help="with --model-card: a file for .eval_results/, for this data set on the Hub; repeatable",
    )
    report.add_argument("--output", type=Path, metavar="FILE", help="write there instead of printing")
    report.set_defaults(command=show_report)

    doctor = commands.add_parser("doctor", help="what this machine and a data folder have, lack, and where to get it")
    doctor.add_argument("benchmarks", nargs="*", metavar="BENCHMARK", help="default: all")
    doctor.add_argument("--data", type=Path, default=os.environ.get("EVALKIT_DATA"), metavar="DIR")
    doctor.add_argument("--base-url", metavar="URL", help="also send one question to this server")
    doctor.add_argument("--model", metavar="M", help="name of the model at that server")
    doctor.add_argument(
        "--checkpoint", metavar="M", help="how this folder or hub name can be run, from its configuration alone"
    )
    doctor.add_argument(
        "--run", type=Path, metavar="RUN", help="check that the files of this run are complete and belong together"
    )
    doctor.set_defaults(command=examine)

    calibrate = commands.add_parser("calibrate-judge", help="agreement of a judge with stored reference verdicts")
    calibrate.add_argument("run", type=Path, metavar="RUN", help="a run scored by the judge in question")
    calibrate.add_argument(
        "reference",
        type=Path,
        metavar="REFERENCE",
        help="another run of these responses, a file with id and rating, or a study that people annotated",
    )
    calibrate.set_defaults(command=calibrate_judge)


def list_benchmarks(options: argparse.Namespace) -> int:
    """`evalkit list`: what there is; with a name, its options and metrics."""
    from benchmarks.cli.registry import benchmark_class, options_of

    if options.benchmark:
        cls = benchmark_class(options.benchmark)
        print((import_module(cls.__module__).__doc__ or "").strip())
        print("\nmetrics:")
        for metric in cls.metrics:
            print(f"  {metric.name:<28} {metric.formula}")
        print(f"\noptions (--set {options.benchmark}.OPTION=VALUE):")
        for key, shown in options_of(options.benchmark).items():
            print(f"  {key:<18} {shown}")
        return 0
    for name in BENCHMARKS:
        doc = (import_module(benchmark_class(name).__module__).__doc__ or "").strip()
        print(f"{name:<16} {doc.splitlines()[0]}")
    print(f"\nengines          {', '.join(ENGINES)}\nmore             evalkit list NAME")
    return 0


def show_report(options: argparse.Namespace) -> int:
    """`evalkit report`."""
    from benchmarks.published import published, with_figures
    from evalkit.files.atomic import write_output
    from evalkit.reports.model_card import evaluation_results
    from evalkit.reports.runs import report
    from evalkit.reports.tables import LOG_WIDTH, terminal_width
    from evalkit.runs.run import find_runs, load_run

    folders = options.runs or [default_output()]
    runs = [load_run(path) for path in find_runs(*folders)]
    if not runs:
        raise DataError(f"no scored runs at or below {', '.join(map(str, folders))}")
    if options.site is not None:
        from evalkit.reports.pages.site import write_site

        print(write_site(runs, options.site, _picture_folders(options.images)))
        return 0
    if options.html is not None:
        from evalkit.reports.pages.page import write_page

        print(write_page(runs, options.html, _picture_folders(options.images)))
        return 0
    names = {run.benchmark for run in runs} & set(with_figures())
    rows = [row for name in sorted(names) for row in published(name)] if options.published else []
    width = terminal_width() if options.output is None else LOG_WIDTH
    if options.model_card and options.hub_dataset:
        text = evaluation_results(runs, _hub_datasets(options.hub_dataset))
    elif options.model_card:
        text = report(runs, "card")
    else:
        text = report(runs, options.format, options.groups, options.signatures, rows, width)
    if options.by_scene:
        from evalkit.reports.scenes import scene_report

        text += f"\n\n{scene_report(runs, options.format, width)}"
    if options.output is not None:
        write_output(options.output, text + "\n")
    else:
        print(text)
    return 0


def _picture_folders(named: Sequence[Path]) -> list[Path]:
    """Folders that a page to be sent around may take pictures from: those that the user named, and the cache."""
    from evalkit.files.cache import cache_folder

    data = os.environ.get("EVALKIT_DATA")
    return [*named, *([Path(data)] if data else []), cache_folder()]


def _hub_datasets(words: Sequence[str]) -> dict[str, str]:
    datasets = dict(word.split("=", 1) for word in words if word.count("=") == 1 and word.count("/") == 1)
    if len(datasets) != len(words):
        raise UsageError("--hub-dataset: expected BENCHMARK=ORG/NAME, each benchmark once")
    return datasets


def examine(options: argparse.Namespace) -> int:
    """`evalkit doctor`: one line per finding; exit code 3 if what was named lacks something."""
    from benchmarks.cli.registry import files_of
    from evalkit.cli.checkpoints import checkpoint_checks
    from evalkit.cli.doctor import Check, endpoint, environment
    from evalkit.cli.run_checks import run_checks
    from evalkit.files.assets import all_assets, state

    names = [name if ":" in name else name.replace("-", "_") for name in options.benchmarks]
    if options.checkpoint or options.run:
        named = list(run_checks(options.run)) if options.run else []
        named += list(checkpoint_checks(options.checkpoint)) if options.checkpoint else []
        _show(named)
        return EXIT_ABORTED if any(check.state == "missing" for check in named) else 0
    wanted_files = {name: files_of(name) for name in names or BENCHMARKS}
    checks = list(environment()) if not names else []
    if options.base_url:
        checks.append(endpoint(options.base_url, options.model))
    lacking = any(check.name == "endpoint" and check.state == "missing" for check in checks)
    states = [state(wanted).state for wanted in all_assets().values()]
    here = sum(place in ("mirror", "cache") for place in states)
    checks.append(
        Check("assets", "ok" if here else "note", f"{here} of {len(states)} official files here (evalkit assets list)")
    )
    for name, files in wanted_files.items():
        if options.data is None:
            checks.append(Check(name, "note", "no data folder named: --data DIR or EVALKIT_DATA"))
            continue
        data = Path(options.data)
        absent = [file for file in files if file.missing(data)]
        lacking |= bool(names and absent)
        checks += [Check(name, "missing", f"{data}/{file.path}: {file.how}") for file in absent]
        if not absent:
            checks.append(Check(name, "ok", _images_found(files, data)))
    _show(checks)
    return EXIT_ABORTED if lacking or (names and options.data is None) else 0


def _show(checks: "Sequence[Check]") -> None:
    marks = {"ok": "ok", "missing": "--", "note": ".."}
    for check in checks:
        print(f"{marks[check.state]} {check.name:<16} {check.text}")


def _images_found(files: "Sequence[DataFile]", data: Path) -> str:
    """How many image files a benchmark's folder holds, as a sentence."""
    folders = [file.path for file in files if file.option == "images"]
    if not files:
        return "needs no files in the data folder"
    if not folders:
        return "files found; its images are inside them"
    images = (path for path in (data / folders[0]).iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return f"files found; {sum(1 for _ in images):,} images in {folders[0]}"


def calibrate_judge(options: argparse.Namespace) -> int:
    """`evalkit calibrate-judge`."""
    from evalkit.analysis.calibration import check_same_responses, labels_of_records, read_labels
    from evalkit.annotation.study import is_study
    from evalkit.runs.run import load_run
    from evalkit.statistics.agreement import agreement

    run = load_run(options.run)
    rating = _rating(run)
    if is_study(options.reference):
        return _calibrate_on_people(run, rating, options.reference)
    ours = labels_of_records(run.rows, lambda counts: counts.get(rating.count))
    if options.reference.is_dir():
        reference = load_run(options.reference)
        check_same_responses(run, reference)
        theirs = labels_of_records(reference.rows, lambda counts: counts.get(rating.count))
    else:
        theirs = read_labels(options.reference)
    print(agreement(ours, theirs, rating.flags))
    print(f"judge: {run.signature.long()}", file=sys.stderr)
    return 0


def _calibrate_on_people(run: "Run", rating: "Rating", folder: Path) -> int:
    """The judge against people, and people among themselves: is the judge as good as a second person?

    Raises:
        DataError: if the study has no response of this run, or other texts than the run.
    """
    from evalkit.analysis.calibration import labels_of_records
    from evalkit.annotation.agreement import reliability
    from evalkit.annotation.decided import read_states
    from evalkit.annotation.exports import labels_of_run
    from evalkit.annotation.study import read_study
    from evalkit.statistics.agreement import agreement

    study = read_study(folder)
    people = labels_of_run(study, run)
    counts = labels_of_records(run.rows, lambda counts: counts.get(rating.count))
    judge = {key: float(rating.flags(value)) for key, value in counts.items()}
    print(agreement(judge, people, bool))
    answers = {name: state.answers for name, state in read_states(study).items()}
    among = next(row for row in reliability(study, answers) if row.what == "hallucinates")
    alpha = among.alpha.text(2) if among.units else "- (no response was seen by two)"
    print(f"people           alpha {alpha} among annotators, over {among.units} responses that two or more have seen")
    print(f"judge: {run.signature.long()}", file=sys.stderr)
    return 0


def _rating(run: "Run") -> "Rating":
    """What the run says of its labels; runs of earlier versions do not, and their benchmark is asked."""
    from benchmarks.cli.registry import benchmark_class
    from evalkit.benchmark import Rating

    rating = run.manifest.get("rating")
    if isinstance(rating, dict):
        try:
            return Rating(**rating)
        except TypeError as error:
            raise RecordError(f"{run.path}: 'rating' of the manifest cannot be read: {error}") from error
    return benchmark_class(run.benchmark).rating if run.benchmark in BENCHMARKS else Rating()
