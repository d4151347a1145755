"""Sub-command `evalkit annotations`: what is in a study, agreement, export, import."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import RecordError, UsageError
from evalkit.files.atomic import write_output

if TYPE_CHECKING:
    from evalkit.annotation.study import Study

TARGETS = ("pairs", "comparisons", "mhumaneval", "segments", "labels", "label-studio", "potato")
SOURCES = ("label-studio", "potato")
ABOUT = """what annotators said in a study that `evalkit annotate` made

  status     how far everybody is, and which runs have changed since the study was drawn
  agreement  Cohen's kappa and Krippendorff's alpha with intervals clustered by image
  export     pairs (for align ddpo), comparisons (LLaVA-RLHF), mhumaneval (rates by type), segments,
             labels (for calibrate-judge), label-studio, potato (tasks and configuration)
  import     what was annotated with Label Studio or Potato, into the journals

example:
  evalkit annotations export corrections --to pairs --output pairs.jsonl
"""


def add_annotations(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "annotations",
        help="studies of human feedback: status, agreement, export, import",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, command in (("status", show_status), ("agreement", show_agreement)):
        action = actions.add_parser(name)
        action.add_argument("study", type=Path, metavar="STUDY")
        action.set_defaults(command=command)
    export = actions.add_parser("export")
    export.add_argument("study", type=Path, metavar="STUDY")
    export.add_argument("--to", choices=TARGETS, required=True, dest="target")
    export.add_argument("--output", type=Path, metavar="FILE", help="file, or folder for label-studio and potato")
    export.add_argument(
        "--omissions",
        type=int,
        default=0,
        metavar="N",
        help="of pairs: N more per correction, whose rejected response lacks a sentence that was left as it is",
    )
    export.add_argument("--run", metavar="LABEL", help="of labels: the run they are for, where there are several")
    export.add_argument("--image-prefix", default="", metavar="URL", help="of label-studio: where it finds images")
    export.set_defaults(command=export_study)
    bring = actions.add_parser("import")
    bring.add_argument("study", type=Path, metavar="STUDY")
    bring.add_argument("file", type=Path, metavar="FILE", help="Label Studio's JSON export, or Potato's rows")
    bring.add_argument("--from", choices=SOURCES, required=True, dest="source")
    bring.add_argument(
        "--annotator",
        action="append",
        required=True,
        metavar="[ID=]NAME",
        help="annotator of the study who said it; with several people in the file one ID=NAME each",
    )
    bring.set_defaults(command=import_study)


def show_status(options: argparse.Namespace) -> int:
    """`evalkit annotations status`."""
    from evalkit.annotation.decided import read_states
    from evalkit.annotation.journal import completion, read_state
    from evalkit.annotation.study import ADJUDICATOR, changed_runs, read_study

    study = read_study(options.study)
    print(f"{study.name}: {study.task}, {len(study.items):,} items, types {', '.join(study.types)}")
    for name, state in read_states(study).items():
        own = completion(study, name, state)
        print(f"  {name:<20} {own.done:,} answered, {own.skipped:,} skipped, of {own.total:,}")
    decided = read_state(study, ADJUDICATOR).answers
    if decided:
        print(f"  {'adjudicated':<20} {len(decided):,}")
    for run in changed_runs(study):
        print(f"  {run.path} has changed since: the study keeps the responses it was drawn from")
    return 0


def show_agreement(options: argparse.Namespace) -> int:
    """`evalkit annotations agreement`."""
    from evalkit.annotation.agreement import disagreements, gold_accuracy, reliability
    from evalkit.annotation.decided import read_states
    from evalkit.annotation.study import read_study
    from evalkit.reports.tables import Cell, Table, render, terminal_width

    study = read_study(options.study)
    states = read_states(study)
    answers = {name: state.answers for name, state in states.items()}
    rows = reliability(study, answers)
    pairs = list(dict.fromkeys(pair for row in rows for pair in row.kappas))
    table = Table(
        ["agreement on", "units", "alpha", *(f"kappa {first}, {second}" for first, second in pairs)],
        [
            [
                Cell(row.what),
                Cell(f"{row.units:,}"),
                Cell(row.alpha.text(2)),
                *(Cell(row.kappas[pair].text(2) if pair in row.kappas else "-") for pair in pairs),
            ]
            for row in rows
        ],
        study.name,
        ["Krippendorff's alpha and Cohen's kappa; in brackets: 95% interval, clustered by image"],
    )
    print(render(table, "terminal", terminal_width()))
    if not any(row.units for row in rows):
        print(
            "no item was answered by two annotators yet; `evalkit annotate --overlap SHARE` decides how many both get"
        )
    if study.gold:
        for name, accuracy in gold_accuracy(study, states).items():
            print(f"known answers: {name} {accuracy.text()} % right")
    print(f"{len(disagreements(study, answers)):,} items to adjudicate: the page Agreement of `evalkit annotate`")
    return 0


def export_study(options: argparse.Namespace) -> int:
    """`evalkit annotations export`."""
    from evalkit.annotation import exports
    from evalkit.annotation.study import read_study

    study = read_study(options.study)
    target = options.target
    if options.omissions < 0:
        raise UsageError(f"--omissions must not be negative, got {options.omissions}")
    if target in SOURCES:
        return _export_tasks(study, target, options.output or Path(f"{study.name}_{target}"), options.image_prefix)
    if target == "mhumaneval":
        return _export_rates(study, options.output)
    if target == "segments":
        rows: Iterable[Mapping[str, Any]] = list(exports.marked_segments(study))
        left_out: Mapping[str, int] = {}
    elif target == "comparisons":
        exported, folder = exports.comparisons(study)
        rows, left_out = exported.rows, exported.left_out
        print(f"images: --images {folder}", file=sys.stderr)
    else:
        exported = exports.labels(study, options.run) if target == "labels" else exports.pairs(study, options.omissions)
        rows, left_out = exported.rows, exported.left_out
    for reason, count in left_out.items():
        print(f"left out: {count:,} {reason}", file=sys.stderr)
    if not rows:
        print(f"{study.name}: nothing to export yet", file=sys.stderr)
    if target == "comparisons":
        _write(options.output, _json(list(rows), 1))
    else:
        _write(options.output, "\n".join(_json(row) for row in rows))
    return 0


def _export_rates(study: "Study", output: Path | None) -> int:
    from evalkit.annotation.exports import mhumaneval
    from evalkit.reports.tables import Cell, Table, render

    rates = mhumaneval(study)
    names = ["all", *study.types]
    rows = [[Cell(model), *(Cell(own[name].text()) for name in names)] for model, own in rates.items()]
    print(render(Table(["model", *names], rows, "responses that hallucinate, %", []), "terminal"))
    if output is not None:
        shown = {model: {name: value.as_dict() for name, value in own.items()} for model, own in rates.items()}
        _write(output, _json(shown, 1))
    return 0


def _export_tasks(study: "Study", target: str, folder: Path, image_prefix: str) -> int:
    from evalkit.annotation.exchange import label_studio, potato

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"{folder}: cannot be written: {error.strerror}") from error
    if target == "potato":
        _write(folder / "config.yaml", _json(potato.config(study), 1))
        rows = [_json(row) for row in potato.data(study)]
        _write(folder / "potato_data.jsonl", "\n".join(rows))
    else:
        _write(folder / "config.xml", label_studio.config(study))
        tasks = label_studio.tasks(study, image_prefix)
        _write(folder / "tasks.json", _json(tasks, 1))
    return 0


def import_study(options: argparse.Namespace) -> int:
    """`evalkit annotations import`: every answer becomes a line of a journal; one that stands already adds none."""
    from evalkit.annotation.answers import checked_answer
    from evalkit.annotation.exchange import label_studio, potato
    from evalkit.annotation.journal import read_state, skip, submit
    from evalkit.annotation.study import read_study
    from evalkit.files.rows import parse_json, read_rows, read_text

    study = read_study(options.study)
    if options.source == "potato":
        said: list[tuple[str, str, Any]] = list(potato.answers(study, list(read_rows(options.file))))
    else:
        exported = parse_json(read_text(options.file), str(options.file), whole_file=True)
        said = list(label_studio.answers(study, exported))
    names = _names(options.annotator, [who for who, _, _ in said])
    for who, key, answer in said:  # all of them before the first is written
        read_state(study, names[who])
        if answer is not None:
            checked_answer(study.task, answer, study.item(key).texts, study.types)
    added = 0
    for who, key, answer in said:
        state = read_state(study, names[who])
        latest = state.latest(key)
        follows = latest.n if latest else 0
        if answer is None:
            line = skip(study, names[who], key, f"skipped in {options.source}", follows)
        else:
            line = submit(study, names[who], key, answer, follows)
        added += line.n > state.last
    print(f"{len(said):,} read, {added:,} new lines in the journals of {', '.join(sorted(set(names.values())))}")
    return 0


def _names(words: list[str], people: list[str]) -> dict[str, str]:
    """People in a file -> annotators of the study.

    Raises:
        UsageError: if somebody in the file has no annotator.
    """
    if len(words) == 1 and "=" not in words[0] and len(set(people)) <= 1:
        return dict.fromkeys(people, words[0])
    names = dict(word.rsplit("=", 1) for word in words if "=" in word)
    missing = sorted(set(people) - names.keys())
    if missing:
        raise UsageError(f"--annotator ID=NAME is missing for {', '.join(missing)}")
    return names


def _json(value: object, indent: int | None = None) -> str:
    """JSON as people read it; escaped where a text holds half a character, which UTF-8 cannot write."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


def _write(path: Path | None, text: str) -> None:
    """Write a file, or print.

    Raises:
        RecordError: if the file cannot be written.
    """
    if path is None:
        print(text)
        return
    write_output(path, f"{text}\n" if text else "")
    print(path)
