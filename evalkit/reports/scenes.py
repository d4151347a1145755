"""Over-generalisation as a table: see evalkit/analysis/scenes.py for what is counted."""

from collections.abc import Sequence

from evalkit.analysis.scenes import TOP, by_scene
from evalkit.errors import UsageError
from evalkit.reports.tables import Cell, Table, render
from evalkit.runs.run import Run

COLUMNS = ("run", "scene", "images", "mentions there / anywhere", "anywhere", "there", "delta")
NOTES = (
    f"mean hallucination rate (%) of the scene's {TOP} most frequent objects, on all images and there; delta in points",
    "after RLHF-V's over-generalisation table; scene words in captions and the choice of objects are ours",
)


def scene_report(runs: Sequence[Run], format: str, width: int | None = None) -> str:
    """One row per run and scene.

    Raises:
        UsageError: for a format that is not a table.
    """
    if format not in ("terminal", "markdown", "latex"):
        raise UsageError(f"--by-scene is for --format terminal, markdown or latex, not {format}")
    rows = [
        [
            *(Cell(text) for text in (run.label, row.scene, str(row.images))),
            Cell(f"{row.mentions[0]} / {row.mentions[1]}"),
            Cell(_rate(row.anywhere)),
            Cell(_rate(row.here)),
            Cell(row.delta.text()),
        ]
        for run in runs
        for row in by_scene(run)
    ]
    if not rows:
        return "by scene: no run knows the scenes of its images (CHAIR with COCO's annotations does)"
    return render(Table(COLUMNS, rows, "by scene", NOTES), format, width)  # type: ignore[arg-type]


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
