"""Ready reference objects carry how they were made, and a reading of responses that differs is said."""

import json

import pytest

from benchmarks.chair import CHAIR
from benchmarks.object_halbench.benchmark import ObjectHalBench
from benchmarks.objects.ready import made_with, mismatch, read_ready
from evalkit.__main__ import main
from evalkit.errors import DataError
from evalkit.miniature.files import write_world

OBJECTS = {"1": ["dog"], "2": ["cat"]}


@pytest.fixture
def said(tmp_path):
    """Writes a ready file that says how it was made."""

    def write(variant):
        path = tmp_path / "references.json"
        path.write_text(json.dumps({"made_with": variant, "references": OBJECTS} if variant else OBJECTS))
        return path

    return write


@pytest.mark.parametrize("variant", ["singularize", "pos_lemma", "of my own", None])
def test_a_ready_file_may_say_how_it_was_made(said, variant):
    path = said(variant)
    assert read_ready(path) == OBJECTS
    assert made_with(path) == variant


@pytest.mark.parametrize(
    "content", ['{"made_with": 5, "references": {"1": []}}', '{"made_with": ["a"], "references": {}}']
)
def test_what_is_no_name_of_a_variant_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match="must name a variant"):
        made_with(tmp_path / "a.json")


@pytest.mark.official
def test_how_the_published_files_were_made_is_known(assets):
    assert made_with(assets / "chair" / "coco_gt_objects.json") == "singularize"
    truth = assets / "object_halbench" / "obj_halbench_300_gt_from_chair_pkl.json"
    assert made_with(truth) == "singularize"
    (remark,) = ObjectHalBench(references=truth, without_images=True).remarks()
    assert "made with singularize" in remark


def test_a_mismatch_is_a_sentence_and_agreement_or_silence_is_none(said):
    (remark,) = mismatch(said("singularize"), "pos_lemma", "do this")
    assert "made with singularize, responses are read with pos_lemma" in remark
    assert remark.endswith("do this")
    assert mismatch(said("pos_lemma"), "pos_lemma", "do this") == ()
    assert mismatch(said(None), "pos_lemma", "do this") == ()
    assert mismatch(None, "pos_lemma", "do this") == ()
    assert CHAIR(references=said("singularize"), variant="singularize").remarks() == ()


def test_the_command_says_a_mismatch_and_the_run_keeps_it(tmp_path, said, capsys):
    world = write_world(tmp_path / "world", 2, seed=0)
    path = said("singularize")
    (tmp_path / "a.jsonl").write_text(json.dumps({"image_id": 1, "caption": "A dog."}))
    words = f"score chair --responses {tmp_path}/a.jsonl --references {path} --output-path {tmp_path} --label m"
    words += f" --set chair.synonyms={world}/synonyms.txt"
    assert main(words.split()) == 0
    assert "was made with singularize, responses are read with pos_lemma" in capsys.readouterr().err
    assert main(["doctor", "--run", f"{tmp_path}/m/chair"]) == 0
    assert "was made with singularize" in capsys.readouterr().out
    assert main([*words.split(), "--rescore", "--variant", "singularize"]) == 0
    assert "was made with" not in capsys.readouterr().err
