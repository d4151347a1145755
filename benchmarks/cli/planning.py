"""What the command line asks for: benchmarks with their options, and a plan for each."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import BENCHMARKS, LOGGED
from benchmarks.cli.protocol import chosen, decoding
from evalkit.cli.arguments import sampling_from
from evalkit.errors import DataError, UsageError
from evalkit.text.thoughts import STANDARD, Thoughts

if TYPE_CHECKING:
    from evalkit.benchmark import Benchmark
    from evalkit.harness.asked import Asked
    from evalkit.harness.stages import Plan

SHORTHANDS = ("image_ids", "references", "variant")  # options with a flag of their own


def plans_of(options: argparse.Namespace) -> "list[Plan]":
    """A plan per task of the command line."""
    from evalkit.harness.stages import plan

    shard = _shard(options.shard)
    names = [name for name in dict.fromkeys(options.tasks.replace(" ", ",").split(",")) if name]
    if not names:
        raise UsageError("--tasks names no benchmark")
    check_settings(options.set, names)
    plans = []
    for name in names:
        benchmark, origin = benchmark_of(options, name)
        sampling = sampling_from(options, decoding(options, benchmark.name, benchmark.sampling))
        thoughts, asked = thoughts_of(options) or STANDARD, asked_from(options)
        plans.append(plan(benchmark, sampling, options.limit, shard, origin, thoughts=thoughts, asked=asked))
    if getattr(options, "engine", None) != "replay":
        _need_images(plans)
    return plans


def thoughts_of(options: argparse.Namespace) -> "Thoughts | None":
    """--thoughts; None where it is not given.

    Raises:
        UsageError: if it cannot be read.
    """
    text = getattr(options, "thoughts", None)
    return None if text is None else Thoughts.parse(text)


def asked_from(options: argparse.Namespace) -> "Asked":
    """Blind baselines and changed prompts that the command line asks for."""
    from evalkit.harness.asked import Asked

    return Asked(getattr(options, "image_ablation", None), getattr(options, "prompt_baseline", None))


def _need_images(plans: "list[Plan]") -> None:
    """A model must not be asked about images that nobody showed it."""
    for work in plans:
        blind = [item.id for item in work.items if item.image is None and work.benchmark.needs_image(item)]
        if blind:
            name = work.benchmark.name
            raise DataError(
                f"{name}: {len(blind)} items have no image, e.g. {blind[0]!r}; name the image folder with "
                f"--set {name}.images=DIR, or lay the data out as `evalkit doctor {name}` says and give --data"
            )


def benchmark_of(options: argparse.Namespace, name: str) -> "tuple[Benchmark, dict[str, Any]]":
    """A benchmark, and how to build it again; responses made elsewhere are scored without images."""
    from benchmarks.cli.registry import build, located, options_of

    name = name.replace("-", "_") if name.replace("-", "_") in BENCHMARKS else name
    known = options_of(name)
    settings = located(name, Path(options.data)) if options.data and not options.world else {}
    settings |= {key: getattr(options, key) for key in SHORTHANDS if getattr(options, key) and key in known}
    made_elsewhere = bool(getattr(options, "responses", None)) and not options.world
    if made_elsewhere and "without_images" in known and "images" not in settings:
        settings["without_images"] = "true"
    published = chosen(options)
    settings |= published.options(name) if published is not None else {}
    settings |= _task_settings(options.set, name)
    world = options.world.resolve() if options.world else None
    origin = {"name": name, "options": settings, "world": str(world) if world else None}
    return build(name, settings, world), origin


def rebuild(options: argparse.Namespace) -> "Callable[[str, Mapping[str, Any]], Benchmark]":
    """Builds the benchmark of a stored run: its own options, with those of this command line over them."""
    from benchmarks.cli.registry import build

    def rebuilt(name: str, origin: "Mapping[str, Any]") -> "Benchmark":
        stored = dict(origin.get("options") or {})
        world = options.world.resolve() if options.world else Path(origin["world"]) if origin.get("world") else None
        given = {key: getattr(options, key) for key in SHORTHANDS if getattr(options, key, None)}
        own = trusted(str(origin.get("name") or name), getattr(options, "benchmark", None))
        return build(own, stored | given | _task_settings(options.set, own), world)

    return rebuilt


def trusted(name: str, named: str | None = None) -> str:
    """The benchmark that a run folder names, if no code of the folder's choice is started by it.

    Args:
        named: "package.module:Class" that the user has named.
    Raises:
        UsageError: if it is not one of the program's own, nor the one that the user named.
    """
    if name.replace("-", "_") in BENCHMARKS or name in (named, LOGGED, *BENCHMARKS.values()):
        return name
    raise UsageError(
        f"the run names the benchmark {name!r}, which is not one of {', '.join(BENCHMARKS)}; a run folder starts no "
        "code by itself: if you trust it, repeat the name with --benchmark"
    )


def check_settings(pairs: list[str], names: list[str]) -> None:
    """A --set for a benchmark that is not asked for is probably a typo."""
    for pair in pairs:
        task = pair.partition("=")[0].rpartition(".")[0]
        if task and task.replace("-", "_") not in {*names, *(name.replace("-", "_") for name in names)}:
            raise UsageError(f"--set {pair!r}: {task!r} is not among --tasks: {', '.join(names)}")


def _task_settings(pairs: list[str], name: str) -> dict[str, str]:
    """The --set words of one benchmark."""
    settings: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        task, dot, option = key.rpartition(".")
        if not equals or not dot:
            raise UsageError(f"--set {pair!r}: expected BENCHMARK.OPTION=VALUE")
        if task.replace("-", "_") == name:
            settings[option] = value
    return settings


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    index, slash, count = text.partition("/")
    if not slash or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in (index, count)):
        raise UsageError(f"--shard {text[:40]!r}: expected I/N, e.g. 1/8")
    return int(index), int(count)
