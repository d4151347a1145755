"""Policy, splitter and labeler of `evalkit align rlaif`, each on an engine of its own."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.arguments import positive
from evalkit.cli.engines import named_engine
from evalkit.cli.options import key_values
from evalkit.errors import UsageError

if TYPE_CHECKING:
    from aligners.feedback.splitting import Splitter
    from evalkit.engines.base import Engine

KINDS = ("transformers", "vllm", "openai")


@dataclass(frozen=True, slots=True)
class Roles:
    """What plays which part; None: the policy labels itself, rules split."""

    open_policy: "Callable[[Path | str], Engine]"
    labeler: "Engine | None"
    splitter: "Splitter | None"


def add_role_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model labels and splits, and on which engine each of the three runs."""
    group = parser.add_argument_group("engines of policy, labeler and splitter")
    group.add_argument(
        "--labeler", metavar="M", help="model that answers the polar questions (default: the policy itself)"
    )
    group.add_argument("--splitter", metavar="M", help="model that divides responses into claims (default: by rules)")
    for role in ("policy", "labeler", "splitter"):
        only = "; openai with --stage candidates" if role == "policy" else ""
        group.add_argument(
            f"--{role}-engine", choices=KINDS, default="transformers", metavar="E", help=f"{', '.join(KINDS)}{only}"
        )
        group.add_argument(
            f"--{role}-args", action="append", default=[], metavar="KEY=VALUE", help="anything else its engine takes"
        )
        group.add_argument(
            f"--{role}-url", action="append", metavar="URL", help="server of its openai engine; repeat for a fleet"
        )
    group.add_argument(
        "--batch-size", type=positive, default=8, metavar="N", help="prompts per forward pass of labeler and splitter"
    )


def engines_of(options: argparse.Namespace) -> Roles:
    """The roles that the command line asks for; nothing is opened yet."""
    from aligners.feedback.roles import OnDemand
    from aligners.feedback.splitting import ModelSplitter

    def opener(role: str, model: str | Path, batch_size: int) -> "Engine":
        kind, urls = getattr(options, f"{role}_engine"), getattr(options, f"{role}_url", None)
        texts = key_values(getattr(options, f"{role}_args"), f"--{role}-args")
        if kind == "openai":
            return named_engine(kind, str(model), texts, f"--{role}-args", base_url=urls)
        if urls:
            raise UsageError(f"--{role}-url is for --{role}-engine openai")
        given: dict[str, Any] = {"batch_size": batch_size} if kind == "transformers" else {}
        return named_engine(kind, str(model), texts, f"--{role}-args", given=given)

    if options.policy_engine == "openai" and options.stage not in ("candidates", "claims", "judgements"):
        raise UsageError(
            "a server keeps the weights it was started with: --policy-engine openai is for --stage candidates, "
            "with a server of that iteration's policy"
        )
    labeler = splitter = None
    if options.labeler:
        labeler = OnDemand(lambda: opener("labeler", options.labeler, options.batch_size), "labeler")
    if options.splitter:
        engine = OnDemand(lambda: opener("splitter", options.splitter, options.batch_size), "splitter")
        splitter = ModelSplitter(engine)
    return Roles(lambda checkpoint: opener("policy", checkpoint, 32), labeler, splitter)
