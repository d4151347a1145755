"""Sub-command import: per-sample logs of other harnesses as ordinary runs."""

import argparse
from pathlib import Path
from typing import Any

from evalkit.cli.arguments import default_output, folder_name


def add_import_command(commands: Any) -> None:
    """Add `evalkit import`."""
    parser = commands.add_parser("import", help="logs of lmms-eval, VLMEvalKit, evalscope, inspect as ordinary runs")
    parser.add_argument("logs", nargs="+", type=Path, metavar="LOG", help="one per task, each with its scores")
    parser.add_argument("--label", required=True, help="name of the model in tables")
    parser.add_argument("--task", metavar="T", help="name of the task (default: from the file's name)")
    parser.add_argument("--metric", metavar="M", help="which of the log's metrics")
    parser.add_argument("--lower-is-better", action="store_true", help="the metric is an error rate")
    parser.add_argument("--output-path", type=Path, default=default_output(), metavar="DIR")
    parser.add_argument("--rescore", action="store_true", help="allow other settings than the run was made with")
    parser.set_defaults(command=import_logs)


def import_logs(options: argparse.Namespace) -> int:
    """`evalkit import`."""
    from benchmarks import LOGGED
    from benchmarks.logged import Logged
    from evalkit.engines.replay import StoredResponses
    from evalkit.errors import UsageError
    from evalkit.harness.stages import generate, plan, score
    from evalkit.reports.runs import table
    from evalkit.reports.tables import terminal_width
    from evalkit.sampling import Sampling

    if options.task and len(options.logs) > 1:
        raise UsageError("--task names one task; import one log at a time")
    summaries = []
    for path in options.logs:
        benchmark = Logged(path, options.metric, options.task, options.lower_is_better)
        settings = {"log": str(path.resolve()), "metric": benchmark.read.metric, "task": benchmark.name}
        if options.lower_is_better:
            settings["lower_is_better"] = "true"
        origin = {"name": LOGGED, "options": settings, "world": None}
        work = plan(benchmark, Sampling(), origin=origin, decoding_known=False)
        run_dir = options.output_path / folder_name(options.label) / folder_name(benchmark.name)
        model = {"engine": "import", "model": options.label, "harness": benchmark.read.harness}
        generate(work, StoredResponses(benchmark.responses(), model), run_dir, options.label)
        summaries.append(score(work, run_dir, rescore=options.rescore))
    print(table([summary.run_dir for summary in summaries], width=terminal_width()))
    print(f"\nkept in {', '.join(str(summary.run_dir) for summary in summaries)}")
    return 0
