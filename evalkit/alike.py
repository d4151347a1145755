"""Which runs may stand side by side, and under which names."""

from collections import Counter
from collections.abc import Sequence

from evalkit.errors import UsageError
from evalkit.runs import Run
from evalkit.signature import Difference, differences


def distinct_labels(runs: Sequence[Run]) -> list[str]:
    """Labels of runs; those that share one get as much of their folder's name as tells them apart."""
    labels = [run.label for run in runs]
    shared = {label for label, count in Counter(labels).items() if count > 1}
    for depth in range(1, 1 + max((len(run.path.parts) for run in runs if run.path), default=0)):
        labels = [
            f"{run.label} ({'/'.join(run.path.parts[-depth:])})" if run.label in shared and run.path else run.label
            for run in runs
        ]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{run.label} #{index}" if run.label in shared else run.label for index, run in enumerate(runs, 1)]


def check_alike(
    base: Run, other: Run, base_label: str, other_label: str, force: bool = False, allow: Sequence[str] = ()
) -> tuple[Difference, ...]:
    """Protocol fields in which two runs differ and may (forced or allowed).

    Raises:
        UsageError: naming the fields, if they may not.
    """
    found = differences(base.signature, other.signature)
    formulas = [{metric.name: metric.formula for metric in run.metrics} for run in (base, other)]
    for name in formulas[0].keys() & formulas[1].keys():
        if formulas[0][name] != formulas[1][name]:
            found.append(Difference(f"formula of {name}", formulas[0][name], formulas[1][name]))
    obstacles = [difference for difference in found if difference.field not in allow]
    if obstacles and not force:
        shown = obstacles[:1] if obstacles[0].field == "benchmark" else obstacles  # all else differs with it
        named = "; ".join(map(str, shown))
        raise UsageError(
            f"{base_label} and {other_label} are not measured alike: {named}. Run them alike, or compare with --force: "
            "the report then says in what they differ"
        )
    return tuple(found)
