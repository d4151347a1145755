"""The judge that the command line asks for."""

import argparse
from typing import TYPE_CHECKING

from benchmarks.cli.planning import thoughts_of
from evalkit.cli.engines import named_engine, with_extra
from evalkit.cli.options import key_values
from evalkit.errors import UsageError
from evalkit.text.thoughts import STANDARD

if TYPE_CHECKING:
    from evalkit.engines import Engine
    from evalkit.harness.judge import Judge
    from evalkit.harness.prices import Price

RULES = "rules"


def judge_from(options: argparse.Namespace) -> "Judge | None":
    """A judge from --judge and what goes with it; None without --judge."""
    if options.judge is None:
        return None
    from evalkit.files.cache import Cache, cache_folder
    from evalkit.harness.judge import Judge
    from evalkit.harness.prices import Budget

    price = price_from(options)
    budget = Budget.parse(options.budget, price) if options.budget else None
    return Judge(
        _engine(options),
        cache=Cache(cache_folder() / "judge.sqlite"),
        budget=budget,
        max_new_tokens=options.judge_max_tokens,
        thoughts=thoughts_of(options) or STANDARD,
    )


def price_from(options: argparse.Namespace) -> "Price | None":
    """--price, read for the judge's model."""
    from evalkit.harness.prices import read_price

    return read_price(options.price, options.judge or "") if options.price else None


def _engine(options: argparse.Namespace) -> "Engine":
    kind = RULES if options.judge == RULES else options.judge_engine
    texts = with_extra(key_values(options.judge_args, "--judge-args"), options, kind, "--judge-extra")
    if options.judge == RULES:
        from benchmarks.judges.rules import RulesJudge

        if texts or options.judge_base_url:
            raise UsageError("the rules judge takes no --judge-args and no --judge-base-url")
        return RulesJudge()
    if options.judge_engine == "openai":
        base_url, given = options.judge_base_url, {"prefix": "JUDGE"}
        return named_engine("openai", options.judge, texts, "--judge-args", base_url=base_url, given=given)
    if options.judge_base_url:
        raise UsageError(f"--judge-base-url is for --judge-engine openai, not {options.judge_engine}")
    return named_engine(options.judge_engine, options.judge, texts, "--judge-args")
