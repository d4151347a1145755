"""Object HalBench: reading replies, counting, files, settings."""

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.judges.prompts import PinnedPrompt, constant_of, judge_prompt, official_prompt
from benchmarks.object_halbench.benchmark import ITEMS, ObjectHalBench
from benchmarks.object_halbench.counting import answer_text, review_figures, summary_figures
from benchmarks.object_halbench.phrases import RecordedAnalyser
from benchmarks.object_halbench.replies import UnreadableReplyError, read_safe, read_strict, strict_names
from benchmarks.object_halbench.words import ObjectTable
from evalkit.benchmark import Judged
from evalkit.errors import AssetError, DataError
from evalkit.miniature.files import write_world
from evalkit.schema import Item, Prompt, Response, Sample, Score

SYNONYMS = "person, man, woman\ndog, puppy\nchair, seat\ntoilet\ndining table, table\nhot dog\n"
LONG = "There is a puppy on a wooden chair beside a table."


@pytest.fixture
def synonyms(tmp_path: Path) -> Path:
    path = tmp_path / "synonyms.txt"
    path.write_text(SYNONYMS, encoding="utf-8")
    return path


def nouns(**phrases: str) -> RecordedAnalyser:
    """Each phrase (its blanks written _) is one noun with the given lemma."""
    return RecordedAnalyser(
        {name.replace("_", " "): [["a", "a", "DT"], [name, lemma, "NN"]] for name, lemma in phrases.items()}
    )


def item(objects: list[str], name: str = "7") -> Item:
    return Item(name, "Describe it.", None, {"objects": objects})


def bench(synonyms: Path, **options: Any) -> ObjectHalBench:
    options.setdefault("analyser", nouns(puppy="puppy", chair="chair", man="man", woman="woman", table="table"))
    return ObjectHalBench(synonyms=synonyms, prompt="own", **options)


# --- replies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "names"),
    [
        ('["cat", "dog"]', ["cat", "dog"]),
        ("()", []),
        ("[]", []),
        (" ( ) ", []),
        ('["", " "]', []),
        ('```json\n["cat", "dog"]\n```', ["cat", "dog"]),
        ('Sure!\n```\n["cat"]\n```\nI hope this helps.', ["cat"]),
        ("```json\n()\n```", []),
        ("['cat', 'dog']", ["cat", "dog"]),
        ('["cat", "dog",]', ["cat", "dog"]),
        ('["dog\'s bowl", "cat"]', ["dog's bowl", "cat"]),
        ('["cat", "dog"]\nI hope this helps [and more].', None),
        ('["cat", "dog"]\nI hope this helps.', ["cat", "dog"]),
        ('Result: ["cat"]', ["cat"]),
        ('[\n  "cat",\n  "dog"\n]', ["cat", "dog"]),
        ('{"objects": ["cat"]}', ["cat"]),
        ('["cat"]\n["cat"]', ["cat"]),
        ('[\n "a"]\n["b"]', None),
        ('{"cat": 1, "dog": 2}', None),
        ('"cat"', None),
        ("3", None),
        ("null", None),
        ("true", None),
        ('["cat", 3, null]', None),
        ('[["dog"], {"x": 1}]', None),
        ('["cat", "dog"', None),
        ('["cat" "dog"]', None),
        ("['cat', 'dog' 'bird',]", None),
        ("['cat',\n 'dog',\n]", ["cat", "dog"]),
        ("The objects are: cat, dog", None),
        ("- cat\n- dog", None),
        ("", None),
    ],
)
def test_the_safe_reading_takes_one_list_of_names_or_nothing(reply, names):
    if names is None:
        with pytest.raises(UnreadableReplyError):
            read_safe(reply)
    else:
        assert read_safe(reply) == names


def test_the_strict_reading_takes_any_json_as_the_authors_do():
    assert strict_names(read_strict('{"cat": 1}')) == ["cat"]
    assert strict_names(read_strict('"cat"')) == ["c", "a", "t"]
    assert strict_names(read_strict('["cat", 3, null]')) == ["cat", "3", "None"]
    with pytest.raises(TypeError):
        strict_names(read_strict("3"))
    with pytest.raises(UnreadableReplyError):
        read_strict("()")


