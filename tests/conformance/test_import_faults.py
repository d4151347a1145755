"""Files that were once laid on a wrong item or refused (golden/import_faults), and released ones of the kind."""

import gzip
import json
from pathlib import Path

import pytest

from benchmarks.chair import CHAIR
from benchmarks.object_halbench.benchmark import ObjectHalBench
from benchmarks.pope import POPE
from evalkit.errors import DataError
from evalkit.formats.importers import import_responses
from evalkit.harness.stages import score
from evalkit.harness.stored import import_run
from evalkit.metrics import sum_counts

SPLITS = ("adversarial", "popular", "random")
# file -> where its answers belong; None: refused, with the remedy named
CAPTIONS = {
    "F1_counter_overrides_image.jsonl": {"13769": "A dog.", "2239": "A person with a tennis racket."},
    "F5_prompt_list.jsonl": {"40468": "A person is surfing."},
    "F8_chair_output.jsonl": {"40468": "A person is surfing."},
    "F8b_chair_output.json": {"40468": "A person is surfing."},
    "F9_image_id_response.json": {"40468": "A person is surfing."},
}
ANSWERS = {  # of POPE: the splits that the answers lie in; none: they fit every split, which the file's name must tell
    "F2_llava_pope_ids.jsonl": SPLITS,
    "F3_imange_adversarial.jsonl": ("adversarial",),
    "F4_image_and_question.jsonl": (),
    "F6_pope_adv.jsonl": ("adversarial",),
    "F6_pope_adversarial.jsonl": ("adversarial",),
    "F9b_glimpse.json": (),
}


@pytest.fixture(scope="module")
def captioned(assets):
    return CHAIR(references=assets / "chair" / "coco_gt_objects.json").items()


@pytest.fixture(scope="module")
def polled(assets):
    return POPE(without_images=True).items()


@pytest.mark.parametrize("name", CAPTIONS)
def test_captions_lie_on_the_image_that_they_name(golden, captioned, name):
    responses = import_responses(golden / "import_faults" / name, captioned, partial=True)
    assert {response.prompt_id: response.text for response in responses} == CAPTIONS[name]


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_lie_in_the_splits_that_ids_files_or_questions_tell(golden, polled, tmp_path, name):
    path = golden / "import_faults" / name
    if not ANSWERS[name]:
        with pytest.raises(DataError, match="a file's name tells the part"):
            import_responses(path, polled, partial=True)
        path = tmp_path / f"popular{path.suffix}"
        path.write_bytes((golden / "import_faults" / name).read_bytes())
    asked = {item.id: item.question for item in polled}
    responses = import_responses(path, polled, partial=True)
    assert sorted(r.prompt_id.split("/")[0] for r in responses) == sorted(ANSWERS[name] or ["popular"])
    assert all(asked[response.prompt_id].startswith("Is there a") for response in responses)


def test_an_image_and_a_question_tell_the_item_of_object_halbench(golden, assets):
    items = ObjectHalBench(without_images=True, references=assets / "chair" / "coco_gt_objects.json").items()
    responses = import_responses(golden / "import_faults" / "F11_plain_org_idx.jsonl", items, partial=True)
    assert [(response.prompt_id, response.text) for response in responses] == [("339761", "A bathroom with a toilet.")]


def test_no_file_is_left_out(golden):
    names = {path.name for path in (golden / "import_faults").iterdir()}
    assert names == {*CAPTIONS, *ANSWERS, "F11_plain_org_idx.jsonl"}


def released(assets: Path, name: str, folder: Path) -> Path:
    packed = assets / "released" / name
    if not packed.is_file():
        pytest.skip("the released files are absent (EVALKIT_ASSETS/released)")
    path = folder / packed.name.removesuffix(".gz")
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


@pytest.mark.usefixtures("nltk_data")
@pytest.mark.parametrize("name", ["r1-llava1.5-7b", "r5-ours-inst", "r9-llava-7b"])
def test_a_released_file_with_a_counter_scores_as_if_it_had_none(assets, tmp_path, name):
    raw = released(assets, f"less-is-more/{name}.jsonl.gz", tmp_path)
    rows = [json.loads(line) for line in raw.read_text().splitlines()]
    ids = [int(row["image_id"].removesuffix(".jpg")) for row in rows]
    rewritten = tmp_path / "rewritten.jsonl"
    plain = [{"image_id": image, "caption": row["text"]} for image, row in zip(ids, rows, strict=True)]
    rewritten.write_text("".join(json.dumps(row) + "\n" for row in plain))
    (tmp_path / "ids.json").write_text(json.dumps(ids))
    bench = CHAIR(references=assets / "chair" / "coco_gt_objects.json", image_ids=tmp_path / "ids.json")
    figures = []
    for path in (raw, rewritten):
        summary = score(import_run(bench, [path], tmp_path / path.stem, path.stem), tmp_path / path.stem)
        figures.append({metric: value.value for metric, value in summary.metrics.items()})
    assert figures[0] == figures[1]
    if name.startswith("r1-"):
        shown = [round(figures[0][metric], 1) for metric in ("chair_s", "chair_i", "recall")]
        assert shown == [50.4, 15.6, 77.2]


def seva(item, number):
    """A line as SeVa's and LLaVA's evaluation writes it."""
    text = "Yes" if item.reference["truth"] == "yes" else "No"
    return {"question_id": number, "prompt": item.question, "text": text, "answer_id": f"x{number}", "model_id": "m"}


@pytest.mark.parametrize(
    "names",
    [
        ("pope_adv.jsonl", "pope_pop.jsonl", "pope_random.jsonl"),
        ("llava_diffu500_adversarial.jsonl", "llava_diffu500_popular.jsonl", "llava_diffu500_rand.jsonl"),
    ],
)
def test_three_files_of_one_poll_are_told_apart_by_their_names(polled, tmp_path, names):
    paths = []
    for split, name in zip(SPLITS, names, strict=True):
        items = [item for item in polled if item.id.startswith(f"{split}/")]
        paths.append(tmp_path / name)
        paths[-1].write_text("".join(json.dumps(seva(item, n)) + "\n" for n, item in enumerate(items, 1)))
    bench, by_id = POPE(without_images=True), {item.id: item for item in polled}
    responses = import_responses(paths, polled)
    counts = sum_counts(bench.score(by_id[r.prompt_id], r.text).counts for r in responses)
    assert counts["questions"] == 9000
    assert {metric.name: metric.value(counts) for metric in bench.metrics}["accuracy"] == 100.0


def test_a_poll_of_llava_holds_three_splits_of_its_own_lists_in_one_file(assets, tmp_path):
    path = released(assets, "LLaVA/pope_llava-v1.5-13b.jsonl.gz", tmp_path)
    with pytest.raises(DataError, match=r"asks another question.*--set pope.data=DIR"):
        import_run(POPE(without_images=True), [path], tmp_path / "other", "m", partial=True)
    bench = POPE(data=assets / "pope" / "llava_rlhf", without_images=True)
    summary = score(import_run(bench, [path], tmp_path / "run", "m"), tmp_path / "run")
    assert summary.n_scored == len(path.read_text().splitlines()) == 8910
    assert round(summary.metrics["f1"].value, 1) == 85.9
