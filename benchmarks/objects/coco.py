"""MS-COCO as a source of reference objects: what is truly in an image, by masks and by people's captions.

Annotation files hold hundreds of megabytes, mostly outlines that nobody needs here; msgspec reads the fields below and
skips the rest, at more than 500 MB a second.
"""

import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from benchmarks.objects.mentions import MentionFinder
from benchmarks.objects.ready import read_ready
from benchmarks.objects.scenes import scene_of
from evalkit.benchmark import DataFile
from evalkit.errors import DataError
from evalkit.files.rows import parse_json, read_rows, read_text
from evalkit.formats.keys import IMAGES, field_name, image_name, named_alike
from evalkit.images import ImageFile

VAL2014 = DataFile(
    "images",
    "coco/val2014",
    "val2014.zip from images.cocodataset.org (6.2 GB, 40,504 images): unpack so that coco/val2014/*.jpg is there",
)
ANNOTATIONS = DataFile(
    "annotations",
    "coco/annotations",
    "annotations_trainval2014.zip from images.cocodataset.org (241 MB): unpack so that coco/annotations/ holds "
    "instances_{train,val}2014.json and captions_{train,val}2014.json",
)
T = TypeVar("T")
_FLOAT = re.compile(r"\d+\.\d*(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+")  # as numpy.savetxt writes an id
LONGEST_ID = 18  # digits
ID_LISTS = ("image_ids", "ids", "images")  # keys of a JSON object under which image ids stand
_KEY = re.compile(r"\d+")
_CELLS = re.compile(r"[,;\t]")
IMAGE_NAMES = ("COCO_{split}_{id:012d}.jpg", "{id:012d}.jpg", "COCO_{split}_{id:012d}.png", "{id:012d}.png")


@dataclass(frozen=True, slots=True)
class Instances:
    """An instances_*.json file: image id -> file name, image id -> ids of its categories, category id -> name.

    boxes_of  image id -> (category id, [x, y, width, height] as shares of the image); only where the file has boxes
    """

    file_names: Mapping[int, str]
    categories_of: Mapping[int, frozenset[int]]
    names: Mapping[int, str]
    boxes_of: Mapping[int, Sequence[tuple[int, list[float]]]] = field(default_factory=dict)


class _Image(msgspec.Struct):
    id: int
    file_name: str
    width: float = 0.0
    height: float = 0.0


class _Annotation(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: list[float] | None = None


class _Category(msgspec.Struct):
    id: int
    name: str


class _InstancesFile(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


class _Caption(msgspec.Struct):
    image_id: int
    caption: str


class _CaptionsFile(msgspec.Struct):
    annotations: list[_Caption]


def read_instances(path: Path) -> Instances:
    """What CHAIR and Object HalBench need of an instances_*.json file.

    Raises:
        DataError: if the file is missing, cut off, or lacks "images", "annotations" or "categories".
    """
    file = _read(path, _InstancesFile, "instances")
    if not file.images or not file.categories:
        raise DataError(f"{path}: not a COCO instances file: no 'images' or no 'categories'")
    names = {category.id: category.name for category in file.categories}
    categories_of: dict[int, set[int]] = {}
    for annotation in file.annotations:
        categories_of.setdefault(annotation.image_id, set()).add(annotation.category_id)
    unknown = {category for present in categories_of.values() for category in present} - names.keys()
    if unknown:
        raise DataError(f"{path}: annotations name unknown category ids: {sorted(unknown)[:5]}")
    file_names = {image.id: image.file_name for image in file.images}
    categories = {image: frozenset(present) for image, present in categories_of.items()}
    return Instances(file_names, categories, names, _boxes(file))


def _boxes(file: _InstancesFile) -> dict[int, list[tuple[int, list[float]]]]:
    sizes = {image.id: (image.width, image.height) for image in file.images if image.width > 0 and image.height > 0}
    boxes: dict[int, list[tuple[int, list[float]]]] = {}
    for annotation in file.annotations:
        size = sizes.get(annotation.image_id)
        if size is not None and annotation.bbox is not None and len(annotation.bbox) == 4:
            x, y, width, height = annotation.bbox
            shares = [x / size[0], y / size[1], width / size[0], height / size[1]]
            boxes.setdefault(annotation.image_id, []).append((annotation.category_id, shares))
    return boxes


def read_captions(path: Path, image_ids: Collection[int]) -> dict[int, list[str]]:
    """Human captions of the wanted images, from a captions_*.json file.

    Raises:
        DataError: if the file is missing, cut off, or an annotation lacks "image_id" or "caption".
    """
    captions: dict[int, list[str]] = {}
    for entry in _read(path, _CaptionsFile, "captions").annotations:
        if entry.image_id in image_ids:
            captions.setdefault(entry.image_id, []).append(entry.caption)
    return captions


def _read(path: Path, kind: type[T], what: str) -> T:
    """An annotation file, its bytes at once in memory; outlines and all that nobody needs are skipped."""
    try:
        return msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), type=kind, strict=False)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except RecursionError as error:
        raise DataError(f"{path}: not a COCO {what} file: nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a COCO {what} file (cut off?): {error}") from error


