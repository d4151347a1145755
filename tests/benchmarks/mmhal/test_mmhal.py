"""MMHal-Bench: readings of a judge's text, files, official figures beside the robust ones."""

import base64
import contextlib
import hashlib
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.judges.prompts import PinnedPrompt, official_prompt
from benchmarks.mmhal.benchmark import ITEMS, JUDGE, QUESTION_TYPES, MMHalBench, official_figures, reread
from benchmarks.mmhal.ratings import UnreadableRatingError, official_rating, robust_rating
from evalkit.benchmark import Judged
from evalkit.errors import AssetError, DataError
from evalkit.metrics import sum_counts
from evalkit.miniature.files import write_world
from evalkit.schema import Prompt, Response, Sample, Score


@pytest.mark.parametrize(
    ("text", "official", "robust"),
    [
        ("Fine.\n\nRating: 6, very informative with good analysis, no hallucination", 6, 6),
        ("Rating: 0", 0, 0),
        ("rating: 3 ... Rating: 3", 3, 3),
        ("**Rating:** 4", 0, 4),
        ("Rating: **4**", 0, 4),
        ("Rating:4", 0, 4),
        ("Rating 4", 0, 4),
        ("Rating:  4", 0, 4),
        ("Rating:\n4", 0, 4),
        ("Rating:\u00a04", 0, 4),
        ("Rating\uff1a 3", 0, 3),
        ("Rating: [4]", 0, 4),
        ('{"explanation": "ok", "rating": 4}', 0, 4),
        ("My rating is 5.", 0, 5),
        ("Rating: 4/6", 4, 4),
        ("Rating: 4 out of 6", 4, 4),
        ("Rating: 4 (out of 6)", 4, 4),
        ("Rating: 4.0", 4, 4),
        ("Rating: 4.0/6.0", 4, 4),
        ('{"rating": 0.0}', 0, 0),
        ("Rating: [[4]]", 0, 4),
        ("Rating: 2 - one dog is invented.", 2, 2),
        ("Overall Rating (0-6): 2", 0, 2),
        ("rating: six", 0, 6),
        ("4", 0, 4),
        ("4.0", 0, 4),
        ("5/6.", 0, 5),
        ("It is operating: 3 engines. Rating: 1", 0, 1),
        ("operating: 3", 3, None),
        ("Rating: 10", 1, None),
        ("Rating: 65", 6, None),
        ("Rating: 06", 0, None),
        ("Rating: 4.5", 4, None),
        ("Rating: 4,0", 4, None),
        ("Rating: 7.0", 0, None),
        ("Rating: -0.0", 0, None),
        ("Rating: -1", 0, None),
        ("Rating: 7", 0, None),
        ("Rating: 4/5", 4, None),
        ("Rating: 8/10", 0, None),
        ("Rating: 4 (out of 10)", 4, None),
        ("Rating: 4 of 10", 4, None),
        ("Rating: 4/6.5", 4, None),
        ("Rating: 3-4", 3, None),
        ("Rating: three - four.", 0, None),
        ("Rating: 3 or 4", 3, None),
        ("Rating: 4, although rating: 3 could be argued.", 0, None),
        ("Rating: 6 ... **Rating:** 2", 6, None),
        ("No verdict.", 0, None),
        ("Rating: none", 0, None),
        ("Score: 4", 0, None),
        ("", 0, None),
    ],
)
def test_two_readings_of_a_judges_text(text, official, robust):
    assert official_rating(text).rating == official
    if robust is None:
        with pytest.raises(UnreadableRatingError):
            robust_rating(text)
    else:
        assert robust_rating(text) == robust


@pytest.mark.parametrize("text", [f"4{' ' * 4000}x", f"Rating{' ' * 20_000}x", "Rating(" * 4000])
def test_a_judge_that_loops_is_read_at_once(text):
    started = time.process_time()
    with contextlib.suppress(UnreadableRatingError):
        robust_rating(text)
    assert time.process_time() - started < 1


def record(index: int, **changes: Any) -> dict[str, Any]:
    return {
        "question_type": QUESTION_TYPES[index % 8],
        "question_topic": "food",
        "image_id": f"id{index}",
        "image_src": f"https://example.org/a/{index}_o.jpg",
        "image_content": ["Cup", "Table"],
        "question": f"How many cups {{}}? ({index})",
        "gt_answer": "Two {cups}.",
        "model_answer": "",
        **changes,
    }


