"""`evalkit annotate` and `evalkit annotations`, as a person types them."""

import json
import re

import pytest
from annotation_world import BASE, OTHER, make_study, write_run

from aligners.preference.datasets import read_preferences
from dashboard.commands import served_at
from evalkit.__main__ import main
from evalkit.annotation.exchange import label_studio
from evalkit.annotation.journal import read_state, submit
from evalkit.annotation.study import read_study
from evalkit.errors import DataError, UsageError


@pytest.fixture
def corrected(tmp_path):
    study = make_study(tmp_path, "correct", ("anna", "ben"), overlap=1.0)
    submit(study, "anna", "0/1/0", {"text": "🐶 A black dog sits on a sofa.", "types": ["attribute"]})
    submit(study, "ben", "0/2/0", {"text": BASE["2"]})
    return study


def test_annotate_draws_a_study_and_prints_a_link_for_everybody(tmp_path, capsys):
    write_run(tmp_path / "run", "base", BASE, tmp_path / "images")
    (tmp_path / "guide.md").write_text("# Look closely\n")
    words = ["annotate", str(tmp_path / "run"), "--study", str(tmp_path / "s"), "--task", "mark", "--items", "3"]
    more = ["--annotators", "anna,ben", "--overlap", "1", "--guideline", str(tmp_path / "guide.md"), "--no-serve"]
    assert main([*words, *more]) == 0
    study = read_study(tmp_path / "s")
    assert (len(study.items), study.annotators, study.guideline) == (3, ("anna", "ben"), "# Look closely\n")
    before = study.tokens
    assert set(re.findall(r"\?token=(\S+)", capsys.readouterr().out)) == set(before.values())
    assert main([*words, *more]) == 1  # the runs are named again: it is a study already
    assert main(["annotate", "--study", str(tmp_path / "s"), "--no-serve", "--new-tokens"]) == 0
    assert set(read_study(tmp_path / "s").tokens.values()).isdisjoint(before.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name the runs"),
        (["RUN"], "--task"),
        (["RUN", "--task", "mark", "--show", "answers"], "cannot show answers"),
        (["RUN", "--task", "compare"], "two runs"),
        (["RUN", "--task", "mark", "--annotators", "../x"], "annotator"),
        (["RUN", "--task", "mark", "--host", "0.0.0.0"], "--public-url"),
        (["RUN", "--task", "mark", "--images", "nowhere"], "no such folder"),
    ],
)
def test_annotate_says_what_is_wrong(tmp_path, capsys, words, message):
    write_run(tmp_path / "run", "base", BASE, tmp_path / "images")
    named = [str(tmp_path / "run") if word == "RUN" else word for word in words]
    assert main(["annotate", *named, "--study", str(tmp_path / "s"), "--no-serve"]) in (1, 3)
    assert message in capsys.readouterr().err


def test_the_address_people_open_is_the_one_the_server_answers_to():
    assert served_at(None, 8501, None) == ({}, "http://127.0.0.1:8501")
    settings, address = served_at("10.0.0.5", 8501, None)
    assert (settings["server.address"], address) == ("10.0.0.5", "http://10.0.0.5:8501")
    settings, address = served_at("0.0.0.0", 8501, "https://lab.example.org/study/")
    assert address == "https://lab.example.org/study"
    assert settings["server.baseUrlPath"] == "study"
    assert "lab.example.org" in settings["server.allowedHosts"]
    assert settings["server.corsAllowedOrigins"] == ["https://lab.example.org"]
    with pytest.raises(UsageError, match="expected http"):
        served_at(None, 8501, "lab.example.org")


def test_status_and_agreement_say_how_far_it_is(corrected, capsys):
    assert main(["annotations", "status", str(corrected.folder)]) == 0
    assert "anna                 1 answered, 0 skipped, of 4" in capsys.readouterr().out
    assert main(["annotations", "agreement", str(corrected.folder)]) == 0
    assert "words marked" in capsys.readouterr().out


@pytest.mark.parametrize("target", ["pairs", "comparisons", "mhumaneval", "segments", "labels", "label-studio"])
def test_every_export_of_corrections_is_written(corrected, tmp_path, capsys, target):
    output = tmp_path / "out"
    assert main(["annotations", "export", str(corrected.folder), "--to", target, "--output", str(output)]) == 0
    assert output.exists()
    if target == "pairs":
        (row,) = map(json.loads, output.read_text().splitlines())
        assert row["rejected"] == BASE["1"]
        assert "left out: 1 accepted as it is" in capsys.readouterr().err


def test_align_takes_a_study_as_it_is(corrected, tmp_path):
    pairs = read_preferences(corrected.folder, tmp_path)
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [("🐶 A black dog sits on a sofa.", BASE["1"])]
    assert pairs[0].image.endswith("1.png")
    with pytest.raises(DataError, match="no pair yet"):
        read_preferences(make_study(tmp_path / "new", "correct").folder, tmp_path)


def test_what_was_annotated_elsewhere_comes_in_once(tmp_path, capsys):
    study = make_study(tmp_path, "mark", ("anna", "ben"), overlap=1.0)
    exported = [
        {"data": task["data"], "annotations": [{"completed_by": 7, "result": []}]} for task in label_studio.tasks(study)
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(exported))
    words = ["annotations", "import", str(study.folder), str(path), "--from", "label-studio", "--annotator", "ben"]
    assert main(words) == 0
    assert main(words) == 0
    assert "4 read, 0 new lines" in capsys.readouterr().out
    assert len(read_state(study, "ben").answers) == 4
    exported[0]["annotations"].append({"completed_by": 8, "result": []})
    path.write_text(json.dumps(exported))
    assert main(words) == 1
    assert "--annotator ID=NAME is missing for 7, 8" in capsys.readouterr().err
    assert main([*words[:-1], "7=ben", "--annotator", "8=anna"]) == 0
    assert len(read_state(study, "anna").answers) == 1


