"""MS-COCO as a source of reference objects: what is truly in an image, by masks and by people's captions.

Annotation files hold hundreds of megabytes, mostly outlines that nobody needs here. They are read as a stream, one
annotation at a time, and what is left of an instances file is kept in the cache folder, addressed by the file's path,
size and time of change.
"""

import gzip
import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.objects.json_stream import stream_arrays
from benchmarks.objects.mentions import MentionFinder
from evalkit.benchmark import DataFile
from evalkit.errors import DataError
from evalkit.files.cache import cache_folder, content_key
from evalkit.files.rows import parse_json, read_text
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
CACHE_FORMAT = 1
LONGEST_ID = 18  # digits
SMALL = 1 << 20  # bytes of an instances file that is quicker read than kept
IMAGE_NAMES = ("COCO_{split}_{id:012d}.jpg", "{id:012d}.jpg", "COCO_{split}_{id:012d}.png", "{id:012d}.png")


@dataclass(frozen=True, slots=True)
class Instances:
    """An instances_*.json file: image id -> file name, image id -> ids of its categories, category id -> name."""

    file_names: Mapping[int, str]
    categories_of: Mapping[int, frozenset[int]]
    names: Mapping[int, str]


def read_instances(path: Path) -> Instances:
    """What CHAIR needs of an instances_*.json file; from the cache if this very file was read before.

    Raises:
        DataError: if the file is missing, cut off, or lacks "images", "annotations" or "categories".
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"{path}: no such file") from error
    key = content_key(CACHE_FORMAT, str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    kept = cache_folder() / "coco" / f"{key[:32]}.json.gz"
    instances = _kept_instances(kept)
    if instances is None:
        instances = _stream_instances(path)
        if stat.st_size > SMALL:
            _keep_instances(kept, instances)
    return instances


def _stream_instances(path: Path) -> Instances:
    file_names: dict[int, str] = {}
    categories_of: dict[int, set[int]] = {}
    names: dict[int, str] = {}
    try:
        for key, entry in stream_arrays(path, {"images", "annotations", "categories"}):
            if key == "annotations":
                categories_of.setdefault(int(entry["image_id"]), set()).add(int(entry["category_id"]))
            elif key == "images":
                file_names[int(entry["id"])] = str(entry["file_name"])
            else:
                names[int(entry["id"])] = str(entry["name"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: not a COCO instances file: {type(error).__name__} {error}") from error
    if not file_names or not names:
        raise DataError(f"{path}: not a COCO instances file: no 'images' or no 'categories'")
    unknown = {category for found in categories_of.values() for category in found} - names.keys()
    if unknown:
        raise DataError(f"{path}: annotations name unknown category ids: {sorted(unknown)[:5]}")
    return Instances(file_names, {image: frozenset(found) for image, found in categories_of.items()}, names)


def _kept_instances(kept: Path) -> Instances | None:
    if not kept.is_file():
        return None
    try:
        with gzip.open(kept, "rt", encoding="utf-8") as file:
            rows = json.load(file)
    except (OSError, EOFError, ValueError):
        return None  # damaged: read the annotation file again
    return Instances(
        {int(image): name for image, name in rows["file_names"].items()},
        {int(image): frozenset(found) for image, found in rows["categories_of"].items()},
        {int(category): name for category, name in rows["names"].items()},
    )


def _keep_instances(kept: Path, instances: Instances) -> None:
    rows = {
        "file_names": instances.file_names,
        "categories_of": {image: sorted(found) for image, found in instances.categories_of.items()},
        "names": instances.names,
    }
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(f".{random.getrandbits(32):08x}")
    with gzip.open(part, "wt", encoding="utf-8", compresslevel=3) as file:
        json.dump(rows, file)
    part.replace(kept)


def read_captions(path: Path, image_ids: Collection[int]) -> dict[int, list[str]]:
    """Human captions of the wanted images, from a captions_*.json file.

    Raises:
        DataError: if the file is missing, cut off, or an annotation lacks "image_id" or "caption".
    """
    captions: dict[int, list[str]] = {}
    try:
        for _, entry in stream_arrays(path, {"annotations"}):
            if entry["image_id"] in image_ids:
                captions.setdefault(int(entry["image_id"]), []).append(str(entry["caption"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: not a COCO captions file: {type(error).__name__} {error}") from error
    return captions


class Annotations:
    """The annotation files of some splits in one folder, as instances_<split>.json and captions_<split>.json."""

    def __init__(self, folder: Path, splits: Sequence[str]) -> None:
        self.folder, self.splits = folder, tuple(splits)

    @cached_property
    def instances(self) -> Mapping[str, Instances]:
        """Split -> its instances."""
        return {split: read_instances(self.folder / f"instances_{split}.json") for split in self.splits}

    @cached_property
    def file_names(self) -> Mapping[int, str]:
        """Image id -> file name, of all splits."""
        return {image: name for found in self.instances.values() for image, name in found.file_names.items()}

    def reference_objects(self, image_ids: Sequence[int], finder: MentionFinder) -> dict[int, frozenset[str]]:
        """Categories of each image: of its instances, and of the objects its human captions mention.

        Args:
            finder: reads the captions, with the same normaliser as the responses.
        Raises:
            DataError: for an image id that no split has, or a category that the synonyms table does not name.
        """
        check_known(image_ids, self.file_names, f"the splits {', '.join(self.splits)} in {self.folder}")
        objects: dict[int, set[str]] = {image: set() for image in image_ids}
        synonyms = finder.vocabulary.synonyms
        for split, instances in self.instances.items():
            for image in objects:
                for category in instances.categories_of.get(image, ()):
                    name = instances.names[category]
                    if name not in synonyms:
                        path = self.folder / f"instances_{split}.json"
                        raise DataError(f"{path}: COCO category {name!r} is not in the synonyms table")
                    objects[image].add(synonyms[name])
        for split in self.splits:
            captions = read_captions(self.folder / f"captions_{split}.json", objects.keys())
            for image, texts in captions.items():
                objects[image].update(mention.object for text in texts for mention in finder.find(text).mentions)
        return {image: frozenset(found) for image, found in objects.items()}


def read_reference_objects(path: Path, known_objects: Collection[str]) -> dict[int, frozenset[str]]:
    """A ready file {image id: [object, ...]}.

    Raises:
        DataError: if the file is not such JSON, or names an object that is not a category.
    """
    rows = parse_json(read_text(path), str(path))
    if not isinstance(rows, dict) or not rows:
        raise DataError(f"{path}: expected a JSON object {{image id: [object, ...]}}")
    known = frozenset(known_objects)
    references: dict[int, frozenset[str]] = {}
    for key, names in rows.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{path}: image {key}: expected a list of object names, got {str(names)[:60]}")
        objects = frozenset(names)
        if not objects <= known:
            raise DataError(
                f"{path}: image {key}: {sorted(objects - known)[:3]} are not categories of the synonyms table"
            )
        references[parse_image_id(key, str(path))] = objects
    return references


def read_image_ids(path: Path) -> list[int]:
    """A list of image ids: a JSON list, an id a line, or JSON lines with "image_id" (a response file).

    Raises:
        DataError: if the file is empty, an entry is not an id, or an id stands there twice.
    """
    text = read_text(path)
    if text.lstrip().startswith("["):
        entries = [(f"{path}: entry {number}", entry) for number, entry in enumerate(parse_json(text, str(path)), 1)]
    else:
        lines = [(f"{path}:{number}", line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        entries = [(where, parse_json(line, where) if line.startswith("{") else line) for where, line in lines]
    first: dict[int, str] = {}
    for where, entry in entries:
        image = parse_image_id(entry.get("image_id") if isinstance(entry, dict) else entry, where)
        if image in first:
            raise DataError(f"{where}: image id {image} stands at {first[image]} already")
        first[image] = where
    if not first:
        raise DataError(f"{path}: no image ids")
    return list(first)


def parse_image_id(value: Any, where: str) -> int:
    """An image id as an integer; COCO file names count too ("COCO_val2014_000000000042.jpg").

    Raises:
        DataError: if it is none.
    """
    if type(value) is int and value >= 0:
        return value
    if isinstance(value, str):
        digits = Path(value).stem.rpartition("_")[2]
        if digits.isascii() and digits.isdigit() and len(digits) <= LONGEST_ID:
            return int(digits)
    raise DataError(f"{where}: expected a COCO image id, got {str(value)[:60]!r}")


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