class Annotations:
    """The annotation files of some splits in one folder, as instances_<split>.json and captions_<split>.json."""

    def __init__(self, folder: Path, splits: Sequence[str]) -> None:
        self.folder, self.splits = folder, tuple(splits)
        self._captions: tuple[frozenset[int], dict[int, list[str]]] | None = None

    @cached_property
    def instances(self) -> Mapping[str, Instances]:
        """Split -> its instances."""
        return {split: read_instances(self.folder / f"instances_{split}.json") for split in self.splits}

    @cached_property
    def file_names(self) -> Mapping[int, str]:
        """Image id -> file name, of all splits."""
        return {image: name for instances in self.instances.values() for image, name in instances.file_names.items()}

    def reference_objects(self, image_ids: Sequence[int], finder: MentionFinder) -> dict[int, frozenset[str]]:
        """Categories of each image: of its instances, and of the objects its human captions mention.

        Args:
            finder: reads the captions, with the same normaliser as the responses.
        Raises:
            DataError: for an image id that no split has, or a category that the synonyms table does not name.
        """
        check_known(image_ids, self.file_names, f"the splits {', '.join(self.splits)} in {self.folder}")
        objects: dict[int, set[str]] = {image: set() for image in image_ids}
        categories = finder.vocabulary.categories
        for split, instances in self.instances.items():
            for image in objects:
                for category in instances.categories_of.get(image, ()):
                    name = instances.names[category]
                    if name not in categories:
                        path = self.folder / f"instances_{split}.json"
                        raise DataError(f"{path}: COCO category {name!r} is not in the synonyms table")
                    objects[image].add(categories[name])
        for image, texts in self.captions(image_ids).items():
            objects[image].update(mention.object for text in texts for mention in finder.find(text).mentions)
        return {image: frozenset(names) for image, names in objects.items()}

    def captions(self, image_ids: Sequence[int]) -> dict[int, list[str]]:
        """What people say of images; read once for the same images."""
        wanted = frozenset(image_ids)
        if self._captions is None or self._captions[0] != wanted:
            captions: dict[int, list[str]] = {}
            for split in self.splits:
                for image, texts in read_captions(self.folder / f"captions_{split}.json", wanted).items():
                    captions.setdefault(image, []).extend(texts)
            self._captions = wanted, captions
        return self._captions[1]

    def scenes(self, image_ids: Sequence[int]) -> dict[int, str]:
        """Image id -> the kind of scene that its captions name, where they name one."""
        named = {image: scene_of(texts) for image, texts in self.captions(image_ids).items()}
        return {image: scene for image, scene in named.items() if scene is not None}

    def boxes(self, image_id: int, finder: MentionFinder) -> list[dict[str, Any]]:
        """Where the instances of an image are: {"object", "x", "y", "width", "height"}, shares of the image."""
        categories = finder.vocabulary.categories
        return [
            {
                "object": categories.get(instances.names[category], instances.names[category]),
                **{name: round(share, 4) for name, share in zip(("x", "y", "width", "height"), shares, strict=True)},
            }
            for instances in self.instances.values()
            for category, shares in instances.boxes_of.get(image_id, ())
        ]


def read_reference_objects(path: Path, known_objects: Collection[str]) -> dict[int, frozenset[str]]:
    """A ready file {image id: [object, ...]}, see `ready`.

    Raises:
        DataError: if the file is not such JSON, or names an object that is not a category.
    """
    rows = read_ready(path)
    known = frozenset(known_objects)
    references: dict[int, frozenset[str]] = {}
    for key, names in rows.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(
                f"{path}: image {key}: expected JSON {{image id: [object, ...]}}, got {str(names)[:60]} for the list"
            )
        objects = frozenset(names)
        if unknown := sorted(objects - known):
            raise DataError(f"{path}: image {key}: {unknown[0]!r} is not a category of the synonyms table")
        references[parse_image_id(key, str(path))] = objects
    return references


