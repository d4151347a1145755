"""Scenes as question files: yes/no polling (POPE), AMBER, the MMHal-Bench template, Object HalBench lines.

Only the layout is theirs; prompts, questions, answers and word tables are this world's own.
"""

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from evalkit.errors import DataError
from evalkit.miniature.lexicon import NOUNS, PLACES, SYNONYMS_OF, head_word
from evalkit.miniature.picture import Picture
from evalkit.miniature.questions import (
    DETAIL_PROMPTS,
    OPEN_KINDS,
    Question,
    absent_nouns,
    ask_action,
    ask_colour,
    ask_existence,
    ask_neighbours,
    ask_number,
    ask_open,
    existence_question,
    tempting_absent,
)
from evalkit.miniature.scenes import Scene

_MAX_POLLED = 3  # as many present nouns an image, and as many absent ones
_OPEN_QUESTIONS = 96
_TOPICS = (
    *("outdoor", "vehicle", "person", "animal", "food", "sports"),
    *("kitchen", "accessory", "electronic", "furniture", "indoor", "appliance"),
)
_MIN_TEMPTING = 3
_MAX_TEMPTING = 5


def polling_lines(pictures: Sequence[Picture], strategy: str, seed: int) -> Iterator[dict[str, Any]]:
    """POPE: for each image present nouns and as many absent ones, asked in turn.

    Absent nouns are drawn at random, or are the most frequent ones of the world ("popular"), or those that occur most
    often together with the nouns of the image ("adversarial").
    """
    rng = Random(f"polling:{strategy}:{seed}")
    scenes = [picture.scene for picture in pictures]
    frequency = Counter(noun for scene in scenes for noun in scene.nouns)
    together = Counter((a, b) for scene in scenes for a in scene.nouns for b in scene.nouns if a != b)

    def ranked_absent(scene: Scene) -> list[str]:
        absent = absent_nouns(scene)
        if strategy == "random":
            rng.shuffle(absent)
        elif strategy == "popular":
            absent.sort(key=lambda noun: (-frequency[noun], noun))
        elif strategy == "adversarial":
            absent.sort(key=lambda noun: (-sum(together[noun, other] for other in scene.nouns), noun))
        else:
            raise DataError(f"unknown polling strategy {strategy!r}; known: random, popular, adversarial")
        return absent

    number = 0
    for picture in pictures:
        present = sorted(picture.scene.nouns)
        rng.shuffle(present)
        absent = ranked_absent(picture.scene)
        for pair in list(zip(present, absent, strict=False))[:_MAX_POLLED]:
            for noun, label in zip(pair, ("yes", "no"), strict=True):
                number += 1
                text = existence_question(noun)
                yield {"question_id": number, "image": picture.file_name, "text": text, "label": label}


def amber_files(pictures: Sequence[Picture], seed: int) -> dict[str, Any]:
    """AMBER: file name -> content. Ids run through the generative items first, then attribute, existence, relation."""
    rng = Random(f"amber:{seed}")
    tempting = {picture.image_id: _tempting(picture.scene, rng) for picture in pictures}
    generative = [
        (picture, _generative_truth(picture.scene, tempting[picture.image_id]), "Describe this image.")
        for picture in pictures
    ]
    attribute = [row for picture in pictures for row in _attribute_rows(picture, rng)]
    existence = [
        (picture, _polar_truth("discriminative-hallucination", question), question.text)
        for picture in pictures
        for question in (ask_existence(picture.scene, noun, "this image") for noun in tempting[picture.image_id])
    ]
    relation = [row for answer in ("Yes", "No") for picture in pictures for row in _relation_rows(picture, answer)]
    groups = {
        "generative": generative,
        "discriminative-attribute": attribute,
        "discriminative-existence": existence,
        "discriminative-relation": relation,
    }
    annotations: list[dict[str, Any]] = []
    queries: dict[str, list[dict[str, Any]]] = {name: [] for name in groups}
    for name, rows in groups.items():
        for picture, truth, text in rows:
            number = len(annotations) + 1
            annotations.append({"id": number, **truth})
            queries[name].append({"id": number, "image": picture.file_name, "query": text})
    discriminative = [query for name in groups if name != "generative" for query in queries[name]]
    files: dict[str, Any] = {f"query/query_{name}.json": rows for name, rows in queries.items()}
    files["query/query_discriminative.json"] = discriminative
    files["query/query_all.json"] = queries["generative"] + discriminative
    return {"annotations.json": annotations, "relation.json": _associations(), **files}