def write(folder: Path, records: list[Any], name: str = "template.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def bench(folder: Path, records: list[Any], **options: Any) -> MMHalBench:
    settings = {"without_images": True, "partial": True, "prompt": "own", **options}
    return MMHalBench(data=write(folder, records), **settings)


def test_the_prompt_holds_labels_question_human_answer_and_response_braces_included(tmp_path):
    benchmark = bench(tmp_path, [record(0)])
    prompt = benchmark.judge_prompt(benchmark.items()[0], "There are {two} cups {0}.")
    assert prompt.system is None
    parts = ("Cup, Table", "How many cups {}? (0)", "Two {cups}.", "There are {two} cups {0}.")
    places = [prompt.text.index(part) for part in parts]
    assert places == sorted(places)


def test_a_rating_becomes_counts_and_the_judges_text_is_kept(tmp_path):
    benchmark = bench(tmp_path, [record(0)])
    score = benchmark.score(benchmark.items()[0], "Two red cups.", "Fine. **Rating:** 2")
    assert score.counts == {"responses": 1, "rating": 2, "hallucinated_responses": 1, "informativeness": 2, "words": 3}
    assert score.details["judge_text"] == "Fine. **Rating:** 2"
    assert score.details["official_rating"] == 0
    values = {metric.name: metric.value(sum_counts([score.counts])) for metric in benchmark.metrics}
    assert values == {
        "score": 2.0,
        "hallucination_rate": 100.0,
        "informativeness": pytest.approx(200 / 3),
        "length": 3.0,
    }


def test_an_unreadable_text_leaves_the_sample_unscored_and_is_kept(tmp_path):
    benchmark = bench(tmp_path, [record(0)])
    score = benchmark.score(benchmark.items()[0], "Two.", "Rating: 9")
    assert score.counts is None
    assert "item 0" in (score.failure or "")
    assert score.details["judge_text"] == "Rating: 9"
    assert benchmark.check_reply("Rating: 9") is not None
    assert benchmark.check_reply("Rating:4") is None
    assert benchmark.score(benchmark.items()[0], "Two.").failure == "no reply of the judge"


def sample(benchmark: MMHalBench, index: int, text: str | None, attempts: list[dict[str, Any]] | None = None) -> Sample:
    item = benchmark.items()[index]
    score = Score(None, failure="judge: gone") if text is None else benchmark.score(item, "Two.", text)
    verdict = None if attempts is None else {"reply": text, "attempts": attempts}
    return Sample(item, Prompt(item.id, item.question), Response(item.id, "Two."), score, verdict)


def test_the_official_block_counts_an_unreadable_text_as_zero(tmp_path):
    benchmark = bench(tmp_path, [record(i) for i in range(3)])
    samples = [sample(benchmark, 0, "Rating: 6"), sample(benchmark, 1, "**Rating:** 6"), sample(benchmark, 2, None)]
    official = benchmark.official(samples)
    assert official["average_score"] == 3.0
    assert official["hallucination_rate"] == 0.5
    assert official["parse_failures"] == 1
    assert official["left_out"] == ["2"]
    assert official["complete"] is False
    assert official["average_per_type"]["attribute"] == 6.0
    assert official["average_per_type"]["comparison"] is None


def test_the_official_block_reads_the_first_text_since_the_authors_never_ask_again(tmp_path):
    benchmark = bench(tmp_path, [record(0)])
    attempts = [
        {"raw": "<html>rating: 1</html>", "error": "status 500"},
        {"raw": "Hmm.", "error": None},
        {"raw": "Rating: 5", "error": None},
    ]
    one = sample(benchmark, 0, "Rating: 5", attempts)
    assert one.score.counts is not None
    assert one.score.counts["rating"] == 5
    assert benchmark.official([one])["average_score"] == 0.0


def test_no_text_at_all_gives_no_figures():
    figures = official_figures({})
    assert figures["average_score"] is figures["hallucination_rate"] is figures["informativeness_percent"] is None
    assert figures["printed"] == []


def test_stored_texts_are_read_again_without_a_judge():
    result = reread({0: "Rating: 3", 1: "rating: six", 2: "?"})
    assert result.metrics == {"score": 4.5, "hallucination_rate": 0.0, "informativeness": 50.0}
    assert list(result.unreadable) == [2]
    assert result.official["parse_failures"] == 2


def test_the_official_template_is_read(assets: Path):
    benchmark = MMHalBench(without_images=True)
    items = benchmark.items()
    assert len(items) == ITEMS == len({item.id for item in items})
    assert {item.groups["type"] for item in items} == set(QUESTION_TYPES)
    assert len({item.groups["topic"] for item in items}) == 12
    assert items == MMHalBench(assets / "mmhal" / "mmhal-bench_answer_template.json", without_images=True).items()


@pytest.mark.parametrize(
    ("records", "options", "message"),
    [
        ([record(0)], {"partial": False}, "expected 96 items, found 1"),
        ([record(1)], {}, "item 0 must be of type 'attribute', found 'adversarial'"),
        ([record(0), record(0)], {}, "item 1 must be of type 'adversarial'"),
        ([record(0, image_content="Cup")], {}, "'image_content' must be a list"),
        ([record(0, image_content=[1])], {}, "list of strings"),
        ([record(0, gt_answer=None)], {}, "'gt_answer' must be a string"),
        ([record(0, question=" ")], {}, "question is empty"),
        ([{"question_id": 1, "image": "a.jpg", "text": "Is there a dog?", "label": "yes"}], {}, "found 'question_id'"),
        (["text"], {}, "expected an object"),
        ([], {}, "holds no rows"),
        ([record(0)], {"without_images": False}, "without_images"),
        ([record(0, image="%%")], {"without_images": False}, "not base64"),
        ([record(0, image=7)], {"without_images": False}, "bytes or base64"),
    ],
)
def test_bad_files_are_refused_with_the_entry(tmp_path, records, options, message):
    with pytest.raises(DataError, match=message):
        bench(tmp_path, records, **options).items()


def picture() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(data, "JPEG")
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "changes"),
    [("0_o.jpg", {}), ("id0.jpg", {}), ("b.jpg", {"image_path": "images/b.jpg"})],
)
def test_images_are_found_by_source_path_or_id(tmp_path, name, changes):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / name).write_bytes(picture())
    benchmark = bench(tmp_path, [record(0, **changes)], without_images=False, images=tmp_path / "photos")
    image = benchmark.items()[0].image
    assert image is not None
    assert image.open().size == (4, 4)
    with pytest.raises(DataError, match="no image '1_o"):
        bench(tmp_path, [record(0, **changes), record(1)], without_images=False, images=tmp_path / "photos").items()


