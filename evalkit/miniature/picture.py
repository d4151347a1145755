"""A picture of a world: a scene with the id and file name it has on disk."""

from dataclasses import dataclass

from evalkit.miniature.scenes import Scene


@dataclass(frozen=True)
class Picture:
    """A numbered scene; files are named as in MS-COCO."""

    image_id: int
    scene: Scene

    @property
    def file_name(self) -> str:
        return f"COCO_mini_{self.image_id:012d}.png"
