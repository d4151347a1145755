"""Metrics as formulas over summed counts.

Counts are summed over samples first and the metric is computed from the sums, so that intervals, groups and paired
comparisons are written once, for every benchmark (a ratio of sums is not a mean of ratios). A formula is text, so it
is stored in the run's manifest: whoever reads the run can resample it without the code that made it.

    >>> chair_i = Metric("chair_i", "100 * hallucinated_mentions / mentions", higher_is_better=False, role="rate")
    >>> chair_i.value({"hallucinated_mentions": 3, "mentions": 24})
    12.5
    >>> chair_i.value({"hallucinated_mentions": 0, "mentions": 0}) is None
    True
"""

import ast
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import DataError

Array = NDArray[np.float64]
Unit = Literal["percent", "points", "words", "tokens"]
Role = Literal["rate", "quality", "length"]


def divide(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator, nan where the denominator is 0; shapes broadcast."""
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    if denominator.all():
        return np.asarray(numerator / denominator)
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    quotient: Array = np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator != 0)
    return quotient


_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: divide,
}

LONGEST_FORMULA = 1000  # characters
LARGEST_NUMBER = 1e15  # in a formula


@dataclass(frozen=True)
class Metric:
    """A named formula over summed counts.

    name              as printed, e.g. "chair_i"
    formula           count names, numbers, + - * / and parentheses; x / 0 is undefined (nan, reported as None)
    higher_is_better  None if there is no better direction (a response length)
    unit              "percent" (0-100), "points" (a scale of its own), "words", "tokens"
    role              "rate" of hallucination | "quality" (recall, cover, accuracy) | "length"
    detail            an alternative reading of another metric: in tables of its own
    """

    name: str
    formula: str
    higher_is_better: bool | None
    unit: Unit = "percent"
    role: Role = "quality"
    detail: bool = False

    @cached_property
    def _tree(self) -> ast.expr:
        if len(self.formula) > LONGEST_FORMULA:
            raise DataError(f"metric {self.name!r}: a formula of {len(self.formula):,} characters cannot be read")
        try:
            tree = ast.parse(self.formula, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else error
            raise DataError(f"metric {self.name!r}: formula {self.formula!r} cannot be read: {reason}") from error
        for node in ast.walk(tree):
            if not isinstance(node, ast.BinOp | ast.Name | ast.Constant | ast.operator | ast.Load):
                raise DataError(
                    f"metric {self.name!r}: formula {self.formula!r} may hold count names, numbers, "
                    f"+ - * / and parentheses only; found {type(node).__name__}"
                )
            if isinstance(node, ast.Constant) and type(node.value) not in (int, float):
                raise DataError(f"metric {self.name!r}: {node.value!r} is not a number in {self.formula!r}")
            if isinstance(node, ast.Constant) and not abs(node.value) <= LARGEST_NUMBER:  # type: ignore[arg-type]
                raise DataError(f"metric {self.name!r}: a number beyond {LARGEST_NUMBER:g} in its formula")
            if isinstance(node, ast.BinOp) and type(node.op) not in _OPERATORS:
                raise DataError(f"metric {self.name!r}: unknown operator in {self.formula!r}")
        if not any(isinstance(node, ast.Name) for node in ast.walk(tree)):
            raise DataError(f"metric {self.name!r}: formula {self.formula!r} reads no count")
        return tree

    def check(self) -> None:
        """Whether the fields are what they should be.

        Raises:
            TypeError: if name or formula is not text.
            DataError: if the formula cannot be read.
        """
        if not isinstance(self.name, str) or not isinstance(self.formula, str):
            raise TypeError(f"name and formula must be texts, found {self.name!r}, {self.formula!r}")
        self._tree  # noqa: B018

    @cached_property
    def counts(self) -> tuple[str, ...]:
        """Names of the counts the formula reads, in order of appearance."""
        names = [node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)]
        return tuple(dict.fromkeys(names))

    def evaluate(self, sums: Mapping[str, Array]) -> Array:
        """The metric of many sets of sums at once.

        Args:
            sums: one array per count, any shape, the same for all (one entry per resample).
        Returns:
            Values of that shape; nan where a denominator is 0.
        """

        def visit(node: ast.expr) -> Any:
            if isinstance(node, ast.BinOp):
                return _OPERATORS[type(node.op)](visit(node.left), visit(node.right))
            if isinstance(node, ast.Name):
                return sums[node.id]
            assert isinstance(node, ast.Constant)  # nothing else passes `_tree`
            return float(node.value)  # type: ignore[arg-type]

        return np.asarray(visit(self._tree), dtype=float)

    def value(self, sums: Mapping[str, float]) -> float | None:
        """The metric of one set of sums; None where it is undefined. A count that is absent is 0."""
        value = float(self.evaluate({name: np.asarray(sums.get(name, 0.0), dtype=float) for name in self.counts}))
        return None if np.isnan(value) else value

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON, for the manifest; `Metric(**metric.as_dict())` gives it back."""
        return asdict(self)


def sum_counts(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Sum of each count over samples; a count that a row does not have adds nothing."""
    sums: dict[str, float] = {}
    for row in rows:
        for name, value in row.items():
            sums[name] = sums.get(name, 0.0) + value
    return sums


def count_matrix(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> Array:
    """Counts of all samples as a matrix, shape (samples, names)."""
    absent = (0.0,) * len(names)
    counts = chain.from_iterable(map(row.get, names, absent) for row in rows)
    return np.fromiter(counts, dtype=float, count=len(rows) * len(names)).reshape(len(rows), len(names))