def test_embedded_images_become_files(tmp_path):
    text = base64.b64encode(picture()).decode()
    benchmark = bench(tmp_path, [record(0, image=text)], without_images=False, images=tmp_path / "photos")
    image = benchmark.items()[0].image
    assert image is not None
    assert image.open().size == (4, 4)


def test_the_hubs_table_equals_the_template(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    records = [record(i) for i in range(8)]
    pandas.DataFrame(records).to_parquet(tmp_path / "test.parquet")
    options: dict[str, Any] = {"without_images": True, "partial": True}
    table, template = MMHalBench(tmp_path / "test.parquet", **options), bench(tmp_path, records)
    assert table.items() == template.items()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    for name in ("broken.parquet", "absent.parquet"):
        with pytest.raises(DataError, match=name):
            MMHalBench(tmp_path / name, **options).items()


def test_settings_name_the_data_and_the_prompt(tmp_path):
    first = bench(tmp_path, [record(0)]).settings()
    assert set(first) == {"data", "prompt", "reading"}
    assert first["prompt"].startswith("evalkit-")
    assert bench(tmp_path, [record(0, gt_answer="Three.")]).settings()["data"] != first["data"]


def test_the_official_prompt_is_pinned_by_the_sha256_of_its_text(tmp_path):
    text = "Rate {} {} {} {}"
    script = tmp_path / "eval_gpt_mmhal.py"
    script.write_text(f"import argparse\ntemplate = '''{text}'''\n", encoding="utf-8")
    good = PinnedPrompt(JUDGE.script, JUDGE.variable, hashlib.sha256(text.encode()).hexdigest(), JUDGE.own)
    prompt = official_prompt(script, good)
    assert prompt.template == text
    assert prompt.name == f"official-{good.sha256[:8]}"
    with pytest.raises(AssetError, match=JUDGE.sha256):
        bench(tmp_path, [record(0)], prompt="official", prompt_script=script).settings()
    with pytest.raises(AssetError, match="missing"):
        bench(tmp_path, [record(0)], prompt="official", prompt_script=tmp_path / "absent.py").settings()


def test_the_miniature_world_is_a_full_benchmark(tmp_path):
    benchmark = MMHalBench.miniature(write_world(tmp_path / "world", 5, 0))
    assert isinstance(benchmark, Judged)
    assert benchmark.official([]) is not None
    items = benchmark.items()
    assert len(items) == ITEMS
    assert all(item.image is not None and item.image.path.is_file() for item in items)
    assert len({item.cluster for item in items}) == 5
    assert benchmark.prompt(items[0]).images == (items[0].image,)