@pytest.mark.parametrize(
    ("reading", "reply", "failure"),
    [
        ("safe", "sorry", "no list"),
        ("strict", "()", "after-100-attempts: AssertionError"),
        ("strict", "null", "phrase-analysis: TypeError"),
        ("strict", '"-1\\n<no_response>"', "phrase-analysis: AssertionError"),
    ],
)
def test_a_reply_that_cannot_be_read_fails_the_sample_and_is_kept(synonyms, reading, reply, failure):
    score = bench(synonyms, reading=reading).score(item(["dog"]), LONG, reply)
    assert score.counts is None
    assert failure in (score.failure or "")
    assert score.details["reply"] == reply


def test_a_missing_reply_is_a_failure_and_no_empty_list(synonyms):
    assert bench(synonyms).score(item(["dog"]), LONG).failure == "no reply of the extractor"


def test_check_reply_asks_again_only_for_what_the_reading_cannot_take(synonyms):
    safe, strict = bench(synonyms), bench(synonyms, reading="strict")
    assert safe.check_reply("()") is None
    assert strict.check_reply("()") is not None
    assert safe.check_reply("3") is not None
    assert strict.check_reply("3") is None


# --- responses cut short -------------------------------------------------------------------------------------------


def judged(benchmark: ObjectHalBench, response: str, reply: str, objects: list[str]) -> Sample:
    asked = item(objects)
    return Sample(asked, Prompt("7", ""), Response("7", response), benchmark.score(asked, response, reply))


def test_a_cut_counts_the_extracted_objects_that_the_kept_text_names(synonyms):
    benchmark = bench(synonyms)
    sample = judged(benchmark, LONG, '["chair", "puppy", "table", "man"]', ["dog", "person"])
    ends = [LONG.index(word) + len(word) for word in ("puppy", "chair", "table")]
    kept = ['["puppy"]', '["chair", "puppy"]', '["chair", "puppy", "table"]']
    for cut, end, reply in zip(benchmark.count_cuts(sample, ends), ends, kept, strict=True):
        assert cut == benchmark.score(item(["dog", "person"]), LONG[:end], reply).counts
    assert sample.score.counts["recalled_objects"] == 2  # the man whom the response never names, too
    (empty,) = benchmark.count_cuts(sample, [0])
    assert empty == benchmark.score(item(["dog", "person"]), "").counts


def test_a_cut_inside_a_word_does_not_name_it_and_three_words_name_nothing(synonyms):
    benchmark = bench(synonyms)
    sample = judged(benchmark, LONG, '["puppy"]', ["dog"])
    end = LONG.index("puppy")
    half, whole = benchmark.count_cuts(sample, [end + 3, end + 5])
    assert (half["mentions"], whole["mentions"]) == (0, 1)
    short = judged(benchmark, "Puppy and chair, chair", '["puppy", "chair"]', ["dog"])
    (cut,) = benchmark.count_cuts(short, [len("Puppy and chair")])
    assert cut["mentions"] == 0  # nobody would have been asked about three words


def test_words_of_a_review_file_are_cut_too(synonyms):
    benchmark = bench(synonyms)
    reply = '{"mscoco_generated_words": [["puppy", "dog"], ["table", "dining table"]]}'
    sample = judged(benchmark, LONG, reply, ["dog"])
    (cut,) = benchmark.count_cuts(sample, [LONG.index("beside")])
    assert (cut["mentions"], cut["hallucinated_mentions"]) == (1, 0)


# --- counting ------------------------------------------------------------------------------------------------------


