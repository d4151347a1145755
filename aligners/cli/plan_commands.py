"""`evalkit align METHOD ... --plan`: what a run would take, from the configuration, the data and the tokenizer."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit.cli.arguments import positive
from evalkit.errors import UsageError

_SAMPLE = 32  # rows whose tokens are counted
_DEFAULT_TOKENS = (1024, 256)  # of a packed pair and of its responses, where no tokenizer can count them


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """--plan and what it may be told."""
    group = parser.add_argument_group("planning")
    group.add_argument("--plan", action="store_true", help="print memory, steps, tokens and hours; load no model")
    group.add_argument("--devices", type=positive, default=1, metavar="N", help="devices of the run (default 1)")
    group.add_argument("--strategy", default="ddp", metavar="S", help="ddp, fsdp, zero2, zero3 (default ddp)")
    group.add_argument("--tokens", type=positive, metavar="N", help="of one sequence, image tokens included")
    group.add_argument("--device-memory", type=float, metavar="GB", help="divide the micro-batch until it fits")
    group.add_argument("--tokens-per-second", type=float, metavar="T", help="of all devices together, for the hours")


def print_plan(options: argparse.Namespace, method: str, overrides: Mapping[str, Any]) -> int:
    """Print the plan of one of the three methods."""
    stages = {"ddpo": _ddpo, "rlaif": _rlaif, "fact-rlhf": _fact_rlhf}[method](options, overrides)
    for title, settings, work in stages:
        print(title)
        for line in stage_lines(options, settings, work):
            print(f"  {line}")
    return 0


def stage_lines(options: argparse.Namespace, settings: Any, work: Any) -> list[str]:
    """The plan of one stage, its micro-batch divided until it fits into `--device-memory`.

    Raises:
        UsageError: if the configuration cannot be read, or the batch cannot be divided over the devices.
    """
    from aligners.plan.estimate import estimate
    from aligners.plan.skeleton import skeleton
    from aligners.plan.table import GB, plan_lines
    from aligners.training.policy import wants_checkpointing, wants_lora
    from aligners.training.settings import halved

    config = read_config(options.model)
    model = skeleton(config)
    share, left = divmod(settings.batch_size, work.devices)
    if left or not share:
        raise UsageError(f"batch size {settings.batch_size} cannot be divided over {work.devices} devices")
    micro = settings.micro_batch_size or share
    if share % micro:
        raise UsageError(f"{share} rows a device cannot be divided into micro-batches of {micro}")
    while True:
        plan = estimate(
            config, settings, work, lora=wants_lora(model, settings),
            checkpointing=wants_checkpointing(model, settings),
            bf16=settings.bf16 is not False, micro_batch=micro,
        )  # fmt: skip
        limit = options.device_memory
        if limit is None or plan.peak <= limit * GB:
            return plan_lines(plan, work, options.tokens_per_second)
        if micro == 1 or settings.micro_batch_size:
            need = f"does not fit: {plan.peak / GB:.1f} GB of {limit:g} GB"
            return [*plan_lines(plan, work, options.tokens_per_second), need]
        micro = halved(micro)


def read_config(source: str) -> Any:
    """The configuration of a checkpoint folder or hub name.

    Raises:
        UsageError: if there is none.
    """
    from transformers import AutoConfig

    from evalkit.engines.model.loading import load_front
    from evalkit.errors import EngineError

    try:
        return load_front(source).config
    except EngineError:  # no processor beside the configuration, which a plan can do without
        try:
            return AutoConfig.from_pretrained(source)
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"{source}: its configuration cannot be read: {error}") from error


def _work(options: argparse.Namespace, rows: int, counted: Sequence[tuple[int, int]], sequences: int = 1) -> Any:
    """A workload; `counted` are (tokens, response tokens) of some sequences."""
    from aligners.plan.estimate import Workload

    tokens, response_tokens = max(counted, default=_DEFAULT_TOKENS)
    mean = sum(t for t, _ in counted) / len(counted) if counted else None
    if options.tokens is not None:
        tokens, response_tokens, mean = options.tokens, min(response_tokens, options.tokens // 2), None
    return Workload(
        rows=rows, tokens=tokens, response_tokens=response_tokens, mean_tokens=mean, sequences=sequences,
        devices=options.devices, strategy=options.strategy,
    )  # fmt: skip


def _ddpo(options: argparse.Namespace, overrides: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    import tempfile

    from aligners.ddpo import dpo_settings
    from aligners.preference.datasets import read_preferences

    settings = dpo_settings(options.preset, **overrides)
    with tempfile.TemporaryDirectory() as images:
        pairs = read_preferences(options.data, Path(images))
        counted = [] if options.tokens else _pair_tokens(options.model, pairs[:_SAMPLE], settings)
    return [(f"training on {len(pairs):,} pairs", settings, _work(options, len(pairs), counted))]


def _pair_tokens(model: str, pairs: Sequence[Any], settings: Any) -> list[tuple[int, int]]:
    """(tokens, response tokens) of packed pairs, by the checkpoint's own processor; empty where it does not load."""
    from aligners.preference.encoding import PairEncoder
    from evalkit.engines.model.encoding import PromptEncoder
    from evalkit.engines.model.loading import load_front
    from evalkit.errors import DataError, EngineError

    try:
        prompts = PromptEncoder(load_front(model).processor, settings.chat_template)
        encoder = PairEncoder(prompts, prompts.pad_id)
        rows = [encoder.tokenize(pair) for pair in pairs]
        return [(encoder.prompt_tokens(row.prompt) + row.tokens, row.tokens) for row in rows]
    except (EngineError, DataError) as error:
        print(f"tokens are not counted but assumed ({_DEFAULT_TOKENS[0]} a pair): {error}")
        return []


