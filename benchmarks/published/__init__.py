"""Published figures, one TOML file a benchmark, transcribed as printed.

[sources.NAME]  where figures come from: paper, version, table, measured_by, judge, direction ("rate": printed as our
                metric; "complement": 100 minus it was printed), evidence ("paper": read there; "figure": read off a
                drawing; "quoted": from a page that quotes it; "memory": a lead only), and optionally settings
[[rows]]        source, model, values (metric -> figure as printed, in the unit of the metric), and
                optionally subset (a part of the benchmark), doubtful (metric -> what is odd about it), note
"""

from importlib.resources import files

from evalkit.analysis.published import PublishedRow, parse
from evalkit.errors import UsageError


def with_figures() -> list[str]:
    """Names of the benchmarks that there are published figures of."""
    names = [path.name for path in files("benchmarks.published").iterdir()]
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def published(benchmark: str) -> list[PublishedRow]:
    """All published figures of a benchmark.

    >>> row = next(row for row in published("object_halbench") if row.source.direction == "complement")
    >>> row.model, row.printed["chair_s_refine"], row.values["chair_s_refine"]
    ('GPT-4V', 86.4, 13.6)

    Raises:
        UsageError: if there are none of this benchmark.
        DataError: if the file is malformed.
    """
    name = benchmark.replace("-", "_")
    known = with_figures()
    if name not in known:
        raise UsageError(f"no published figures of {benchmark!r}; there are some of {', '.join(known)}")
    text = files("benchmarks.published").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return parse(name, text)
