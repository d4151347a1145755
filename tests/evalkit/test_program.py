"""The program `evalkit` end to end: every command once, on a miniature world with a tiny checkpoint."""

import json
import shutil
from pathlib import Path

import pytest

from evalkit.__main__ import main, normalised, parser
from evalkit.miniature.files import write_world
from evalkit.reports.tables import LOG_WIDTH
from evalkit.runs.checksums import sealed
from evalkit.runs.records import METRICS, RECORDS, read_journal

TASKS = ("chair", "object_halbench", "mmhal", "amber", "pope")
COMMANDS = (
    "list",
    "run",
    "generate",
    "score",
    "merge",
    "report",
    "compare",
    "export",
    "assets",
    "doctor",
    "align",
    "demo",
)
SCENES = 3


def program(*commands: str) -> int:
    """Run a command; the words are separated by blanks."""
    return main([word for command in commands for word in command.split()])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world, a checkpoint, and the runs of five benchmarks."""
    from tests.tiny_models import save_tiny

    folder = tmp_path_factory.mktemp("program")
    write_world(folder / "world", SCENES, seed=0)
    save_tiny("llava", folder / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        _environment(patch, folder)
        words = f"--tasks {','.join(TASKS)} --world world --judge rules --max-new-tokens 4 --batch_size 16"
        assert program(f"run --model {folder / 'tiny'} --label base {words}") == 0
    return folder


def _environment(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.chdir(folder)
    patch.setenv("EVALKIT_CACHE", str(folder / "cache"))
    patch.setenv("EVALKIT_OFFLINE", "1")
    for name in ("EVALKIT_RUNS", "EVALKIT_DATA"):
        patch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _environment(monkeypatch, folder)


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (["--output_path", "a_b"], ["--output-path", "a_b"]),
        (["--max_new_tokens=4_0"], ["--max-new-tokens=4_0"]),
        (["score", "object_halbench"], ["score", "object_halbench"]),
    ],
)
def test_options_are_read_with_either_dash(words: list[str], read: list[str]) -> None:
    assert normalised(words) == read


def test_without_a_command_the_usage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        program("")
    assert stopped.value.code == 1
    assert "COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("compar a b", "evalkit: argument COMMAND: invalid choice: 'compar'"),
        ("report --formt=json", "evalkit report: unrecognized arguments: --formt=json; did you mean --format?"),
        ("report --format jsn", "did you mean json?"),
        ("align ddop", "did you mean ddpo?"),
    ],
)
def test_a_slip_of_the_pen_is_named_beside_what_was_meant(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        program(words)
    shown = capsys.readouterr().err
    assert stopped.value.code == 1
    assert said in shown
    assert shown.startswith(f"usage: {said.split(':')[0]} " if said.startswith("evalkit") else "usage: ")
    assert "did you mean " in shown


@pytest.mark.parametrize("page", ["README.md", "docs/ability.md", "docs/scaling.md", "docs/worked-example.md"])
def test_the_commands_of_the_documentation_are_understood(page: str) -> None:
    text = (Path(__file__).parents[2] / page).read_text("utf-8").replace("\\\n", " ")
    commands = [line.split("#")[0].split() for line in text.splitlines() if line.startswith("    evalkit ")]
    assert commands
    for command in commands:
        parser().parse_args(normalised([word for word in command[1:] if word != "..."]))


def test_help_lists_the_commands_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        program("--help")
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n    {command} " in out
    assert "130 interrupted" in out


def test_list_names_the_benchmarks_and_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert program("list") == 0
    out = capsys.readouterr().out
    assert all(f"\n{name} " in f"\n{out}" for name in TASKS)
    for name in TASKS:
        assert program(f"list {name}") == 0
        out = capsys.readouterr().out
        assert "metrics:" in out
        assert f"--set {name}.OPTION=VALUE" in out
        assert "= None" not in out
        assert "= (" not in out


def test_doctor_reports_and_fails_only_for_a_benchmark_that_was_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert program("doctor") == 0
    assert "torch" in capsys.readouterr().out
    assert program("doctor chair --data absent") == 3
    assert "-- chair" in capsys.readouterr().out


def test_a_run_scores_every_task_and_the_same_command_asks_nothing_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {name: (folder / "runs/base" / name / "responses.jsonl").stat() for name in TASKS}
    words = f"--tasks {','.join(TASKS)} --world world --judge rules --max-new-tokens 4"
    assert program(f"run --model {folder / 'tiny'} --label base {words}") == 0
    out = capsys.readouterr().out
    for name in TASKS:
        results = json.loads((folder / "runs/base" / name / METRICS).read_text())
        assert results["n_scored"] == results["n_total"] > 0
        assert results["signature"] in out
        assert (folder / "runs/base" / name / "responses.jsonl").stat().st_size == sizes[name].st_size


@pytest.mark.parametrize(
    ("format", "sign"),
    [("terminal", "chair_s"), ("markdown", "|"), ("csv", "benchmark,kind"), ("latex", "tabular"), ("json", "["),
     ("card", "model-index")],
)  # fmt: skip
def test_report_in_every_format(
    format: str, sign: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(LOG_WIDTH))
    assert program(f"report runs --groups --signatures --published --format {format}") == 0
    shown = capsys.readouterr().out
    assert sign in shown
    monkeypatch.setenv("COLUMNS", "300")  # a file is as wide as a log, whatever the terminal
    assert program(f"report runs --groups --signatures --published --format {format} --output report.txt") == 0
    assert Path("report.txt").read_text("utf-8") == shown
    if format == "json":
        json.loads(shown)


def test_report_as_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert program("report runs --html page.html") == 0
    assert "<html" in Path("page.html").read_text("utf-8")[:200]


def _replay(label: str, texts: list[str]) -> None:
    ids = json.loads(Path("world/image_ids.json").read_text())
    rows = [{"image_id": number, "caption": text} for number, text in zip(ids, texts, strict=True)]
    Path(f"{label}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_compare_shows_a_paired_difference_and_refuses_other_protocols(capsys: pytest.CaptureFixture[str]) -> None:
    for label, text in (("first", "A dog and a cat."), ("second", "A cat.")):
        _replay(label, [text] * SCENES)
        assert program(f"score chair --responses {label}.jsonl --world world") == 0
    assert program("score chair --responses first.jsonl --label other --variant singularize --world world") == 0
    capsys.readouterr()
    for format in ("terminal", "markdown", "csv", "latex", "json"):
        assert program(f"compare runs/first/chair runs/second/chair --format {format} --output compared.txt") == 0
        assert "chair" in capsys.readouterr().out
    assert program("compare runs/first/chair runs/other/chair") == 1
    line = capsys.readouterr().err
    assert "variant: pos_lemma against singularize" in line
    assert program("compare runs/first/chair runs/other/chair --allow variant,nltk_data") == 0
    assert program("compare runs/first/chair runs/other/chair --force") == 0
    assert "variant" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "format"),
    [("chair", "chair"), ("amber", "amber"), ("object_halbench", "object_halbench"), ("pope", "pope"),
     ("chair", "plain"), ("mmhal", "llava"), ("amber", "csv")],
)  # fmt: skip
def test_exported_responses_are_imported_to_the_same_scores(
    task: str, format: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(f"export runs/base/{task} --format {format} --output {task}_{format}.out".replace(
        ".out", {"amber": ".json", "csv": ".csv"}.get(format, ".jsonl"))) == 0  # fmt: skip
    files = capsys.readouterr().out.split()
    label = f"back_{task}_{format}"
    assert program(f"score {task} --responses {' '.join(files)} --label {label} --world world --judge rules") == 0
    ours, back = (json.loads((folder / "runs" / name / task / METRICS).read_text()) for name in ("base", label))
    assert back["sums"] == ours["sums"]


def test_merged_shards_equal_the_unsharded_run(folder: Path) -> None:
    words = f"--model {folder / 'tiny'} --label base --tasks pope,object_halbench --world world --max-new-tokens 4"
    for number in (1, 2, 3):
        assert program(f"generate {words} --shard {number}/3 --output-path shard{number}") == 0
    for task in ("pope", "object_halbench"):
        shards = " ".join(f"shard{number}/base/{task}" for number in (1, 2, 3))
        assert program(f"merge {shards} --output-path merged --world world") == 0
        assert program(f"score merged/base/{task} --world world --judge rules") == 0
        for name in (RECORDS, METRICS):
            assert (folder / "merged/base" / task / name).read_bytes() == (
                folder / "runs/base" / task / name
            ).read_bytes()


def test_generate_and_score_apart_equal_a_run(folder: Path) -> None:
    words = f"--model {folder / 'tiny'} --label base --world world --max-new-tokens 4 --output-path apart"
    assert program(f"generate {words} --tasks chair,mmhal") == 0
    assert not (folder / "apart/base/chair" / RECORDS).exists()
    for task in ("chair", "mmhal"):
        assert program(f"score apart/base/{task} --judge rules") == 0
        assert (folder / "apart/base" / task / RECORDS).read_bytes() == (
            folder / "runs/base" / task / RECORDS
        ).read_bytes()


def test_a_run_without_the_judge_it_needs_stops_before_it_asks_the_model(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"run --model {folder / 'tiny'} --tasks chair,mmhal,object_halbench --world world --output-path unjudged"
    assert program(words) == 1
    assert "mmhal, object_halbench: the responses need a judge" in capsys.readouterr().err
    assert not (folder / "unjudged").exists()
    assert program(f"{words} --dry-run") == 0
    assert capsys.readouterr().out.count("judge: none named") == 2


def test_a_run_says_where_it_lies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program("score runs/base/chair") == 0
    assert capsys.readouterr().out.endswith("\nkept in runs/base/chair\n")


def test_a_limit_takes_the_first_items(folder: Path) -> None:
    assert program("run --engine replay --model runs/base/pope --tasks pope --world world --limit 5 --label five") == 0
    rows = read_journal(folder / "runs/five/pope" / RECORDS)
    assert [row["id"] for row in rows] == [row["id"] for row in read_journal(folder / "runs/base/pope" / RECORDS)][:5]


def test_a_dry_run_forecasts_and_asks_nobody(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--tasks mmhal,pope --world world --judge rules --dry-run --price 1,2"
    assert program(f"run --model absent --label nobody {words}") == 0
    out = capsys.readouterr().out
    assert "96 generations" in out
    assert "USD" in out
    assert not (folder / "runs/nobody").exists()


def test_a_dry_run_of_scoring_asks_nobody_and_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"--model {folder / 'tiny'} --label base --world world --max-new-tokens 4 --output-path unscored"
    assert program(f"generate {words} --tasks mmhal") == 0
    run_dir = folder / "unscored/base/mmhal"
    before = {path.name: path.read_bytes() for path in run_dir.iterdir()}
    capsys.readouterr()
    assert program("score unscored/base/mmhal --judge rules --dry-run --price 1,2") == 0
    out = capsys.readouterr().out
    assert "mmhal: 96 responses, 96 need a judge" in out
    assert "USD" in out
    assert {path.name: path.read_bytes() for path in run_dir.iterdir()} == before

    ids = json.loads(Path("world/image_ids.json").read_text())
    Path("dry.jsonl").write_text("".join(json.dumps({"id": number, "text": "A dog."}) + "\n" for number in ids))
    assert program("score chair --responses dry.jsonl --world world --dry-run") == 0
    assert f"chair: {SCENES} responses, 0 need a judge" in capsys.readouterr().out
    assert not (folder / "runs/dry").exists()


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        ("chair", 1, "score chair: name the responses with --responses FILE, or a run directory"),
        ("world/image_ids.json", 3, "world/image_ids.json is not a finished run: run.json is missing"),
    ],
)
def test_scoring_what_is_no_run_says_what_to_name(
    target: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(f"score {target}") == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "score runs/base/pope --limit 1",
        "score runs/base/pope --shard 1/2",
        "merge runs/base/pope --limit 1",
        "align compare tiny tiny --tasks pope --world world --dry-run",
    ],
)
def test_an_option_that_would_do_nothing_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        program(command)
    assert stopped.value.code == 1
    assert "unrecognized arguments: --" in capsys.readouterr().err


def test_more_failures_than_tolerated_give_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    ids = json.loads(Path("world/image_ids.json").read_text())
    rows = [{"id": ids[0], "failure": "the server gave up"}, *({"id": number, "text": "A dog."} for number in ids[1:])]
    Path("partly.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert program("score chair --responses partly.jsonl --world world") == 2
    line = capsys.readouterr().err
    assert f"1 of {SCENES} samples failed, more than the tolerated 2%" in line
    assert "generation: the server gave up" in line
    assert program("score chair --responses partly.jsonl --world world --tolerance 0.5") == 0


def test_partial_responses_are_scored_on_request(folder: Path) -> None:
    Path("some.jsonl").write_text(json.dumps({"id": "random/1", "answer": "yes", "question_id": "random/1"}) + "\n")
    assert program("score pope --responses some.jsonl --world world") == 3
    assert program("score pope --responses some.jsonl --world world --partial") == 0
    assert json.loads((folder / "runs/some/pope" / METRICS).read_text())["n_total"] == 1


def test_captions_without_a_list_of_images_bring_their_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = json.loads(Path("world/image_ids.json").read_text())
    truth = {str(number): ["dog"] for number in ids}
    Path("truth.json").write_text(json.dumps(truth))
    Path("two.jsonl").write_text("".join(json.dumps({"image_id": n, "caption": "A dog."}) + "\n" for n in ids[:2]))
    Path("two.json").write_text(json.dumps(ids[1::-1]))
    words = "score chair --responses two.jsonl --references truth.json --set chair.synonyms=world/synonyms.txt"
    assert program(f"{words} --label open") == 0
    assert (
        f"chair: 2 of {SCENES} items have a response, the others are left out; --image-ids" in capsys.readouterr().err
    )
    assert program(f"{words} --label listed --image-ids two.json") == 0
    assert "left out" not in capsys.readouterr().err
    open_run, listed = (json.loads((folder / f"runs/{name}/chair/run.json").read_text()) for name in ("open", "listed"))
    assert open_run["signature"] == listed["signature"]
    assert "|n:2|ids:" in open_run["signature"]
    Path("two.json").write_text(json.dumps(ids[:3]))
    assert program(f"{words} --label short --image-ids two.json") == 3
    assert "1 of 3 items have no answer" in capsys.readouterr().err


def test_scoring_settings_change_only_on_request(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _replay("again", ["A dog."] * SCENES)
    assert program("score chair --responses again.jsonl --world world") == 0
    before = (folder / "runs/again/chair" / METRICS).read_bytes()
    assert program("score runs/again/chair --variant singularize") == 3
    assert "--rescore" in capsys.readouterr().err
    assert (folder / "runs/again/chair" / METRICS).read_bytes() == before
    assert program("score runs/again/chair --variant singularize --rescore") == 0
    assert "variant:singularize" in (folder / "runs/again/chair" / METRICS).read_text()


def test_assets_are_listed_and_a_wrong_file_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVALKIT_ASSETS", str(tmp_path))
    assert program("assets list") == 0
    assert "chair/synonyms.txt" in capsys.readouterr().out
    assert program("assets verify chair/synonyms.txt") == 3
    assert "absent" in capsys.readouterr().out
    (tmp_path / "chair").mkdir()
    (tmp_path / "chair/synonyms.txt").write_text("dog, puppy\n")
    assert program("assets verify chair/synonyms.txt") == 3
    assert "wrong sha256" in capsys.readouterr().out
    assert program("assets fetch pope/coco_pope_random.json") == 3
    assert "forbids downloads" in capsys.readouterr().err


def test_official_assets_are_verified(assets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program("assets verify chair/synonyms.txt") == 0
    assert "mirror" in capsys.readouterr().out


def test_an_asset_that_is_here_is_not_fetched_again(assets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """EVALKIT_OFFLINE is set: a download would be an error."""
    assert program("assets fetch chair/synonyms.txt") == 0
    assert f"chair/synonyms.txt: {assets}" in capsys.readouterr().out


def test_verdicts_of_other_responses_are_no_reference(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program("calibrate-judge runs/base/chair runs/base/mmhal") == 3
    assert "is a run of chair, runs/base/mmhal one of mmhal" in capsys.readouterr().err
    other = folder / "other"
    shutil.copytree(folder / "runs/base/mmhal", other)
    first, *rest = read_journal(other / "responses.jsonl")
    (other / "responses.jsonl").write_bytes(b"".join(map(sealed, [first | {"text": f"{first['text']}!"}, *rest])))
    assert program("score other --judge rules") == 3
    assert "remove records.jsonl to score what it holds now" in capsys.readouterr().err
    (other / "records.jsonl").unlink()
    assert program("score other --judge rules") == 0
    assert program("calibrate-judge runs/base/mmhal other") == 3
    assert f"item {first['id']!r} has another response" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "shown"), [("", 0), ("5", 1), ("5,1", 2)])
def test_power_is_shown_with_and_without_a_size(words: str, shown: int, capsys: pytest.CaptureFixture[str]) -> None:
    order = f"--power {words} runs/base/chair runs/base/chair" if words else "runs/base/chair runs/base/chair --power"
    assert program(f"compare {order}") == 0
    out = capsys.readouterr().out
    assert "smallest difference it can see" in out
    assert out.count("items for a difference of") == shown


@pytest.mark.parametrize("size", ["0", "x", "-1", "inf", "nan"])
def test_power_wants_a_size_above_zero(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program(f"compare --power={size} runs/base/chair runs/base/chair") == 1
    assert f"--power '{size}': expected differences above 0" in capsys.readouterr().err


def test_the_formats_of_export_are_listed_without_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert program("export --format list") == 0
    assert "mmhal " in capsys.readouterr().out
    assert program("export --format chair") == 1
    assert "name the run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere", "nowhere: no such folder"),
        ("runs/base", "run.json is missing; there is one below: runs/base/amber, runs/base/chair, "),
    ],
)
def test_what_is_no_run_is_named_with_the_runs_below(path: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program(f"compare {path} runs/base/chair") == 3
    assert said in capsys.readouterr().err


def test_a_server_that_does_not_answer_fails_the_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert program("doctor --base-url http://127.0.0.1:9/v1 --model m") == 3
    assert "-- endpoint" in capsys.readouterr().out


def test_a_judge_is_calibrated_against_reference_verdicts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = read_journal(folder / "runs/base/mmhal" / RECORDS)
    labels = [{"id": row["id"], "rating": row["score"]["counts"]["rating"]} for row in rows]
    Path("labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labels))
    assert program("calibrate-judge runs/base/mmhal labels.jsonl") == 0
    out = capsys.readouterr().out
    assert f"{len(rows)} rated by both" in out
    assert "100.0" in out
