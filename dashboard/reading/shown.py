"""Which folders the dashboard shows."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = "EVALKIT_DASHBOARD"  # how the command tells the app what to show: JSON, see `Shown`


@dataclass(frozen=True)
class Shown:
    """What one dashboard shows.

    folders    run folders, or folders above them
    images     where images lie; empty: where the records say
    published  file with published rows (`evalkit report --published --format json`), None for none
    study      the study that people annotate, None where runs are only looked at
    """

    folders: tuple[Path, ...]
    images: tuple[Path, ...] = ()
    published: Path | None = None
    study: Path | None = None

    @classmethod
    def from_environment(cls) -> "Shown":
        """As the command `evalkit dashboard` wrote it; the folder `runs` without."""
        settings = json.loads(os.environ.get(ENVIRONMENT, '{"folders": ["runs"]}'))
        published, study = settings.get("published"), settings.get("study")
        return cls(
            tuple(map(Path, settings["folders"])),
            tuple(map(Path, settings.get("images", []))),
            Path(published) if published else None,
            Path(study) if study else None,
        )

    def as_text(self) -> str:
        """For the environment."""
        return json.dumps(
            {
                "folders": [str(folder.resolve()) for folder in self.folders],
                "images": [str(folder.resolve()) for folder in self.images],
                "published": str(self.published.resolve()) if self.published else None,
                "study": str(self.study.resolve()) if self.study else None,
            }
        )
