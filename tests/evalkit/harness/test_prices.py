"""Prices, budgets, forecasts."""

import pytest

from evalkit.engines.served.completions import Attempt
from evalkit.errors import DataError, UsageError
from evalkit.harness.prices import Budget, Price, forecast, prompt_tokens, read_price
from evalkit.schema import Prompt


def test_a_price_is_per_million_tokens():
    assert Price(2.5, 10.0).usd(1_000_000, 500_000) == 7.5
    assert Price(2.5, 10.0).usd(0, 0) == 0


def test_a_price_is_read_from_two_numbers_or_a_table(tmp_path):
    assert read_price("2.5,10", "any") == Price(2.5, 10.0)
    table = tmp_path / "prices.toml"
    table.write_text('["a/b"]\nusd_per_million_in = 1\nusd_per_million_out = 4.5\n')
    assert read_price(str(table), "a/b") == Price(1.0, 4.5)
    with pytest.raises(DataError, match="no table for model 'c'; it has 'a/b'"):
        read_price(str(table), "c")


@pytest.mark.parametrize("text", ["2.5", "a,b", "-1,2", "nan,2", "1,2,3", "inf,1", "missing.toml"])
def test_what_is_no_price_is_refused(text):
    with pytest.raises(UsageError, match="price"):
        read_price(text, "m")


@pytest.mark.parametrize("row", ["usd_per_million_in = 1", 'usd_per_million_in = "x"\nusd_per_million_out = 1', ""])
def test_an_incomplete_row_of_the_table_is_refused(tmp_path, row):
    (tmp_path / "p.toml").write_text(f"[m]\n{row}\n")
    with pytest.raises(DataError, match="'m' needs numbers"):
        read_price(str(tmp_path / "p.toml"), "m")


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("calls:500", (500, None, None)),
        ("tokens:2e6", (None, 2e6, None)),
        ("usd:5", (None, None, 5)),
        ("5", (None, None, 5)),
        ("calls:10, usd:0.5", (10, None, 0.5)),
    ],
)
def test_a_budget_is_read_from_text(text, limits):
    budget = Budget.parse(text, Price(1, 1))
    inf = float("inf")
    assert (budget.calls, budget.tokens, budget.usd) == tuple(inf if limit is None else limit for limit in limits)


@pytest.mark.parametrize("text", ["", "calls:x", "euro:5", "usd:-1", "usd:nan", "calls:", "calls:1;usd:2"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(UsageError):
        Budget.parse(text, Price(1, 1))


def test_a_budget_in_dollars_needs_a_price():
    with pytest.raises(UsageError, match="needs a price"):
        Budget.parse("usd:5")


def test_calls_under_way_count_at_their_largest_until_they_are_charged():
    prompts = [Prompt(str(n), "x" * 30) for n in range(4)]
    most = prompt_tokens(prompts[0])[1] + 50
    budget = Budget(tokens=2 * most)
    assert [budget.reserve(prompt, 50) for prompt in prompts] == [True, True, False, False]
    budget.charge(
        "0", [Attempt("hm", error="empty content", tokens_in=4, tokens_out=1), Attempt("a", None, None, 4, 2)]
    )
    assert (budget.spent_calls, budget.spent_tokens) == (2, 11)
    assert not budget.reserve(prompts[2], 50)
    budget.charge("1", [Attempt(None, error="HTTP 500")])
    assert budget.spent_tokens == 11
    assert budget.reserve(prompts[2], 50)


def test_a_call_whose_tokens_are_not_told_costs_what_was_held_for_it():
    budget = Budget(tokens=1000)
    budget.reserve(Prompt("a", "x" * 30), 50)
    budget.charge("a", [Attempt("text")])
    assert budget.spent_tokens == prompt_tokens(Prompt("a", "x" * 30))[1] + 50


def test_a_forecast_spans_short_replies_to_full_ones_asked_again():
    prompts = [Prompt(str(n), "x" * 300) for n in range(10)]
    found = forecast(prompts, 12, max_new_tokens=100, asked_at_most=3, price=Price(1.0, 2.0))
    assert (found.requests, found.stored, found.calls, found.tokens_out) == (12, 2, (10, 30), (200, 3000))
    assert found.tokens_in == (10 * 70, 30 * 110)
    assert found.usd == pytest.approx((0.0011, 0.0093))
    assert "10 to 30" in str(found)
    assert "no price known" in str(forecast(prompts, 12, 100, 3, None))


@pytest.mark.parametrize("told", [-1, 10**12, 10**400, None])
def test_tokens_beyond_belief_cost_what_was_held(told):
    budget = Budget(usd=1.0, price=Price(1.0, 1.0))
    prompt = Prompt("a", "x" * 30)
    assert budget.reserve(prompt, 50)
    budget.charge("a", [Attempt("text", None, None, told, told)])
    assert budget.spent_tokens == prompt_tokens(prompt)[1] + 50


@pytest.mark.parametrize("error", ["HTTP 500", "no reply within 5 s", "reply is HTML", "redirected to http://x"])
def test_every_request_that_was_sent_is_a_call(error):
    budget = Budget(calls=2)
    assert budget.reserve(Prompt("a", "x"), 5)
    budget.charge("a", [Attempt(None, error=error), Attempt(None, error=error)])
    assert budget.spent_calls == 2
    assert not budget.reserve(Prompt("b", "x"), 5)


def test_a_request_that_never_left_is_none():
    budget = Budget(calls=1)
    assert budget.reserve(Prompt("a", "x"), 5)
    budget.charge("a", [Attempt(None, error="cannot connect", sent=False)])
    assert budget.spent_calls == 0
