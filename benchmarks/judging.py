"""The judge that the command line asks for."""

import argparse
from typing import TYPE_CHECKING, Any

from evalkit.arguments import arguments_of, key_values, literal
from evalkit.errors import UsageError
from evalkit.startup import quick_imports

if TYPE_CHECKING:
    from evalkit.engines import Engine
    from evalkit.judge import Judge
    from evalkit.prices import Price

RULES = "rules"


def judge_from(options: argparse.Namespace) -> "Judge | None":
    """A judge from --judge and what goes with it; None without --judge."""
    if options.judge is None:
        return None
    from evalkit.cache import Cache, cache_folder
    from evalkit.judge import Judge
    from evalkit.prices import Budget

    price = price_from(options)
    budget = Budget.parse(options.budget, price) if options.budget else None
    return Judge(_engine(options), cache=Cache(cache_folder() / "judge.sqlite"), budget=budget)


def price_from(options: argparse.Namespace) -> "Price | None":
    """--price, read for the judge's model."""
    from evalkit.prices import read_price

    return read_price(options.price, options.judge or "") if options.price else None


def _engine(options: argparse.Namespace) -> "Engine":
    texts = key_values(options.judge_args, "--judge-args")
    if options.judge == RULES:
        from benchmarks.rules_judge import RulesJudge

        if texts or options.judge_base_url:
            raise UsageError("the rules judge takes no --judge-args and no --judge-base-url")
        return RulesJudge()
    if options.judge_engine == "openai":
        from evalkit.engines.openai import OpenAIEngine

        own = arguments_of(OpenAIEngine, texts, "--judge-args", ("urls", "prefix"))
        return OpenAIEngine(options.judge, options.judge_base_url, prefix="JUDGE", **own)
    if options.judge_base_url:
        raise UsageError(f"--judge-base-url is for --judge-engine openai, not {options.judge_engine}")
    if options.judge_engine == "vllm":
        with quick_imports():
            from evalkit.engines.vllm import VLLMEngine

        extra: dict[str, Any] = {key: literal(value) for key, value in texts.items()}
        return VLLMEngine(options.judge, **extra)
    with quick_imports():
        from evalkit.engines.transformers import TransformersEngine

    return TransformersEngine(options.judge, **arguments_of(TransformersEngine, texts, "--judge-args"))
