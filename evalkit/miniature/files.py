"""The miniature world on disk, in the official file formats, so that the loaders of real data read it unchanged.

    images/COCO_mini_000000000001.png          annotations/instances_mini.json, captions_mini.json  (MS-COCO)
    synonyms.txt, image_ids.json               the CHAIR table and the list of image ids
    pope/coco_pope_{random,popular,adversarial}.json, pope/images/  (POPE; its pictures are out of focus)
    amber/annotations.json, query/query_*.json, relation.json, safe_words.txt  (AMBER)
    mmhal/mmhal-bench_answer_template.json  (MMHal-Bench)
    object_halbench/obj_halbench_with_image.jsonl  (Object HalBench)
    llava_bench/{coco,in_the_wild}/, refomb/reference.jsonl  (pairwise judges)
    hallusionbench/, mmstar/mmstar.tsv, dash_b/  (pairs of figures, multiple choice, tempting objects)
    scenes.jsonl                               the whole truth, for labelers and tests
    neighbours.txt                             only where captions state neighbours

The same arguments write the same bytes.
"""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.miniature.drawing import out_of_focus, render
from evalkit.miniature.formats.coco import captions_file, instances_file
from evalkit.miniature.formats.comparisons import (
    MOST,
    choice_rows,
    compared_question_files,
    described_question_lines,
    paired_questions,
    tempted_lists,
)
from evalkit.miniature.formats.questions import (
    amber_files,
    detail_question_lines,
    open_question_template,
    polling_lines,
)
from evalkit.miniature.lexicon import synonyms_text
from evalkit.miniature.picture import Picture
from evalkit.miniature.scenes import Scene, Split, scene_from_json, scenes_of

_NEIGHBOURS = "neighbours.txt"
_FIRST_ID: dict[Split, int] = {"train": 100_001, "validation": 200_001, "test": 1}  # ids never meet across splits


def write_world(folder: Path, n_scenes: int, seed: int, split: Split = "test", neighbours: float = 0.0) -> Path:
    """Draw `n_scenes` scenes of a split and write them in every official format.

    Args:
        neighbours: how often captions say what a thing is next to, see `captions.true_caption`.
    Raises:
        DataError: if n_scenes is not between 1 and 100,000.
    """
    if not 1 <= n_scenes <= 100_000:
        raise DataError(f"a miniature world has 1 to 100000 scenes, not {n_scenes}")
    pictures = [
        Picture(_FIRST_ID[split] + index, scene) for index, scene in enumerate(islice(scenes_of(split, seed), n_scenes))
    ]
    folder = Path(folder)
    for images in (folder / "images", folder / "pope" / "images"):
        images.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        drawn = render(picture.scene)
        drawn.save(folder / "images" / picture.file_name)
        out_of_focus(drawn).save(folder / "pope" / "images" / picture.file_name)
    _write_json(folder / "annotations" / "instances_mini.json", instances_file(pictures))
    _write_json(folder / "annotations" / "captions_mini.json", captions_file(pictures, seed, neighbours))
    _write_json(folder / "image_ids.json", [picture.image_id for picture in pictures])
    _write_text(folder / "synonyms.txt", synonyms_text())
    _write_lines(folder / "scenes.jsonl", map(_scene_line, pictures))
    if neighbours:
        _write_text(folder / _NEIGHBOURS, f"{neighbours:g}\n")
    _write_benchmark_files(folder, pictures, seed)
    return folder


def states_neighbours(folder: Path) -> bool:
    """Whether captions of a world say what is next to what."""
    return (Path(folder) / _NEIGHBOURS).is_file()


def read_scenes(folder: Path) -> dict[int, Scene]:
    """image id -> scene of a world written by `write_world`."""
    path = Path(folder) / "scenes.jsonl"
    if not path.is_file():
        raise DataError(f"{path}: no such file; not a miniature world (write one with write_world)")
    scenes = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        scenes[int(record["image_id"])] = scene_from_json(json.dumps(record["scene"]))
    return scenes


def _write_benchmark_files(folder: Path, pictures: list[Picture], seed: int) -> None:
    for strategy in ("random", "popular", "adversarial"):
        _write_lines(folder / "pope" / f"coco_pope_{strategy}.json", polling_lines(pictures, strategy, seed))
    for name, content in amber_files(pictures, seed).items():
        _write_json(folder / "amber" / name, content)
    _write_text(folder / "amber" / "safe_words.txt", "image\npicture\nbackground")
    template = open_question_template(pictures, seed)
    _write_json(folder / "mmhal" / "mmhal-bench_answer_template.json", template)
    lines = detail_question_lines(pictures, folder / "images")
    _write_lines(folder / "object_halbench" / "obj_halbench_with_image.jsonl", lines)
    _write_comparison_files(folder, pictures, seed)


def _write_comparison_files(folder: Path, pictures: list[Picture], seed: int) -> None:
    def content(picture: Picture) -> bytes:
        return (folder / "images" / picture.file_name).read_bytes()

    for name, rows in compared_question_files(pictures, seed).items():
        _write_lines(folder / name, rows)
    _write_lines(folder / "refomb" / "reference.jsonl", described_question_lines(pictures, seed))
    questions, images = paired_questions(pictures, seed)
    _write_json(folder / "hallusionbench" / "HallusionBench.json", questions)
    for name, picture in images.items():
        _write_bytes(folder / "hallusionbench" / name, content(picture))
    choices = choice_rows(pictures, [content(picture) for picture in pictures[:MOST]], seed)
    _write_table(folder / "mmstar" / "mmstar.tsv", choices)
    for name, lists in tempted_lists(pictures).items():
        _write_json(folder / "dash_b" / f"dash_benchmark_{name}.json", {"miniature": lists})
        for noun, files in lists.items():
            for file in files:
                copy = folder / "dash_b" / name / "miniature" / noun / file
                _write_bytes(copy, (folder / "images" / file).read_bytes())


def _scene_line(picture: Picture) -> dict[str, Any]:
    return {"image_id": picture.image_id, "file_name": picture.file_name, "scene": asdict(picture.scene)}


def _write_json(path: Path, content: Any) -> None:
    _write_text(path, json.dumps(content, indent=1) + "\n")


def _write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    _write_text(path, "".join(json.dumps(record) + "\n" for record in records))


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write_text(path, text.getvalue())


def _write_text(path: Path, text: str) -> None:
    _write_bytes(path, text.encode("utf-8"))


def _write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