def test_objects_outside_the_image_are_hallucinated(synonyms):
    score = bench(synonyms).score(item(["dog", "dining table"]), LONG, '["puppy", "chair", "table"]')
    assert score.counts == {
        "responses": 1,
        "object_responses": 1,
        "hallucinated_responses": 1,
        "mentions": 3,
        "hallucinated_mentions": 1,
        "recalled_objects": 2,
        "reference_objects": 2,
        "words": 11,
    }
    marked = {LONG[f.start : f.end]: f.label for f in score.findings}
    assert marked == {"puppy": "correct", "chair": "hallucinated", "table": "correct"}


def test_a_word_counts_once_and_two_words_of_a_category_twice(synonyms):
    score = bench(synonyms).score(item([]), LONG, '["man", "woman", "man"]')
    assert score.counts is not None
    assert score.counts["mentions"] == score.counts["hallucinated_mentions"] == 2


@pytest.mark.parametrize("response", ["", "A cat.", "two dogs here", "Assistant: a red bus"])
def test_up_to_three_words_need_no_call_and_name_nothing(synonyms, response):
    benchmark = bench(synonyms)
    assert benchmark.judge_prompt(item(["dog"]), response) is None
    score = benchmark.score(item(["dog"]), response)
    assert score.counts is not None
    assert score.counts["object_responses"] == 0
    assert score.counts["responses"] == 1


def test_the_extractor_gets_one_system_message_with_question_and_answer(synonyms):
    prompt = bench(synonyms).judge_prompt(item(["dog"]), f"Assistant: {LONG} {{question}}")
    assert prompt is not None
    assert prompt.text == ""
    assert prompt.system is not None
    assert "Describe it." in prompt.system
    assert f"{LONG} {{question}}" in prompt.system
    assert "Assistant:" not in prompt.system


def test_without_a_judge_the_words_of_the_response_count_each_time(synonyms):
    response = "Assistant:  A puppy and another puppy near the toilet seat, a hot dog."
    benchmark = bench(synonyms, extractor="lemma")
    assert benchmark.judge_prompt(item([]), response) is None
    score = benchmark.score(item(["dog"]), response)
    assert score.counts is not None
    assert (score.counts["mentions"], score.counts["hallucinated_mentions"]) == (4, 2)
    assert [(response[f.start : f.end], f.label) for f in score.findings] == [
        ("puppy", "correct"),
        ("puppy", "correct"),
        ("toilet seat", "hallucinated"),
        ("hot dog", "hallucinated"),
    ]


def test_findings_do_not_overlap(synonyms):
    analyser = RecordedAnalyser(
        {"table": [["table", "table", "NN"]], "dining table": [["dining", "dining", "NN"], ["table", "table", "NN"]]}
    )
    text = "A dining table and a table."
    score = bench(synonyms, analyser=analyser).score(item([]), text, '["table", "dining table"]')
    assert [text[f.start : f.end] for f in score.findings] == ["dining table", "table"]


def test_both_denominators_are_reported(synonyms):
    benchmark = bench(synonyms)
    scores = [
        benchmark.score(item(["dog"]), LONG, '["chair"]'),
        benchmark.score(item(["dog"]), LONG, '["puppy"]'),
        benchmark.score(item(["dog"]), LONG, "[]"),
        benchmark.score(item(["dog"]), LONG, "[]"),
    ]
    review = review_figures([score.counts for score in scores if score.counts])
    assert (review["CHAIRs"], review["CHAIRs_refine"], review["CHAIRi"]) == (0.25, 0.5, 0.5)


def test_empty_denominators_are_undefined_not_zero():
    review = review_figures([])
    assert review["CHAIRs"] is review["CHAIRs_refine"] is review["obj_rec"] is review["correct_rate"] is None
    assert summary_figures(review)["Response Hall"] is None


def test_failed_samples_are_left_out_of_the_official_figures_and_named(synonyms):
    benchmark = bench(synonyms)
    good = benchmark.score(item(["dog"]), LONG, '["puppy"]')
    samples = [
        Sample(item([], name), Prompt(name, ""), Response(name, LONG), score)
        for name, score in (("1", good), ("2", Score(None, failure="judge: gone")))
    ]
    official = benchmark.official(samples)
    assert official["review"]["sentence_num"] == 1.0
    assert official["left_out"] == ["2"]
    assert official["complete"] is False


