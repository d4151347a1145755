"""Sub-command export: a run's responses in the formats that the authors' scripts read."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import BENCHMARKS
from evalkit.errors import UsageError

if TYPE_CHECKING:
    from evalkit.formats.exporters import Export


def add_export_command(commands: Any) -> None:
    """Add `evalkit export`."""
    export = commands.add_parser("export", help="write a run's responses in the authors' own formats")
    export.add_argument("run", type=Path, nargs="?", metavar="RUN")
    export.add_argument(
        "--format", required=True, metavar="F", help="amber, chair, pope, mmhal, ...; `list` lists them"
    )
    export.add_argument("--output", type=Path, metavar="FILE")
    export.add_argument("--sample", type=int, metavar="K", help="which of several responses per item, from 0")
    export.add_argument(
        "--benchmark",
        metavar="PACKAGE.MODULE:CLASS",
        help="a benchmark of your own that the run names, for its formats",
    )
    export.add_argument("--omit-failures", action="store_true", help="leave failed responses out")
    export.add_argument(
        "--keep-formulas",
        action="store_true",
        help="csv: no apostrophe before a text that a spreadsheet would run as a formula",
    )
    export.add_argument(
        "--template", type=Path, metavar="FILE", help="the authors' file to fill in, for formats that need one"
    )
    export.set_defaults(command=export_responses)


def export_responses(options: argparse.Namespace) -> int:
    """`evalkit export`."""
    from evalkit.formats.exporters import EXPORTS, export_run

    declared = _declared(options.run, options.benchmark)
    known = {**{export.name: export for export in declared}, **EXPORTS}
    if options.format == "list":
        for name, export in known.items():
            print(f"{name:<18} {export.suffix:<7} {export.about}")
        return 0
    if options.run is None:
        raise UsageError("export: name the run to export, e.g. runs/llava/chair")
    suffix = known[options.format].suffix if options.format in known else ".json"
    output = options.output or Path(f"{options.run.parent.name}_{options.run.name}_{options.format}{suffix}")
    for path in export_run(
        options.run,
        options.format,
        output,
        omit_failures=options.omit_failures,
        sample=options.sample,
        template=options.template,
        exports=declared,
        formulas=options.keep_formulas,
    ):
        print(path)
    return 0


def _declared(run: Path | None, named: str | None) -> "list[Export]":
    """Formats that the benchmarks declare; those of a benchmark outside of the program only if the user names it."""
    from benchmarks.cli.registry import benchmark_class
    from evalkit.runs.records import MANIFEST, read_manifest

    names = list(BENCHMARKS)
    if run is not None and (run / MANIFEST).exists():
        own = str((read_manifest(run).get("origin") or {}).get("name", ""))
        if ":" in own and own == named:
            names.append(own)
    return [export for name in names for export in benchmark_class(name).exports]
