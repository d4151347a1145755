"""What can be said of a run before it is scored."""

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.reading.runs import Unfinished
from evalkit.runs.checks import Flag, check_samples, flags_of


@dataclass(frozen=True)
class SoFar:
    """Checks of the responses there are: plain facts, and flags as of a finished run."""

    facts: dict[str, str]
    flags: list[Flag]


def checks_so_far(run: Unfinished) -> SoFar:
    """Shares of degenerate responses, length; nothing that needs a score."""
    rows = [
        {
            "question": "",
            "prompt": "",
            "response": {"text": row.get("text"), "finish": row.get("finish")},
            "score": {"counts": None},
        }
        for row in run.rows
        if isinstance(row.get("text"), str | None)
    ]
    checks = check_samples(rows)
    facts = {}
    if checks["words"]:
        words = checks["words"]
        facts["words per response"] = (
            f"mean {words['mean']:.1f}, median {words['median']:.0f}, 95 % ≤ {words['p95']:.0f}"
        )
    for name in ("empty", "repeated", "truncated", "refused"):
        share = checks["shares"][name]
        if share is not None:
            facts[f"{name} responses"] = f"{100 * share:.1f} %"
    kept = ("empty", "repeated", "truncated", "refused", "identical")
    return SoFar(facts, [flag for flag in flags_of(checks) if flag.kind in kept and len(rows) >= 10])


def seconds_left(seen: Sequence[tuple[float, int]], wanted: int) -> float | None:
    """Time left by the pace seen; None before there is one.

    Args:
        seen: (seconds, responses) of several moments, in order.
    """
    (begin, before), (end, now) = seen[0], seen[-1]
    if now <= before or end <= begin:
        return None
    return (wanted - now) * (end - begin) / (now - before)


def span_text(seconds: float) -> str:
    """ "4 s", "12 min", "3.5 h", "2 days"."""
    if seconds < 90:
        return f"{max(0, seconds):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
