"""A study is drawn by its seed, frozen, and refuses what is not its own."""

import hmac
import json
import stat

import pytest
from annotation_world import BASE, OTHER, make_study, write_run

from evalkit.annotation.draw import draw_study
from evalkit.annotation.study import (
    ITEMS,
    STUDY,
    TOKENS,
    TYPES,
    changed_runs,
    check_names,
    read_study,
    text_hash,
    types_named,
    write_study,
    write_tokens,
)
from evalkit.errors import DataError, RecordError
from evalkit.runs.run import load_run


def many(count):
    return {str(number): f"Response number {number}." for number in range(count)}


def test_a_study_is_read_as_it_was_written(tmp_path):
    study = make_study(tmp_path, "correct", show=("reference",), seed=3)
    again = read_study(study.folder)
    assert again == study
    assert "Change the response" in again.guideline


def test_the_seed_alone_decides_which_items_are_drawn(tmp_path):
    runs = [load_run(write_run(tmp_path / "run", "base", many(40), tmp_path / "images"))]

    def drawn(seed):
        study = draw_study(tmp_path / "s", runs, "mark", TYPES["zina"], annotators=["a"], items=10, seed=seed)
        return [item.key for item in study.items]

    assert drawn(1) == drawn(1)
    assert len(drawn(1)) == 10
    assert drawn(1) != drawn(2)


def test_strata_have_their_shares(tmp_path):
    responses = {**{str(n): f"odd {n}" for n in range(1, 60, 2)}, **{str(n): f"even {n}" for n in range(0, 20, 2)}}
    study = make_study(tmp_path, runs=[responses], items=12, stratify="kind")
    kinds = [item.groups["kind"] for item in study.items]
    assert (kinds.count("odd"), kinds.count("even")) == (9, 3)


def test_an_unknown_stratum_names_those_there_are(tmp_path):
    with pytest.raises(DataError, match="there are: kind"):
        make_study(tmp_path, stratify="colour")


def test_shared_items_go_to_everybody_and_the_rest_to_one(tmp_path):
    study = make_study(tmp_path, annotators=("a", "b", "c"), runs=[many(30)], overlap=0.2)
    own = {name: {item.key for item in study.assigned(name)} for name in study.annotators}
    shared = own["a"] & own["b"] & own["c"]
    assert len(shared) == 6
    assert sum(len(keys - shared) for keys in own.values()) == 24
    assert set.union(*own.values()) == {item.key for item in study.items}
    assert [item.key for item in study.assigned("a")][:6] != sorted(shared)


def test_comparisons_hide_which_model_stands_first(tmp_path):
    texts = [{str(n): f"base {n}" for n in range(40)}, {str(n): f"other {n}" for n in range(40)}]
    study = make_study(tmp_path, "compare", runs=texts)
    firsts = [item.responses[0].run for item in study.items]
    assert 8 < sum(firsts) < 32
    assert all({response.run for response in item.responses} == {0, 1} for item in study.items)


def test_equal_responses_are_not_compared(tmp_path):
    study = make_study(tmp_path, "compare", runs=[BASE, OTHER])
    assert "4" not in {item.id for item in study.items}


def test_nothing_to_compare_is_said(tmp_path):
    with pytest.raises(DataError, match="nothing to annotate"):
        make_study(tmp_path, "compare", runs=[BASE, BASE])
    with pytest.raises(DataError, match="two runs"):
        make_study(tmp_path / "x", "compare", runs=[BASE])


def test_gold_items_are_drawn_in_any_case_and_checked(tmp_path):
    study = make_study(tmp_path, items=1, gold={"0/2/0": {"spans": [[2, 5, "object"]]}})
    assert [item.key for item in study.items] == ["0/2/0"]
    assert read_study(study.folder).gold == {"0/2/0": {"spans": [[2, 5, "object"]]}}
    with pytest.raises(DataError, match="outside"):
        make_study(tmp_path / "x", gold={"0/2/0": {"spans": [[2, 500, "object"]]}})
    with pytest.raises(DataError, match="not in the runs"):
        make_study(tmp_path / "y", gold={"0/9/0": {"spans": []}})


def test_a_run_that_was_generated_again_leaves_the_study_as_it_was(tmp_path):
    study = make_study(tmp_path)
    assert changed_runs(study) == []
    records = tmp_path / "runs" / "base" / "records.jsonl"
    records.write_text(records.read_text().replace("red", "blue"))
    again = read_study(study.folder)
    assert again.item("0/1/0").texts == [BASE["1"]]
    assert [run.label for run in changed_runs(again)] == ["base"]
    records.unlink()
    assert [run.label for run in changed_runs(again)] == ["base"]


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        (ITEMS, lambda text: text.replace("red", "blue"), "not the file that the study was made with"),
        (STUDY, lambda text: text.replace('"mark"', '"paint"'), "task is 'paint'"),
        (STUDY, lambda text: text.replace('"schema": 1', '"schema": 2'), "schema version 2"),
        (STUDY, lambda text: text.replace('"anna"', '"../anna"'), "annotator"),
        (TOKENS, lambda text: '{"anna": ""}', "20 characters"),
    ],
)
def test_a_damaged_study_is_refused(tmp_path, file, change, words):
    folder = make_study(tmp_path).folder
    (folder / file).write_text(change((folder / file).read_text()))
    with pytest.raises(RecordError, match=words):
        _ = read_study(folder).tokens


def test_a_response_without_its_hash_is_refused(tmp_path):
    study = make_study(tmp_path)
    rows = [json.loads(line) for line in (study.folder / ITEMS).read_text().splitlines()]
    assert all(response["hash"] == text_hash(response["text"]) for row in rows for response in row["responses"])


def test_a_second_study_does_not_overwrite_the_first(tmp_path):
    study = make_study(tmp_path)
    with pytest.raises(DataError, match="holds a study already"):
        write_study(study, "")


def test_every_token_is_compared_in_constant_time_whichever_matches(tmp_path, monkeypatch):
    study = make_study(tmp_path, annotators=("anna", "ben"))
    tokens = dict(study.tokens)
    compared = []

    def counted(one, other):
        compared.append(other)
        return hmac.compare_digest(one, other)

    monkeypatch.setattr("evalkit.annotation.study.secrets.compare_digest", counted)
    for token in (*tokens.values(), "x", tokens["anna"][:-1], None):
        compared.clear()
        study.who(token)
        assert compared == [secret.encode() for secret in tokens.values()]


def test_secrets_are_the_owners_and_tell_people_apart(tmp_path):
    study = make_study(tmp_path, annotators=("anna", "ben"))
    assert stat.S_IMODE((study.folder / TOKENS).stat().st_mode) == 0o600
    assert [study.who(study.tokens[name]) for name in ("owner", "anna", "ben")] == ["owner", "anna", "ben"]
    assert [study.who(token) for token in (None, "", "x", "ü" * 32)] == [None] * 4
    before = dict(study.tokens)
    write_tokens(study.folder, study.annotators)
    assert set(read_study(study.folder).tokens.values()).isdisjoint(before.values())
    assert stat.S_IMODE((study.folder / TOKENS).stat().st_mode) == 0o600


@pytest.mark.parametrize("names", [[], ["a/b"], [".."], ["owner"], ["a", "A"], ["adjudicated"], ["x" * 50], [""]])
def test_names_that_are_no_file_names_are_refused(names):
    with pytest.raises(DataError):
        check_names(names)


def test_types_have_names_or_are_listed():
    assert types_named("rlhf-v")[0] == "object"
    assert types_named("a, b,a") == ("a", "b")
    with pytest.raises(DataError):
        types_named(",")