def read_image_ids(path: Path) -> list[int]:
    """A list of image ids: a JSON list, an id a line, a table or JSON lines with an image's field (a response file).

    A JSON object with such a list ("image_ids", COCO's "images") or with ids as its keys (references) will do as well.

    Raises:
        DataError: if the file is empty, an entry is no id, or an id stands there twice.
    """
    first: dict[int, str] = {}
    for where, entry in _id_entries(path):
        if isinstance(entry, Mapping):
            fields = named_alike(entry)
            entry = next((name for key in IMAGES if (name := image_name(fields.get(key))) is not None), None)
        try:
            image = parse_image_id(entry, where)
        except DataError as error:
            raise DataError(f"{error}; a list of ids is a JSON list, or an id a line") from None
        if image in first:
            raise DataError(f"{where}: image id {image} stands at {first[image]} already")
        first[image] = where
    if not first:
        raise DataError(f"{path}: no image ids")
    return list(first)


def _id_entries(path: Path) -> list[tuple[str, Any]]:
    """Every entry of a list of ids, and where it stands."""
    if path.suffix.lower() in (".csv", ".tsv"):
        lines = [line for line in read_text(path).split("\n") if line.strip()]
        if any(field_name(cell) in IMAGES for cell in _CELLS.split(lines[0])):
            return [(row.where, row.fields) for row in read_rows(path)]
    text = read_text(path).strip()
    whole = parse_json(text, str(path)) if text[0] == "[" else None
    if text[0] == "{" and "\n{" not in text:
        row = parse_json(text, f"{path}:1")
        whole = next((row[name] for name in ID_LISTS if isinstance(row.get(name), list)), None)
        if whole is None and not all(_KEY.fullmatch(key) for key in row):
            return [(f"{path}:1", row)]
        whole = list(row) if whole is None else whole
    if whole is not None:
        return [(f"{path}: entry {number}", entry) for number, entry in enumerate(whole, 1)]
    numbered = [(f"{path}:{number}", line.strip()) for number, line in enumerate(read_text(path).split("\n"), 1)]
    return [(where, parse_json(line, where) if line[0] in '{"' else line) for where, line in numbered if line]


def parse_image_id(value: Any, where: str) -> int:
    """An image id as an integer, also from a COCO file name ("COCO_val2014_000000000042.jpg") or a float ("2.5e+01").

    Raises:
        DataError: if it is none.
    """
    if type(value) is float and value.is_integer() and 0 <= value < 10**LONGEST_ID:
        value = int(value)
    if type(value) is int and value >= 0:
        return value
    if isinstance(value, str):
        if _FLOAT.fullmatch(value.strip()) and (number := float(value)).is_integer() and number < 2**53:
            return int(number)
        digits = Path(value).stem.rpartition("_")[2]
        if digits.isascii() and digits.isdigit() and len(digits) <= LONGEST_ID and not _FLOAT.fullmatch(value.strip()):
            return int(digits)
    raise DataError(f"{where}: expected a COCO image id, got {value!r:.60}")


def check_known(image_ids: Collection[int], known: Collection[int], what: str) -> None:
    """Raise DataError if an image id is unknown."""
    unknown = [image for image in image_ids if image not in known]
    if unknown:
        shown = ", ".join(map(str, unknown[:5]))
        raise DataError(f"{len(unknown)} of {len(image_ids)} image ids are not in {what}: {shown}")


def sample_image_ids(known: Collection[int], count: int, seed: int) -> list[int]:
    """`count` ids drawn without replacement (all of them if there are no more), ascending; the seed decides."""
    ordered = sorted(known)
    return sorted(random.Random(seed).sample(ordered, count)) if count < len(ordered) else ordered


def find_image(folder: Path, image_id: int, splits: Sequence[str], file_name: str | None = None) -> ImageFile:
    """The image file of an id: its name in the annotations, else one of COCO's ways to name files.

    Raises:
        DataError: if there is none.
    """
    guesses = [pattern.format(split=split, id=image_id) for split in splits for pattern in IMAGE_NAMES]
    for name in [file_name] if file_name else list(dict.fromkeys(guesses)):
        if (image := ImageFile(folder, name)).is_there():
            return image
    raise DataError(f"image {image_id} is not in {folder}; looked for {(file_name or ', '.join(guesses[:2]))[:200]!r}")


def find_images(
    folder: Path, image_ids: Sequence[int], splits: Sequence[str], file_names: Mapping[int, str] | None = None
) -> list[ImageFile]:
    """The image file of every id, see `find_image`.

    Raises:
        DataError: if any is missing, naming the first and how many there are.
    """
    images: list[ImageFile] = []
    missing: list[DataError] = []
    for image_id in image_ids:
        try:
            images.append(find_image(folder, image_id, splits, (file_names or {}).get(image_id)))
        except DataError as error:
            missing.append(error)
    if missing:
        others = f"; {len(missing):,} of {len(image_ids):,} images are missing" if len(missing) > 1 else ""
        raise DataError(f"{missing[0]}{others}")
    return images