@pytest.mark.parametrize(
    ("response", "answer"),
    [("  Hi. ", "Hi."), ("Assistant: A dog. Assistant:", "A dog."), ("assistant: a", "assistant: a")],
)
def test_answer_text_is_what_the_authors_read(response, answer):
    assert answer_text(response) == answer


def test_evaluate_needs_no_files_but_references_of_every_image():
    with pytest.raises(DataError, match="image_id 9"):
        ObjectHalBench.evaluate({9: "A dog."}, {}, synonyms=ObjectTable.of({"dog": "dog"}))


# --- files ---------------------------------------------------------------------------------------------------------


def picture(kind: str = "JPEG") -> str:
    data = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(data, kind)
    return base64.b64encode(data.getvalue()).decode()


def rows(n: int = 3, **changes: Any) -> list[dict[str, Any]]:
    return [
        {"org_idx": i, "image_id": i + 1, "question": "What is there?", "image": picture(), **changes} for i in range(n)
    ]


def write(folder: Path, lines: list[Any], truth: dict[str, list[str]] | None = None) -> dict[str, Path]:
    data, references = folder / "halbench.jsonl", folder / "truth.json"
    data.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines) + "\n", encoding="utf-8")
    ids = [str(x["image_id"]) for x in lines if isinstance(x, dict) and "image_id" in x]
    references.write_text(json.dumps({i: ["dog"] for i in ids} if truth is None else truth), encoding="utf-8")
    return {"data": data, "references": references, "images": folder / "extracted"}


def test_embedded_images_become_files_once(tmp_path, synonyms):
    files = write(tmp_path, rows(2))
    items = bench(synonyms, partial=True, **files).items()
    assert [i.id for i in items] == ["1", "2"]
    assert items[0].image is not None
    assert items[0].image.open().size == (4, 4)
    before = items[0].image.path.stat().st_mtime_ns
    again = bench(synonyms, partial=True, **files).items()
    assert again[0].image is not None
    assert again[0].image.path.stat().st_mtime_ns == before
    assert sorted(path.name for path in files["images"].iterdir()) == ["000000000001.jpg", "000000000002.jpg"]


def test_a_damaged_extracted_image_is_written_again(tmp_path, synonyms):
    files = write(tmp_path, rows(1))
    image = bench(synonyms, partial=True, **files).items()[0].image
    assert image is not None
    image.path.write_bytes(b"broken")
    again = bench(synonyms, partial=True, **files).items()[0].image
    assert again is not None
    assert again.open().size == (4, 4)


def test_a_file_without_images_takes_them_from_a_folder(tmp_path, synonyms):
    lines = [{key: row[key] for key in ("image_id", "question")} for row in rows(1)]
    files = write(tmp_path, lines)
    with pytest.raises(DataError, match=r"COCO_val2014_000000000001\.jpg"):
        bench(synonyms, partial=True, **files).items()
    files["images"].mkdir()
    (files["images"] / "COCO_val2014_000000000001.jpg").write_bytes(base64.b64decode(picture()))
    found = bench(synonyms, partial=True, **files).items()[0].image
    assert found is not None
    assert found.name == "COCO_val2014_000000000001.jpg"
    del files["images"]
    with pytest.raises(DataError, match="without_images"):
        bench(synonyms, partial=True, **files).items()
    assert bench(synonyms, partial=True, without_images=True, **files).items()[0].image is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (rows(2), "expected 300 items, found 2"),
        ([*rows(1), *rows(1)], "image_id 1 was already at .*:1"),
        (["{broken"], ":1: not JSON"),
        (['[{"question_type": "attribute"}]'], "entry 1: expected keys"),
        ([{"question_id": 1, "image": "a.jpg", "text": "Is there a dog?", "label": "yes"}], "found .*question_id"),
        (rows(1, image="%%%"), "image_id 1 is not base64"),
        (rows(1, image=base64.b64encode(b"no picture").decode()), "image_id 1 is not an image"),
        (rows(1, image=7), "base64 text"),
        (rows(1, image_id="x1"), "COCO image id, got 'x1'"),
        (rows(1, image_id=True), "COCO image id, got True"),
        (rows(1, question=" "), "question must be a text"),
        ([*rows(1), {"image_id": 9, "question": "?"}], ":2: no 'image'"),
        ([], "holds no rows"),
    ],
)
def test_bad_question_files_are_refused_with_the_place(tmp_path, synonyms, lines, message):
    files = write(tmp_path, lines)
    partial = "expected 300" not in message
    with pytest.raises(DataError, match=message):
        bench(synonyms, partial=partial, **files).items()


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ({"2": ["dog"]}, "no reference objects of 1 images, e.g. image_id 1"),
        ({"1": ["unicorn"]}, "'unicorn' is not a category"),
        ({"1": "dog"}, "expected JSON"),
        (["dog"], "expected a JSON object"),
    ],
)
def test_bad_reference_files_are_refused(tmp_path, synonyms, truth, message):
    files = write(tmp_path, rows(1), truth)
    with pytest.raises(DataError, match=message):
        bench(synonyms, partial=True, **files).items()


