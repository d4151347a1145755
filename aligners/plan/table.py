"""A plan as text: what `--plan` prints."""

from collections.abc import Sequence

from aligners.plan.estimate import Estimate, Workload

GB = 1e9


def plan_lines(plan: Estimate, work: Workload, tokens_per_second: float | None = None) -> list[str]:
    """Lines of a plan.

    Args:
        plan: the estimate.
        work: what it was made for.
        tokens_per_second: throughput of all devices together, measured or known; None: hours are not told.
    """
    kind = "LoRA adapter" if plan.lora else "full training"
    loading = "the first process" if plan.loads_once else "every process"
    recomputed = "with" if plan.checkpointing else "without"
    lines = [
        f"parameters      {plan.parameters.total / 1e9:.2f}e9, "
        f"of which trained {plan.parameters.trained / 1e6:,.0f}e6 ({kind})",
        f"devices         {work.devices} ({work.strategy})",
        f"micro-batch     {plan.micro_batch} a device, {plan.accumulation} accumulated, "
        f"{recomputed} gradient checkpointing",
        *(f"{name:15} {bytes_ / GB:6.1f} GB" for name, bytes_ in _parts(plan)),
        f"host memory     {plan.host / GB:6.1f} GB in {loading}, while loading",
        f"steps           {plan.steps:,} over {work.rows:,} rows",
        f"tokens          {plan.tokens:,}",
    ]
    if tokens_per_second is not None:
        lines.append(f"hours           {plan.hours(tokens_per_second):.1f} at {tokens_per_second:,.0f} tokens/s")
    else:
        lines.append("hours           unknown: give --tokens-per-second, e.g. that of the log of a short run")
    return lines


def _parts(plan: Estimate) -> Sequence[tuple[str, int]]:
    return (
        ("weights", plan.weights),
        ("gradients", plan.gradients),
        ("optimiser", plan.optimizer),
        ("activations", plan.activations),
        ("while loading", plan.loading),
        ("peak a device", plan.peak),
    )