def open_question_template(pictures: Sequence[Picture], seed: int) -> list[dict[str, Any]]:
    """MMHal-Bench: 96 records, question i of type i mod 8, over the images in turn; `model_answer` is empty."""
    rng = Random(f"open questions:{seed}")
    records = []
    for index in range(_OPEN_QUESTIONS):
        kind = OPEN_KINDS[index % len(OPEN_KINDS)]
        picture = pictures[index % len(pictures)]
        question = ask_open(kind, picture.scene, rng)
        records.append(
            {
                "question_type": kind,
                "question_topic": _TOPICS[index // len(OPEN_KINDS)],
                "image_id": Path(picture.file_name).stem,
                "image_src": f"images/{picture.file_name}",
                "image_content": sorted(picture.scene.nouns),
                "question": question.text,
                "gt_answer": question.answer,
                "model_answer": "",
            }
        )
    return records


def detail_question_lines(pictures: Sequence[Picture], images: Path) -> Iterator[dict[str, Any]]:
    """Object HalBench: one detailed-description prompt an image, the image itself inside the line (base64)."""
    for index, picture in enumerate(pictures):
        yield {
            "org_idx": index,
            "image_id": picture.image_id,
            "question": DETAIL_PROMPTS[index % len(DETAIL_PROMPTS)],
            "image": base64.b64encode((images / picture.file_name).read_bytes()).decode("ascii"),
        }


def _tempting(scene: Scene, rng: Random) -> list[str]:
    """Three to five absent nouns that a model may hallucinate."""
    nouns = tempting_absent(scene)[:_MAX_TEMPTING]
    others = [noun for noun in absent_nouns(scene) if noun not in PLACES[scene.place]]
    return nouns + rng.sample(others, max(0, _MIN_TEMPTING - len(nouns)))


def _generative_truth(scene: Scene, tempting: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "generative",
        "truth": [head_word(noun) for noun in sorted(scene.nouns)],
        "hallu": [head_word(noun) for noun in tempting],
    }


def _polar_truth(kind: str, question: Question) -> dict[str, Any]:
    return {"type": kind, "truth": question.answer.lower()}


def _attribute_rows(picture: Picture, rng: Random) -> list[tuple[Picture, dict[str, Any], str]]:
    asked = {
        "state": ask_colour(picture.scene, rng),
        "number": ask_number(picture.scene, rng),
        "action": ask_action(picture.scene, rng),
    }
    return [
        (picture, _polar_truth(f"discriminative-attribute-{kind}", question), question.text)
        for kind, questions in asked.items()
        for question in questions
    ]


def _relation_rows(picture: Picture, answer: str) -> list[tuple[Picture, dict[str, Any], str]]:
    # As in the official files, "discriminative-relation" holds the yes questions and "relation" the rest.
    kind = "discriminative-relation" if answer == "Yes" else "relation"
    return [
        (picture, _polar_truth(kind, question), question.text)
        for question in ask_neighbours(picture.scene)
        if question.answer == answer
    ]


def _associations() -> dict[str, list[str]]:
    """Word -> words that mean the same here; the keys and values together are the vocabulary of the noun test."""
    return {head_word(noun): [word for word in SYNONYMS_OF.get(noun, ()) if word != head_word(noun)] for noun in NOUNS}
