"""What judging costs: a price per token, a forecast before the first call, a budget that is never exceeded.

The project ships no prices, they change: a price comes from the command line or from a TOML table like

    ["some-model"]
    usd_per_million_in = 2.5
    usd_per_million_out = 10.0
"""

import math
import threading
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from evalkit.engines.served.chat import MOST_TOKENS
from evalkit.engines.served.completions import Attempt
from evalkit.errors import DataError, UsageError
from evalkit.schema import Prompt

CHARACTERS_PER_TOKEN = (5.0, 3.0)  # English text, few tokens and many
TOKENS_PER_IMAGE = (85, 1600)  # from a thumbnail's price to a large photograph's, over current models
TOKENS_PER_MESSAGE = 10  # what a chat template adds
FEW_TOKENS_OUT = 20  # a short reply; the upper end is the token limit


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    usd_per_million_in: float
    usd_per_million_out: float

    def usd(self, tokens_in: float, tokens_out: float) -> float:
        """Cost of a number of tokens."""
        return (tokens_in * self.usd_per_million_in + tokens_out * self.usd_per_million_out) / 1e6


def read_price(text: str, model: str) -> Price:
    """A price from "IN,OUT" (US dollars per million tokens), or from a TOML table of models.

    Raises:
        UsageError: if the text is neither.
        DataError: if the table has no usable row for the model.
    """
    numbers = text.split(",")
    if len(numbers) == 2:
        try:
            return Price(_amount(numbers[0], text), _amount(numbers[1], text))
        except ValueError as error:
            raise UsageError(f"expected a price like 2.5,10 (US dollars per million tokens), got {text!r}") from error
    path = Path(text)
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"price table {text}: {error}; expected a TOML file, or a price like 2.5,10") from error
    row = table.get(model)
    if not isinstance(row, dict):
        raise DataError(f"{path}: no table for model {model!r}; it has {', '.join(map(repr, table)) or 'none'}")
    try:
        return Price(
            _amount(row["usd_per_million_in"], f"{path}: {model}"),
            _amount(row["usd_per_million_out"], f"{path}: {model}"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: {model!r} needs numbers usd_per_million_in and usd_per_million_out") from error


def _believed(reported: int | None, held: int) -> int:
    """Tokens as the server tells them, or as they were held."""
    return held if reported is None or not 0 <= reported <= MOST_TOKENS else reported


def _amount(value: object, where: str) -> float:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise TypeError(where)
    amount = float(value)
    if not math.isfinite(amount) or amount < 0:
        raise ValueError(where)
    return amount


def prompt_tokens(prompt: Prompt) -> tuple[int, int]:
    """Tokens of a prompt, estimated from its length: (few, many)."""
    characters = sum(map(len, prompt.texts))
    few, many = (math.ceil(characters / ratio) + TOKENS_PER_MESSAGE for ratio in CHARACTERS_PER_TOKEN)
    return few + TOKENS_PER_IMAGE[0] * len(prompt.images), many + TOKENS_PER_IMAGE[1] * len(prompt.images)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a judge would be asked; each pair is (low, high).

    stored      requests that a journal or the cache answers
    calls       low: each other request is answered at once; high: each is asked again to the last
    tokens_in   estimated from the length of the texts
    tokens_out  short replies; replies at the token limit
    usd         None without a price
    """

    requests: int
    stored: int
    calls: tuple[int, int]
    tokens_in: tuple[int, int]
    tokens_out: tuple[int, int]
    usd: tuple[float, float] | None

    def __str__(self) -> str:
        lines = [
            f"{self.requests:,} requests, {self.stored:,} of them answered before",
            f"calls       {self.calls[0]:,} to {self.calls[1]:,}",
            f"tokens in   {self.tokens_in[0]:,} to {self.tokens_in[1]:,} (estimated from text length)",
            f"tokens out  {self.tokens_out[0]:,} to {self.tokens_out[1]:,}",
            "cost        " + ("no price known" if self.usd is None else f"{self.usd[0]:.2f} to {self.usd[1]:.2f} USD"),
        ]
        return "\n".join(lines)


def forecast(
    prompts: Iterable[Prompt], requests: int, max_new_tokens: int, asked_at_most: int, price: Price | None
) -> Forecast:
    """Forecast for the prompts still to be asked, out of all requests.

    Args:
        asked_at_most: calls per prompt if no reply can be read.
    """
    sizes = [prompt_tokens(prompt) for prompt in prompts]
    calls = (len(sizes), len(sizes) * asked_at_most)
    tokens_in = (sum(few for few, _ in sizes), sum(many for _, many in sizes) * asked_at_most)
    tokens_out = (calls[0] * min(FEW_TOKENS_OUT, max_new_tokens), calls[1] * max_new_tokens)
    usd = None if price is None else (price.usd(tokens_in[0], tokens_out[0]), price.usd(tokens_in[1], tokens_out[1]))
    return Forecast(requests, requests - len(sizes), calls, tokens_in, tokens_out, usd)


@dataclass
class Budget:
    """A limit on calls, tokens or US dollars.

    A call is let through only if what is spent, what is under way and the call itself fit, each unfinished call taken
    at its largest: the whole token limit, and the high estimate of its prompt.
    """

    calls: float = math.inf
    tokens: float = math.inf
    usd: float = math.inf
    price: Price | None = None
    spent_calls: int = 0
    spent_tokens: int = 0
    spent_usd: float = 0.0
    _under_way: dict[str, tuple[int, int]] = field(default_factory=dict, repr=False)  # prompt id -> tokens in, out
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        if self.usd < math.inf and self.price is None:
            raise UsageError("a budget in US dollars needs a price: give --price IN,OUT or a price table")
        if min(self.calls, self.tokens, self.usd) < 0:
            raise UsageError("a budget cannot be negative")

    @classmethod
    def parse(cls, text: str, price: Price | None = None) -> "Budget":
        """From "calls:500", "tokens:2e6", "usd:5", or several of them separated by commas; a bare number is USD.

        Raises:
            UsageError: if it cannot be read.
        """
        limits = dict.fromkeys(("calls", "tokens", "usd"), math.inf)
        for part in text.split(","):
            unit, _, number = part.strip().rpartition(":")
            if (unit or "usd") not in limits:
                raise UsageError(f"unknown budget unit {unit!r}; known: {', '.join(limits)}")
            try:
                limits[unit or "usd"] = _amount(number, text)
            except ValueError as error:
                raise UsageError(f"expected a budget like calls:500, tokens:2e6 or usd:5, got {text!r}") from error
        return cls(limits["calls"], limits["tokens"], limits["usd"], price)

    def reserve(self, prompt: Prompt, max_new_tokens: int) -> bool:
        """Whether the call still fits; if it does it counts as under way until `charge`."""
        most_in = prompt_tokens(prompt)[1]
        with self._lock:
            held = [*self._under_way.values(), (most_in, max_new_tokens)]
            fits = (
                self.spent_calls + len(held) <= self.calls
                and self.spent_tokens + sum(map(sum, held)) <= self.tokens
                and self.spent_usd + sum(self._usd(*tokens) for tokens in held) <= self.usd
            )
            if fits:
                self._under_way[prompt.id] = (most_in, max_new_tokens)
            return fits

    def charge(self, prompt_id: str, attempts: Iterable[Attempt]) -> None:
        """A call is over: count what its attempts used.

        Every request that was sent is a call, whatever came back. An attempt without any reply costs no tokens; one
        whose tokens the server does not tell, or tells beyond belief, costs what was held for it.
        """
        with self._lock:
            held_in, held_out = self._under_way.pop(prompt_id, (0, 0))
            for attempt in attempts:
                if not attempt.sent:
                    continue
                self.spent_calls += 1
                if attempt.error is not None and attempt.tokens_out is None and attempt.raw is None:
                    continue
                if attempt.error is not None and attempt.error.startswith("HTTP "):
                    continue
                tokens_in = _believed(attempt.tokens_in, held_in)
                tokens_out = _believed(attempt.tokens_out, held_out)
                self.spent_tokens += tokens_in + tokens_out
                self.spent_usd += self._usd(tokens_in, tokens_out)

    def _usd(self, tokens_in: int, tokens_out: int) -> float:
        return self.price.usd(tokens_in, tokens_out) if self.price else 0.0

    def __str__(self) -> str:
        spent = f"{self.spent_calls:,} calls, {self.spent_tokens:,} tokens"
        return spent + (f", {self.spent_usd:.4f} USD" if self.price else "")
