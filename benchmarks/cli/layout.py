"""Where each benchmark's files lie below one data folder (`--data DIR`), and where to get them.

DIR/coco/val2014/*.jpg  DIR/coco/annotations/*.json   CHAIR, Object HalBench, POPE
DIR/object_halbench/    DIR/mmhal/    DIR/amber/image/
"""

from dataclasses import dataclass
from pathlib import Path

COCO_IMAGES = (
    "val2014.zip from images.cocodataset.org (6.2 GB, 40,504 images): unpack so that coco/val2014/*.jpg is there"
)
COCO_ANNOTATIONS = (
    "annotations_trainval2014.zip from images.cocodataset.org (241 MB): unpack so that coco/annotations/ holds "
    "instances_{train,val}2014.json and captions_{train,val}2014.json"
)


@dataclass(frozen=True, slots=True)
class Place:
    """One file or folder a benchmark reads: option it is given by, path below the data folder, how to get it."""

    option: str
    path: str
    how: str


LAYOUT: dict[str, tuple[Place, ...]] = {
    "chair": (
        Place("images", "coco/val2014", COCO_IMAGES),
        Place("annotations", "coco/annotations", COCO_ANNOTATIONS),
    ),
    "pope": (Place("images", "coco/val2014", COCO_IMAGES),),
    "amber": (
        Place(
            "images",
            "amber/image",
            "the image archive linked in the README of junyangwang0410/AMBER (Google Drive): unpack so that "
            "amber/image/AMBER_1.jpg is there",
        ),
    ),
    "mmhal": (
        Place(
            "data",
            "mmhal/mmhal-bench_answer_template.json",
            "evalkit assets fetch mmhal/mmhal-bench_answer_template.json, or the test split of "
            "Shengcao1006/MMHal-Bench on the Hub",
        ),
        Place("images", "mmhal/images", "the 96 photographs behind the template's image_src, by their file names"),
    ),
    "object_halbench": (
        Place(
            "data",
            "object_halbench/obj_halbench_300_with_image.jsonl",
            "eval/data/obj_halbench_300_with_image.jsonl of RLHF-V/RLAIF-V (63.5 MB, images inside)",
        ),
        Place("annotations", "coco/annotations", COCO_ANNOTATIONS),
    ),
}


def located(name: str, data: Path) -> dict[str, str]:
    """Constructor options for the files of a benchmark that are there below the data folder."""
    return {place.option: str(data / place.path) for place in LAYOUT.get(name, ()) if (data / place.path).exists()}


def missing(name: str, data: Path) -> list[Place]:
    """What a benchmark needs and the data folder does not have."""
    return [place for place in LAYOUT.get(name, ()) if not (data / place.path).exists()]


def images_found(name: str, data: Path) -> str:
    """How many image files a benchmark's folder holds, as a sentence."""
    places = [place for place in LAYOUT.get(name, ()) if place.option == "images"]
    if not places:
        return "files found; its images are inside them"
    count = sum(1 for path in (data / places[0].path).iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return f"files found; {count:,} images in {places[0].path}"