def test_an_import_with_one_bad_answer_writes_nothing(tmp_path, capsys):
    study = make_study(tmp_path, "mark")
    value = {"start": 0, "end": 3, "labels": ["colour"]}
    results = [[], [{"type": "labels", "from_name": "type", "value": value}]]
    tasks = label_studio.tasks(study)
    exported = [
        {"data": task["data"], "annotations": [{"completed_by": 7, "result": result}]}
        for task, result in zip(tasks, results, strict=False)
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(exported))
    words = ["annotations", "import", str(study.folder), str(path), "--from", "label-studio", "--annotator", "anna"]
    assert main(words) != 0
    assert "type must be one of" in capsys.readouterr().err
    assert read_state(study, "anna").last == 0


def test_rates_of_two_models_stand_in_one_table(tmp_path, capsys):
    study = make_study(tmp_path, "mark", runs=[BASE, OTHER])
    for run in (0, 1):
        for name in BASE:
            spans = [[0, 1, "object"]] if run == 0 else []
            submit(study, "anna", f"{run}/{name}/0", {"spans": spans})
    assert main(["annotations", "export", str(study.folder), "--to", "mhumaneval"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"base\s+100\.0", shown)
    assert re.search(r"other\s+0\.0", shown)


def test_a_judge_is_measured_against_people_and_people_among_themselves(tmp_path, capsys):
    study = make_study(tmp_path, "mark", ("anna", "ben"), overlap=1.0)
    run = tmp_path / "runs" / "base"
    words = ["calibrate-judge", str(run), str(study.folder)]
    assert main(words) != 0
    assert "no annotated response of 'base' on toy" in capsys.readouterr().err
    for name in ("anna", "ben"):
        for item in study.items:  # the run's own counts say so of item 1 alone
            submit(study, name, item.key, {"spans": [[0, 1, "object"]] if item.id in ("1", "2") else []})
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "observed         75.0" in shown
    assert "alpha 1.00 among annotators, over 4 responses" in shown
    records = run / "records.jsonl"
    records.write_text(records.read_text().replace("red", "blue"))
    assert main(words) != 0
    assert "generated again since the study was drawn" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["pairs", "comparisons", "segments", "label-studio"])
def test_half_a_character_in_one_response_spoils_no_export(tmp_path, target):
    study = make_study(tmp_path, "correct", runs=[{"1": "A dog \ud800 sits.", "2": "Ein Hund läuft."}])
    submit(study, "anna", "0/1/0", {"text": "A cat \ud800 sits.", "types": ["object"]})
    submit(study, "anna", "0/2/0", {"text": "Eine Katze läuft.", "types": ["object"]})
    output = tmp_path / "out"
    assert main(["annotations", "export", str(study.folder), "--to", target, "--output", str(output)]) == 0
    text = (output / "tasks.json" if target == "label-studio" else output).read_text("utf-8")
    assert "\\ud800" in text or target == "segments"
    assert [json.loads(line) for line in text.splitlines()] if target in ("pairs", "segments") else json.loads(text)


def test_a_text_that_is_plain_is_written_as_people_read_it(corrected, tmp_path):
    output = tmp_path / "out"
    main(["annotations", "export", str(corrected.folder), "--to", "pairs", "--output", str(output)])
    assert "🐶" in output.read_text("utf-8")


def test_a_study_without_answers_says_what_to_do_next(tmp_path, capsys):
    study = make_study(tmp_path, "correct", ("anna", "ben"))
    assert main(["annotate", "--study", str(study.folder), "--no-serve"]) == 0
    assert f"`evalkit annotate --study {study.folder}` serves it" in capsys.readouterr().out
    assert main(["annotations", "agreement", str(study.folder)]) == 0
    assert "no item was answered by two annotators yet" in capsys.readouterr().out
    assert main(["annotations", "export", str(study.folder), "--to", "pairs"]) == 0
    assert "nothing to export yet" in capsys.readouterr().err
    assert main(["annotations", "export", str(study.folder), "--to", "pairs", "--omissions", "-1"]) == 1
    assert "--omissions must not be negative" in capsys.readouterr().err


def test_exported_pairs_leave_accepted_sentences_out_where_asked(tmp_path, capsys):
    study = make_study(tmp_path, "correct", runs=[{"1": "A dog. One cat. Two cups."}])
    submit(study, "anna", "0/1/0", {"text": "A dog. Two cups.", "types": ["object"]})
    words = ["annotations", "export", str(study.folder), "--to", "pairs", "--omissions", "2"]
    assert main(words) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["chosen"] for row in rows] == ["A dog. Two cups."] * 3
    assert {row["rejected"] for row in rows} == {"A dog. One cat. Two cups.", "A dog.", "Two cups."}
    assert len(read_preferences(study.folder, tmp_path, omissions=2)) == 3
    with pytest.raises(DataError, match="is no study"):
        read_preferences(tmp_path / "pairs.jsonl", tmp_path, omissions=2)