def _rlaif(options: argparse.Namespace, overrides: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    from aligners.feedback.instructions import read_instructions
    from aligners.rlaif import rlaif_settings

    settings = rlaif_settings(options.preset, overrides)
    prompts = min(settings.prompts_per_round, len(read_instructions(options.prompts)))
    candidates = prompts * settings.candidates
    print(f"{settings.iterations} iterations of {prompts:,} prompts, {candidates:,} candidates")
    print(f"  generation      at most {candidates * settings.max_new_tokens:,} tokens an iteration")
    rows = prompts * settings.pairs_per_image
    return [(f"training on at most {rows:,} pairs an iteration", settings, _work(options, rows, []))]


def _fact_rlhf(options: argparse.Namespace, overrides: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    from aligners.fact_rlhf.files import read_comparisons, read_rollout_prompts
    from aligners.fact_rlhf.settings import fact_rlhf_settings, reward_model_settings
    from aligners.training.settings import ModelSettings, TrainingSettings

    settings = fact_rlhf_settings(options.preset, **overrides)
    rows, prompts = (
        len(read_comparisons(options.comparisons, options.images)),
        len(read_rollout_prompts(options.prompts, options.images)),
    )
    rollouts = settings.rollouts(prompts)
    shared = {name: getattr(settings, name) for name in ModelSettings.__dataclass_fields__}
    ppo = TrainingSettings(
        **shared | {"micro_batch_size": settings.responses_at_once},
        learning_rate=settings.learning_rate,
        batch_size=settings.step_size,
        max_steps=rollouts * settings.inner_epochs * max(1, settings.rollout_size // settings.step_size),
    )
    print(f"{rollouts:,} rollouts of {settings.rollout_size} responses, at most {settings.response_limit} tokens each")
    others = "reward model and value model" if settings.rl == "ppo" else "the reward model"
    print(f"  {settings.rl.upper()} holds policy and reference in one set of weights and {others} in another where")
    print("  adapters are trained, each in its own otherwise: the figures below are of the policy alone")
    one = replace(_work(options, rows, [_DEFAULT_TOKENS], sequences=2), loads_whole=True)
    policy = replace(one, rows=prompts, sequences=1)
    return [
        ("reward model", reward_model_settings(settings), one),
        (f"{settings.rl.upper()}, policy", ppo, policy),
    ]
