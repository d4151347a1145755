"""Files of Object HalBench: the 300 questions with their images, and the reference objects of each image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.object_halbench.words import ObjectTable
from benchmarks.objects.coco import Annotations, parse_image_id, read_reference_objects
from evalkit.errors import DataError
from evalkit.files.embedded import certain_bytes, store_embedded
from evalkit.files.rows import Row, read_rows
from evalkit.images import ImageFile

SPLITS = ("train2014", "val2014")  # the authors merge both, although all 300 images are of val2014
IMAGE_SPLITS = ("val2014",)


@dataclass(frozen=True, slots=True)
class Question:
    """One line of the benchmark's file. `image`: the JPEG as base64, None in a file without images."""

    where: str
    image_id: int
    question: str
    image: str | None


def read_questions(path: Path) -> list[Question]:
    """The file as published: JSON lines with `image_id`, `question` and, unless it is the metadata only, `image`.

    Raises:
        DataError: if a line is not such an object, an image id repeats, or only some lines hold an image.
    """
    questions = [_question(row) for row in read_rows(path)]
    seen: dict[int, str] = {}
    for question in questions:
        if question.image_id in seen:
            raise DataError(f"{question.where}: image_id {question.image_id} was already at {seen[question.image_id]}")
        seen[question.image_id] = question.where
    without = [question.where for question in questions if question.image is None]
    if without and len(without) < len(questions):
        raise DataError(f"{without[0]}: no 'image', although other lines have one")
    return questions


def _question(row: Row) -> Question:
    if not {"image_id", "question"} <= row.fields.keys():
        keys = ", ".join(sorted(row.fields)[:8])
        raise DataError(f"{row.where}: expected keys 'image_id', 'question' (and 'image'); found {keys}")
    image_id = parse_image_id(row.fields["image_id"], f"{row.where}: image_id")
    question, image = row.fields["question"], row.fields.get("image")
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"{row.where}: question must be a text, got {question!r}")
    if image is not None and not isinstance(image, str):
        raise DataError(f"{row.where}: image must be base64 text, got {type(image).__name__}")
    return Question(row.where, image_id, question, image)


def extract_images(questions: Sequence[Question], folder: Path) -> list[ImageFile]:
    """Write the embedded images as files into a folder; those already there with the same content stay.

    Raises:
        DataError: if an image is not base64, or not an image, or the folder cannot be written.
    """
    images = []
    for question in questions:
        where = f"{question.where}: image of image_id {question.image_id}"
        data = certain_bytes(question.image, where)
        images.append(store_embedded(data, folder, where, f"{question.image_id:012d}"))
    return images


def build_ground_truth(
    folder: Path, table: ObjectTable, image_ids: Sequence[int], splits: Sequence[str] = SPLITS
) -> dict[int, frozenset[str]]:
    """Reference objects from COCO's annotations: instances, and words of the human captions.

    Caption words are read as noun lemmas with this benchmark's synonyms; CHAIR's references come out differently.

    Args:
        folder: holds instances_<split>.json and captions_<split>.json of every split.
    Raises:
        DataError: if a file is missing or malformed, or an image has no caption.
    """
    source = Annotations(folder, splits)
    if missing := sorted(set(image_ids) - source.captions(image_ids).keys()):
        raise DataError(f"{folder}: no caption of {len(missing)} images, e.g. image_id {missing[0]}")
    return source.reference_objects(image_ids, table.finder)


def read_ground_truth(path: Path, table: ObjectTable, image_ids: Sequence[int]) -> dict[int, frozenset[str]]:
    """Reference objects from a ready file, JSON {image id: [categories]}.

    Raises:
        DataError: if it is malformed, misses an image, or names something that is not a category.
    """
    objects = read_reference_objects(path, table.objects)
    if missing := [image_id for image_id in image_ids if image_id not in objects]:
        raise DataError(f"{path}: no reference objects of {len(missing)} images, e.g. image_id {missing[0]}")
    return {image_id: objects[image_id] for image_id in image_ids}


def truth_hash_rows(truth: Mapping[int, frozenset[str]]) -> list[str]:
    """The reference objects as text rows, in a fixed order, for the signature."""
    return [f"{image_id} {', '.join(sorted(truth[image_id]))}" for image_id in sorted(truth)]
