"""Replayed and scripted engines."""

import json

import pytest

from evalkit.engines.replay import ReplayEngine, ScriptedEngine
from evalkit.errors import DataError, EngineError
from evalkit.images import ImageFile
from evalkit.sampling import Sampling
from evalkit.schema import Prompt

PROMPTS = [Prompt(str(n), "Describe.") for n in (1, 2, 3)]


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_is_replayed_by_id_not_by_position(tmp_path):
    path = lines(tmp_path / "a.jsonl", [{"id": n, "response": f"r{n}"} for n in (3, 99, 1)])
    engine = ReplayEngine(path)
    found = list(engine.generate(PROMPTS, Sampling()))
    assert [(r.prompt_id, r.text) for r in found] == [("1", "r1"), ("2", None), ("3", "r3")]
    assert "no response in a.jsonl" in str(found[1].failure)
    assert engine.describe() == {"engine": "replay", "model": "a", "replayed": "a.jsonl"}


def test_images_tell_the_prompt_where_ids_do_not(tmp_path):
    path = lines(tmp_path / "a.jsonl", [{"image_id": n, "caption": f"r{n}"} for n in (25, 9)])
    prompts = [Prompt(f"x{n}", "Describe.", (ImageFile(tmp_path, f"COCO_val2014_{n:012d}.jpg"),)) for n in (9, 25)]
    assert [r.text for r in ReplayEngine(path).generate(prompts, Sampling())] == ["r9", "r25"]


def test_a_run_directory_is_replayed_with_all_its_samples(tmp_path):
    rows = [{"id": "1", "sample": s, "text": f"r{s}", "finish": "stop", "tokens": 1} for s in (1, 0)]
    lines(tmp_path / "responses.jsonl", rows)
    found = list(ReplayEngine(tmp_path).generate(PROMPTS[:1], Sampling(n=2, temperature=1.0)))
    assert [(r.sample, r.text) for r in found] == [(0, "r0"), (1, "r1")]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"id": 1, "response": "a"}, {"id": 1, "response": "b"}], "answered twice: item '1'"),
        ([{"id": 77, "response": "a"}], "none of its answers fits"),
        ([{"question": "Describe.", "answer": "a"}], "fits 3 items"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, rows, problem):
    with pytest.raises(DataError, match=problem):
        list(ReplayEngine(lines(tmp_path / "a.jsonl", rows)).generate(PROMPTS, Sampling()))


@pytest.mark.parametrize("operation", ["logprobs", "choices"])
def test_texts_have_no_probabilities(tmp_path, operation):
    path = lines(tmp_path / "a.jsonl", [{"id": 1, "response": "a"}])
    for engine in (ReplayEngine(path), ScriptedEngine(lambda prompt, sample: "a")):
        with pytest.raises(EngineError, match="texts only"):
            getattr(engine, operation)(PROMPTS, ["a"])


def test_a_scripted_engine_says_what_its_script_says_until_it_is_stopped():
    engine = ScriptedEngine(lambda prompt, sample: None if prompt.id == "2" else f"{prompt.id}.{sample}")
    found = list(engine.generate(PROMPTS, Sampling(n=2, temperature=1.0)))
    assert [r.text for r in found] == ["1.0", "1.1", None, None, "3.0", "3.1"]
    responses = engine.generate(PROMPTS, Sampling())
    next(responses)
    engine.stop()
    assert list(responses) == []
