"""Scenes as files of compared, paired and multiple-choice questions for five benchmarks.

Only the layout is theirs; questions, answers and contexts are this world's own. A world has as many of them as its
first pictures give, so that large worlds for training stay quick to write.
"""

import base64
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from evalkit.miniature.captions import true_caption
from evalkit.miniature.lexicon import NOUNS, PLACES, with_article
from evalkit.miniature.picture import Picture
from evalkit.miniature.questions import absent_nouns, ask_open, existence_question, tempting_absent
from evalkit.miniature.scenes import GRID, Scene

MOST = 30  # pictures that these files ask about
_KINDS = {"conv": ("attribute", "counting"), "detail": ("holistic",), "complex": ("relation", "environment")}
_TYPES = {
    "Coarse Perception": "environment",
    "Fine-grained perception": "attribute",
    "Relation reasoning": "relation",
    "Creative generation": "holistic",
}
_SETS = {
    "coco": ("qa90_questions.jsonl", "caps_boxes_coco2014_val_80.jsonl", "qa90_gpt4_answer.jsonl"),
    "in_the_wild": ("questions.jsonl", "context.jsonl", "answers_gpt4.jsonl"),
}
_LETTERS = "ABCD"


def compared_question_files(pictures: Sequence[Picture], seed: int) -> dict[str, list[dict[str, Any]]]:
    """LLaVA-Bench: file name -> lines, for both sets; three questions about each picture."""
    files: dict[str, list[dict[str, Any]]] = {}
    for name, (questions, contexts, answers) in _SETS.items():
        rng = Random(f"compared questions:{name}:{seed}")
        rows: list[dict[str, Any]] = []
        answered: list[dict[str, Any]] = []
        for picture in pictures[:MOST]:
            for category, kinds in _KINDS.items():
                asked = ask_open(rng.choice(kinds), picture.scene, rng)
                number = len(rows)
                about = {"question_id": number, "image": picture.file_name, "category": category}
                rows.append(about | {"text": asked.text})
                answered.append({"question_id": number, "text": asked.answer, "category": category})
        files[f"llava_bench/{name}/{questions}"] = rows
        files[f"llava_bench/{name}/{answers}"] = answered
        files[f"llava_bench/{name}/{contexts}"] = [_context(name, picture) for picture in pictures[:MOST]]
    return files


def _context(name: str, picture: Picture) -> dict[str, Any]:
    """The image in words: one caption, or captions and boxes."""
    about = {"id": str(picture.image_id), "image": picture.file_name}
    caption = _described(picture)
    if name == "in_the_wild":
        return about | {"caption": caption}
    boxes = [{"category": thing.noun, "bbox": _box(thing.cell)} for thing in picture.scene.things]
    return about | {"captions": [caption], "instances": boxes}


def _described(picture: Picture) -> str:
    """Everything in the picture, and nothing else."""
    return true_caption(picture.scene, Random(f"described:{picture.image_id}"))


def _box(cell: int) -> list[float]:
    """A cell of the grid as (left, top, right, bottom), 0 to 1."""
    row, column = divmod(cell, GRID)
    return [round(value / GRID, 3) for value in (column, row, column + 1, row + 1)]


def described_question_lines(pictures: Sequence[Picture], seed: int) -> Iterator[dict[str, Any]]:
    """RefoMB: the reference file; every other reference answer names a thing that is not there."""
    rng = Random(f"described questions:{seed}")
    number = 0
    for picture in pictures[:MOST]:
        for kind, asked_kind in _TYPES.items():
            asked = ask_open(asked_kind, picture.scene, rng)
            absent = rng.choice(tempting_absent(picture.scene) or absent_nouns(picture.scene))
            answer = asked.answer if number % 2 else f"{asked.answer} There is also {with_article(absent)}."
            yield {
                "image_url": f"https://miniature.invalid/{picture.file_name}",
                "question": f"{asked.text}",
                "description": _described(picture),
                "type": kind,
                "split": "dev",
                "id": number,
                "answer": answer,
            }
            number += 1


