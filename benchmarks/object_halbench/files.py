"""Files of Object HalBench: the 300 questions with their images, and the reference objects of each image."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.object_halbench.words import ObjectTable
from benchmarks.objects.coco import read_captions, read_instances
from evalkit.errors import DataError
from evalkit.files.embedded import certain_bytes, store_embedded
from evalkit.files.fields import read_object
from evalkit.files.rows import Row, read_rows
from evalkit.images import ImageFile

SPLITS = ("train2014", "val2014")  # the authors merge both, although all 300 images are of val2014


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
    image_id, question, image = row.fields["image_id"], row.fields["question"], row.fields.get("image")
    if isinstance(image_id, str) and image_id.isdecimal():
        image_id = int(image_id)
    if type(image_id) is not int or image_id < 0:
        raise DataError(f"{row.where}: image_id must be a COCO image id, got {image_id!r}")
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


def find_images(questions: Sequence[Question], folder: Path) -> list[ImageFile]:
    """The images of a file without images, in a folder of COCO images (2014 or 2017 file names).

    Raises:
        DataError: if one is missing, naming the first and how many.
    """
    images = [_coco_image(folder, question.image_id) for question in questions]
    missing = [question.image_id for question, image in zip(questions, images, strict=True) if image is None]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(questions)} images are missing, e.g. COCO_val2014_{missing[0]:012d}.jpg"
        )
    return [image for image in images if image is not None]


def _coco_image(folder: Path, image_id: int) -> ImageFile | None:
    names = (f"COCO_val2014_{image_id:012d}.jpg", f"{image_id:012d}.jpg", f"{image_id:012d}.png")
    return next((ImageFile(folder, name) for name in names if (folder / name).is_file()), None)


def build_ground_truth(
    folder: Path, table: ObjectTable, image_ids: Collection[int], splits: Sequence[str] = SPLITS
) -> dict[int, frozenset[str]]:
    """Reference objects from COCO's annotations: instances, and words of the human captions.

    Caption words are read as noun lemmas with this benchmark's synonyms; CHAIR's references come out differently.

    Args:
        folder: holds instances_<split>.json and captions_<split>.json of every split.
    Raises:
        DataError: if a file is missing or malformed, or an image has no caption.
    """
    wanted = set(image_ids)
    objects: dict[int, set[str]] = {image_id: set() for image_id in wanted}
    captioned: set[int] = set()
    for split in splits:
        path = folder / f"instances_{split}.json"
        instances = read_instances(path)
        for image_id in wanted & instances.categories_of.keys():
            for name in map(instances.names.__getitem__, instances.categories_of[image_id]):
                if name not in table.categories:
                    raise DataError(f"{path}: COCO category {name!r} is not in the synonym table")
                objects[image_id].add(table.categories[name])
        for image_id, captions in read_captions(folder / f"captions_{split}.json", wanted).items():
            captioned.add(image_id)
            for caption in captions:
                objects[image_id] |= table.objects_in(caption)
    if missing := sorted(wanted - captioned):
        raise DataError(f"{folder}: no caption of {len(missing)} images, e.g. image_id {missing[0]}")
    return {image_id: frozenset(names) for image_id, names in objects.items()}


def read_ground_truth(path: Path, table: ObjectTable, image_ids: Collection[int]) -> dict[int, frozenset[str]]:
    """Reference objects from a ready file, JSON {image id: [categories]}.

    Raises:
        DataError: if it is malformed, misses an image, or names something that is not a category.
    """
    rows = read_object(path)
    if not all(isinstance(names, list) for names in rows.values()):
        raise DataError(f"{path}: expected JSON {{image id: [categories]}}")
    missing = [image_id for image_id in image_ids if str(image_id) not in rows]
    if missing:
        raise DataError(f"{path}: no reference objects of {len(missing)} images, e.g. image_id {missing[0]}")
    known = set(table.categories.values())
    truth = {image_id: frozenset(rows[str(image_id)]) for image_id in image_ids}
    for image_id, names in truth.items():
        if unknown := sorted(map(str, names - known)):
            raise DataError(f"{path}: image_id {image_id}: {unknown[0]!r} is not a category of the synonym table")
    return truth


def truth_hash_rows(truth: Mapping[int, frozenset[str]]) -> list[str]:
    """The reference objects as text rows, in a fixed order, for the signature."""
    return [f"{image_id} {', '.join(sorted(truth[image_id]))}" for image_id in sorted(truth)]
