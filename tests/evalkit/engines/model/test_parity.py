"""The parity check names differing ids and tells ties from defects."""

from collections.abc import Iterator, Sequence

import pytest

from evalkit.engines.base import TokenLogprobs
from evalkit.engines.model.parity import check_parity
from evalkit.errors import EngineError
from evalkit.sampling import Sampling
from evalkit.schema import Prompt, Response

PROMPTS = [Prompt("a", "?"), Prompt("b", "?"), Prompt("c", "?")]


class Scripted:
    """Writes tokens (1, 2, 3), but other ones to prompt b in batches; token t has the log-probability -t * scale."""

    end_ids = frozenset({0})

    def __init__(self, odd: tuple[int, ...] | None, scale: float = 1.0, dtype: str = "float32") -> None:
        self.odd, self.scale, self.dtype, self.batch_size = odd, scale, dtype, 5

    def describe(self) -> dict[str, str]:
        return {"dtype": self.dtype}

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        for prompt in reversed(prompts):
            odd = prompt.id == "b" and self.batch_size > 1
            ids = self.odd if odd else (1, 2, 3)
            if ids is None:
                yield Response(prompt.id, text=None, failure="out of memory")
            else:
                yield Response(prompt.id, text=str(ids), finish="stop", token_ids=ids, tokens=len(ids))

    def logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[Sequence[int]]) -> list[TokenLogprobs]:
        assert self.batch_size == 1
        return [TokenLogprobs(tuple(row), tuple(-self.scale * token for token in row)) for row in continuations]


@pytest.mark.parametrize(
    ("odd", "scale", "dtype", "position", "gap", "tie"),
    [
        ((1, 4, 3), 1.0, "float32", 1, 2.0, False),
        ((1, 4, 3), 1e-4, "float32", 1, 2e-4, True),
        ((1, 4, 3), 0.1, "float32", 1, 0.2, False),
        ((1, 4, 3), 0.1, "bfloat16", 1, 0.2, True),
        ((1, 2), 1.0, "float32", 2, -3.0, False),  # stopped early: the end token against token 3
        ((1, 2, 3, 9), 1.0, "float32", 3, 9.0, False),
        (None, 1.0, "float32", None, None, False),
    ],
    ids=["defect", "tie", "gap", "tie in bfloat16", "shorter", "longer", "failure"],
)
def test_difference_is_explained_by_the_gap_at_its_first_token(
    odd: tuple[int, ...] | None, scale: float, dtype: str, position: int | None, gap: float | None, tie: bool
) -> None:
    engine = Scripted(odd, scale, dtype)
    report = check_parity(engine, PROMPTS, n=3, batch_sizes=(8,))  # type: ignore[arg-type]
    (difference,) = report.differences
    assert (difference.prompt_id, difference.batch_size, difference.position) == ("b", 8, position)
    assert difference.gap == (None if gap is None else pytest.approx(gap))
    assert difference.tie is tie
    assert report.explained is tie
    assert not report.identical
    assert engine.batch_size == 5
    assert "b batch 8" in report.lines()[1]
    assert report.as_dict()["differing"] == [{"id": "b", "batch": 8, "gap": difference.gap}]


def test_equal_responses_are_identical() -> None:
    report = check_parity(Scripted((1, 2, 3)), PROMPTS, n=2, batch_sizes=(2, 8))  # type: ignore[arg-type]
    assert report.identical
    assert report.explained
    assert report.lines() == ["parity: 2 prompts, greedy float32, batch 2, 8 against batch 1: identical"]


def test_every_batch_size_is_compared() -> None:
    report = check_parity(Scripted((9,)), PROMPTS, n=3, batch_sizes=(2, 8))  # type: ignore[arg-type]
    assert [difference.batch_size for difference in report.differences] == [2, 8]


@pytest.mark.parametrize(("n", "sizes"), [(0, (8,)), (3, ())])
def test_nothing_to_compare_is_an_error(n: int, sizes: tuple[int, ...]) -> None:
    with pytest.raises(EngineError):
        check_parity(Scripted(None), PROMPTS, n=n, batch_sizes=sizes)  # type: ignore[arg-type]
