"""Multi-modal gain and leakage (MMStar, Chen et al. 2024, arXiv:2403.20330, section 4.2), from three runs.

seeing     a model with images
blind      the same model without them
text only  its language model alone, without images
gain       seeing - blind
leakage    max(0, blind - text only): what the model knows of the questions beyond the language model it was made from
"""

from dataclasses import dataclass

from evalkit.errors import UsageError
from evalkit.runs.run import Run
from evalkit.statistics.intervals import Interval

MAY_DIFFER = ("blind", "image_ablation", "images")  # signature fields of a run without images


@dataclass(frozen=True, slots=True)
class Leakage:
    """Gain and leakage of one metric, in its unit, with paired intervals."""

    metric: str
    seeing: str
    text_only: str
    gain: Interval
    leakage: Interval

    def sentence(self) -> str:
        """In words, for a report."""
        return (
            f"{self.metric}: multi-modal gain {self.gain.text()}, leakage {self.leakage.text()}, "
            f"if {self.text_only} is the language model of {self.seeing}"
        )


def gain_and_leakage(seen: float, unseen: float, text_only: float) -> tuple[float, float]:
    """Multi-modal gain and leakage, in the unit of the scores.

    >>> tuple(round(value, 1) for value in gain_and_leakage(52.1, 22.7, 20.3))
    (29.4, 2.4)

    Args:
        seen: score with images; unseen: of the same model without; text_only: of its language model alone.
    """
    return seen - unseen, max(0.0, unseen - text_only)


def leakage_interval(difference: Interval) -> Interval:
    """The leakage for a difference text only - blind; its limits are cut at 0 as the value is.

    >>> leakage_interval(Interval(-2.0, -5.0, 1.0)).text()
    '2.0 [0.0, 5.0]'
    """
    if difference.value is None:
        return difference
    _, value = gain_and_leakage(0.0, 0.0, difference.value)
    if difference.low is None or difference.high is None:
        return Interval(value)
    return Interval(value, max(0.0, -difference.high), max(0.0, -difference.low), difference.method)


def check_roles(blind: Run, seeing: Run, text_only: Run) -> None:
    """Whether three runs are what gain and leakage are made of.

    That the last one is of the first two's language model is in no file; the caller says so.

    Raises:
        UsageError: if a run was asked with images where it should not be or the reverse, the first two are of
            different models, or the last one is of the same.
    """
    for run, without in ((blind, True), (seeing, False), (text_only, True)):
        if _without_images(run) != without:
            kind = "without images" if without else "with images"
            raise UsageError(
                f"{run.label} should be a run {kind}; give the runs as "
                "evalkit compare BLIND SEEING --text-only LANGUAGE_MODEL"
            )
    names = [_model(run) for run in (blind, seeing, text_only)]
    if None not in names[:2] and names[0] != names[1]:
        raise UsageError(f"{blind.label} and {seeing.label} are of two models, {names[0]} and {names[1]}")
    if names[2] is not None and names[2] in names[:2]:
        raise UsageError(f"{text_only.label} is of {names[2]} itself, not of its language model")


def _without_images(run: Run) -> bool:
    protocol = run.signature.protocol
    return protocol.get("blind") == "yes" or protocol.get("image_ablation") == "none"


def _model(run: Run) -> str | None:
    name = (run.manifest.get("model") or {}).get("model")
    return None if name is None else str(name)