def test_reference_objects_come_from_one_source(tmp_path, synonyms):
    files = write(tmp_path, rows(1))
    with pytest.raises(DataError, match="either"):
        bench(synonyms, partial=True, annotations=tmp_path, **files).items()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.txt", ""),
        ("t.txt", "dog\tpuppy"),
        ("t.json", "[1]"),
        ("t.json", "{}"),
        ("t.json", '{"dog": 3}'),
        ("t.json", '{"dog": [" "]}'),
        ("t.json", "{"),
        ("t.txt", None),
    ],
)
def test_bad_synonym_tables_are_refused(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=name):
        ObjectTable.read(tmp_path / name)


def test_ground_truth_joins_instances_and_captions_of_all_splits(tmp_path, synonyms):
    for split, image in (("train2014", 1), ("val2014", 2)):
        names = {
            "images": [{"id": image, "file_name": f"{image}.jpg"}],
            "annotations": [{"image_id": image, "category_id": 5}, {"image_id": 99, "category_id": 5}],
            "categories": [{"id": 5, "name": "toilet"}],
        }
        captions = {"annotations": [{"image_id": image, "caption": "Puppies on a table."}]}
        (tmp_path / f"instances_{split}.json").write_text(json.dumps(names), encoding="utf-8")
        (tmp_path / f"captions_{split}.json").write_text(json.dumps(captions), encoding="utf-8")
    files = write(tmp_path, rows(2))
    del files["references"]
    items = bench(synonyms, partial=True, annotations=tmp_path, **files).items()
    assert [i.reference["objects"] for i in items] == [["dining table", "dog", "toilet"]] * 2
    three = write(tmp_path, rows(3))
    del three["references"]
    with pytest.raises(DataError, match="no caption of 1 images"):
        bench(synonyms, partial=True, annotations=tmp_path, **three).items()


def test_the_official_metadata_and_tables_are_read(assets: Path):
    folder = assets / "object_halbench"
    benchmark = ObjectHalBench(
        data=folder / "obj_halbench_300_meta.jsonl",
        references=folder / "obj_halbench_300_gt_from_chair_pkl.json",
        without_images=True,
        extractor="lemma",
    )
    items = benchmark.items()
    assert len(items) == ITEMS
    assert len({i.id for i in items}) == ITEMS
    assert len({i.question for i in items}) == 8
    assert len(benchmark.table.double_words) == 58
    assert benchmark.settings()["extractor"] == "lemma"


# --- settings, prompts, the miniature world ------------------------------------------------------------------------


