"""front.json of a run, as the pages read it: the curves, and where `evalkit front` placed the run beside bases."""

from collections.abc import Mapping
from dataclasses import dataclass

from dashboard.reading.cache import cached_on
from evalkit.analysis.front import RunFront
from evalkit.analysis.front_file import read_fronts, stored_standings
from evalkit.errors import RecordError
from evalkit.runs.records import FRONT, RECORDS
from evalkit.runs.run import RunSummary
from evalkit.schema import Json
from evalkit.statistics.intervals import Interval


@dataclass(frozen=True, slots=True)
class Stored:
    """A run beside one front of a base, in one metric, as `evalkit front` wrote it; figures of the first curve.

    base, items, at  whose front, how many items were scored in both, and what is held equal
    level            of the run in that
    value, there     the metric of the run, and of the base at that level
    sentence         the verdict in words; "" for all metrics but the headline
    """

    base: str
    items: int
    at: str
    metric: str
    level: float | None
    value: float | None
    there: float | None
    difference: Interval
    verdict: str
    sentence: str


def has_front(run: RunSummary) -> bool:
    """Whether `evalkit score` or `evalkit front` left one."""
    return (run.folder / FRONT).is_file()


def fronts_of(run: RunSummary) -> list[RunFront]:
    """The fronts of a run.

    Raises:
        RecordError: if the file cannot be read, or was made for other records.
    """
    return cached_on((run.folder / FRONT, run.folder / RECORDS), "fronts", lambda: read_fronts(run))


def placed_of(run: RunSummary) -> list[Stored]:
    """Where the run stands beside the bases it was placed beside.

    Raises:
        RecordError: if the file cannot be read.
    """
    return cached_on((run.folder / FRONT,), "standings", lambda: _placed(run))


def _placed(run: RunSummary) -> list[Stored]:
    try:
        return [_stored(row, index) for row in stored_standings(run) for index in range(len(row["metrics"]))]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RecordError(
            f"{run.folder / FRONT}: standings cannot be read ({type(error).__name__}: {error})"
        ) from error


def _stored(row: Mapping[str, Json], index: int) -> Stored:
    metric = row["metrics"][index]
    first = metric["fronts"][0]
    difference = first["difference"]
    return Stored(
        str(row["base"]),
        int(row["items"]),
        str(row["at"]),
        str(metric["metric"]),
        _number(metric["level"]),
        _number(metric["other"]),
        _number(first["base"]),
        Interval(_number(difference["value"]), _number(difference["low"]), _number(difference["high"])),
        str(metric["verdict"]),
        str(row["sentence"]) if index == 0 else "",
    )


def _number(value: Json) -> float | None:
    return None if value is None else float(value)