def paired_questions(pictures: Sequence[Picture], seed: int) -> tuple[list[dict[str, Any]], dict[str, Picture]]:
    """HallusionBench: the question file, and image name -> picture.

    Set by set, one picture is the original and the next one its edit. VD asks about both; VS asks without a figure too.
    """
    rng = Random(f"paired questions:{seed}")
    rows: list[dict[str, Any]] = []
    images: dict[str, Picture] = {}
    chosen = list(pictures[:MOST])
    for number, (original, edited) in enumerate(zip(chosen[::2], [*chosen[1::2], *chosen[:1]], strict=False)):
        category, subcategory = ("VD", "figure") if number % 2 else ("VS", "chart")
        figures: list[tuple[str, Picture | None, Picture]] = [("1", original, original), ("2", edited, edited)]
        if category == "VS":
            figures.insert(0, ("0", None, original))
        nouns = [rng.choice(sorted(original.scene.nouns)), rng.choice(absent_nouns(original.scene))]
        for figure, (visual_input, shown, truth) in enumerate(figures):
            name = f"{category}/{subcategory}/{number}_{figure}.png"
            if shown is not None:
                images[name] = shown
            rows += [
                {
                    "category": category,
                    "subcategory": subcategory,
                    "visual_input": visual_input,
                    "set_id": str(number),
                    "figure_id": str(figure),
                    "sample_note": "miniature",
                    "question_id": str(question),
                    **_existence(truth.scene, noun),
                    "filename": None if shown is None else f"./{name}",
                }
                for question, noun in enumerate(nouns)
            ]
    return rows, images


def _existence(scene: Scene, noun: str) -> dict[str, str]:
    there = noun in scene.nouns
    details = f"{'Yes' if there else 'No'}, there is {'' if there else 'not '}{with_article(noun)} in the image."
    return {"question": existence_question(noun), "gt_answer_details": details, "gt_answer": str(int(there))}


def choice_rows(pictures: Sequence[Picture], images: Sequence[bytes], seed: int) -> list[dict[str, Any]]:
    """MMStar: where a picture was taken, and which thing is in it, with four options each; images as base64.

    Args:
        images: the content of each picture's file.
    """
    rng = Random(f"choices:{seed}")
    rows: list[dict[str, Any]] = []
    for picture, content in zip(pictures[:MOST], images, strict=False):
        there = rng.choice(sorted(picture.scene.nouns))
        asked = (
            ("Where was this picture taken?", picture.scene.place, sorted(PLACES), "coarse perception"),
            ("Which of these things is in the image?", there, absent_nouns(picture.scene), "instance reasoning"),
        )
        for text, right, others, category in asked:
            wrong = rng.sample([other for other in others if other != right], 3)
            options = rng.sample([right, *wrong], 4)
            listed = ", ".join(f"{letter}: {option}" for letter, option in zip(_LETTERS, options, strict=True))
            rows.append(
                {
                    "index": len(rows),
                    "question": f"{text}\nOptions: {listed}",
                    "answer": _LETTERS[options.index(right)],
                    "category": category,
                    "l2_category": "miniature",
                    "bench": "miniature",
                    "image": base64.b64encode(content).decode(),
                }
            )
    return rows


def tempted_lists(pictures: Sequence[Picture]) -> dict[str, dict[str, list[str]]]:
    """DASH-B: "neg" and "pos" -> noun -> file names; the absent noun is the one that the place suggests most."""
    lists: dict[str, dict[str, list[str]]] = {"neg": {}, "pos": {}}
    for picture in pictures[:MOST]:
        absent = (tempting_absent(picture.scene) or absent_nouns(picture.scene))[0]
        present = min(picture.scene.nouns, key=NOUNS.index)
        lists["neg"].setdefault(absent, []).append(picture.file_name)
        lists["pos"].setdefault(present, []).append(picture.file_name)
    return lists