def test_settings_name_everything_that_moves_a_score(tmp_path, synonyms):
    files = write(tmp_path, rows(2))
    first = bench(synonyms, partial=True, **files)
    assert {"data", "gt", "synonyms", "extractor", "reading", "phrases", "prompt"} == set(first.settings())
    assert first.settings()["phrases"] == "recorded"
    strict = bench(synonyms, partial=True, reading="strict", **files)
    assert strict.settings()["reading"] == "strict"
    lemma = bench(synonyms, partial=True, extractor="lemma", **files)
    assert set(lemma.settings()) == {"data", "gt", "synonyms", "extractor"}
    other = write(tmp_path, rows(2), {"1": ["dog"], "2": []})
    assert bench(synonyms, partial=True, **other).settings()["gt"] != first.settings()["gt"]


@pytest.mark.parametrize(
    ("options", "libraries"),
    [
        ({"extractor": "judge"}, []),  # phrases recorded beforehand
        ({"extractor": "judge", "analyser": "nltk"}, ["nltk", "nltk_data"]),
        ({"extractor": "lemma"}, ["nltk", "nltk_data"]),
    ],
)
def test_nltk_is_named_where_it_reads_responses_or_phrases(synonyms, options, libraries):
    assert list(bench(synonyms, **options).libraries()) == libraries


def fake_script(folder: Path, text: str) -> Path:
    path = folder / "eval_script.py"
    path.write_text(f'raise SystemExit("never run")\nother = 3\nprompt_template = """{text}"""\n', encoding="utf-8")
    return path


def test_the_authors_prompt_is_read_out_of_their_script_without_running_it(tmp_path):
    script = fake_script(tmp_path, 'List: [\\"a\\"] {question} {answer}')
    assert constant_of(script, "prompt_template") == 'List: ["a"] {question} {answer}'


def test_a_prompt_with_another_sha256_is_refused(tmp_path):
    script = fake_script(tmp_path, "changed")
    found = hashlib.sha256(b"changed").hexdigest()
    with pytest.raises(AssetError, match=f"sha256 {found}, expected {'0' * 64}"):
        official_prompt(script, PinnedPrompt("x", "prompt_template", "0" * 64, "object_halbench_extractor"))
    benchmark = ObjectHalBench(prompt_script=script)
    with pytest.raises(AssetError, match="sha256"):
        benchmark.judge_prompt(item([]), LONG)


@pytest.mark.parametrize("text", ["prompt_template = 3\n", "def f():\n    prompt_template = 'x'\n", "not python ("])
def test_a_script_without_the_prompt_is_refused(tmp_path, text):
    script = tmp_path / "script.py"
    script.write_text(text, encoding="utf-8")
    with pytest.raises(AssetError, match=r"script\.py"):
        constant_of(script, "prompt_template")


def test_the_own_prompt_stands_in_where_the_script_is_absent_and_says_so(tmp_path, monkeypatch):
    pin = PinnedPrompt(
        "object_halbench/eval_gpt_obj_halbench.py", "prompt_template", "0" * 64, "object_halbench_extractor"
    )
    monkeypatch.setenv("EVALKIT_ASSETS", str(tmp_path / "none"))
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EVALKIT_OFFLINE", "1")
    assert judge_prompt(pin).name.startswith("evalkit-")
    with pytest.raises(AssetError, match="own"):
        judge_prompt(pin, "official")


def test_the_miniature_world_is_a_benchmark_of_both_kinds(tmp_path):
    world = write_world(tmp_path / "world", 6, 0)
    benchmark = ObjectHalBench.miniature(world)
    assert isinstance(benchmark, Judged)
    assert benchmark.official([]) is not None
    items = benchmark.items()
    assert len(items) == 6
    for one in items:
        assert one.reference["objects"]
        assert one.image is not None
        assert one.image.open().size[0] > 0
        assert benchmark.prompt(one).images == (one.image,)
    everything = ", ".join(items[0].reference["objects"])
    score = ObjectHalBench.miniature(world, extractor="lemma").score(items[0], f"There are {everything}.")
    assert score.counts is not None
    assert score.counts["hallucinated_mentions"] == 0
    assert score.counts["recalled_objects"] == score.counts["reference_objects"]
