"""Scenes as MS-COCO annotation files: instances with boxes and category ids, and five human captions an image."""

from collections.abc import Sequence
from random import Random
from typing import Any

from evalkit.miniature.captions import human_captions
from evalkit.miniature.drawing import IMAGE_SIZE, bounding_box
from evalkit.miniature.picture import Picture
from evalkit.miniature.scenes import Thing

# COCO's own category ids.
CATEGORY_IDS = {
    "person": 1,
    "bicycle": 2,
    "car": 3,
    "truck": 8,
    "boat": 9,
    "traffic light": 10,
    "stop sign": 13,
    "bench": 15,
    "bird": 16,
    "cat": 17,
    "dog": 18,
    "umbrella": 28,
    "suitcase": 33,
    "sports ball": 37,
    "kite": 38,
    "surfboard": 42,
    "cup": 47,
    "bowl": 51,
    "banana": 52,
    "apple": 53,
    "chair": 62,
    "couch": 63,
    "potted plant": 64,
    "dining table": 67,
    "tv": 72,
    "refrigerator": 82,
    "book": 84,
    "clock": 85,
}


def instances_file(pictures: Sequence[Picture]) -> dict[str, Any]:
    """The content of an instances_*.json file."""
    things = [(picture, thing) for picture in pictures for thing in picture.scene.things]
    return {
        "info": _INFO,
        "images": [_image(picture) for picture in pictures],
        "annotations": [_instance(number, *pair) for number, pair in enumerate(things, start=1)],
        "categories": [
            {"supercategory": "object", "id": number, "name": noun} for noun, number in CATEGORY_IDS.items()
        ],
    }


def captions_file(pictures: Sequence[Picture], seed: int, neighbours: float = 0.0) -> dict[str, Any]:
    """The content of a captions_*.json file."""
    rng = Random(f"captions:{seed}")
    captions = [
        (picture, text) for picture in pictures for text in human_captions(picture.scene, rng, neighbours=neighbours)
    ]
    return {
        "info": _INFO,
        "images": [_image(picture) for picture in pictures],
        "annotations": [
            {"image_id": picture.image_id, "id": number, "caption": text}
            for number, (picture, text) in enumerate(captions, start=1)
        ],
    }


_INFO = {"description": "Miniature world of hallu-evalkit: drawn scenes", "version": "1"}


def _image(picture: Picture) -> dict[str, Any]:
    return {"id": picture.image_id, "file_name": picture.file_name, "width": IMAGE_SIZE, "height": IMAGE_SIZE}


def _instance(number: int, picture: Picture, thing: Thing) -> dict[str, Any]:
    left, top, width, height = bounding_box(thing)
    right, bottom = left + width, top + height
    return {
        "id": number,
        "image_id": picture.image_id,
        "category_id": CATEGORY_IDS[thing.noun],
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 0,
        "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
    }
