"""Sub-commands `evalkit dashboard` and `evalkit annotate`: both serve the app."""

import argparse
import os
import socket
import subprocess
import sys
import webbrowser
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dashboard.server import ENDS_WITH_STDIN
from evalkit.cli.arguments import EXIT_ABORTED, default_output, positive
from evalkit.errors import UsageError

if TYPE_CHECKING:
    from evalkit.annotation.study import Study

ADDRESS = "127.0.0.1"
FIRST_PORT, PORTS_TRIED = 8501, 100
TASKS, SHOWN = ("mark", "correct", "compare"), ("reference", "boxes", "findings")
MOST_LINKS = 50  # annotators whose links are printed

# No telemetry, no remote fonts or links; no theme file in the user's folder is needed
SETTINGS = {
    "server.address": ADDRESS,
    "server.allowedHosts": ["localhost", ADDRESS],
    "server.fileWatcherType": "none",
    "server.enableStaticServing": "false",
    "server.showEmailPrompt": "false",
    "browser.serverAddress": ADDRESS,
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "type",
    "client.showErrorLinks": "false",
    "runner.magicEnabled": "false",
    "logger.hideWelcomeMessage": "true",
    "theme.paddingTop": "1rem",
    "theme.light.primaryColor": "#0958a6",
    "theme.dark.primaryColor": "#5aa9ff",
    "theme.light.backgroundColor": "#ffffff",
    "theme.dark.backgroundColor": "#11151c",
    "theme.light.secondaryBackgroundColor": "#f3f5f8",
    "theme.dark.secondaryBackgroundColor": "#1b222d",
    "theme.light.textColor": "#1b1f24",
    "theme.dark.textColor": "#e6e9ee",
}
ANNOTATE = """Show stored responses to people and keep what they say of them: marks, corrections or
comparisons. The first call draws a study from the runs and writes it to --study; later calls
open it again (no RUN needed). `evalkit annotations` counts, measures agreement and exports;
`evalkit align ddpo --data STUDY` trains on it.

  evalkit annotate runs/base/chair --task correct --items 200 --study corrections
  evalkit annotate --study corrections --host 0.0.0.0 --public-url http://labs.example.org:8501

Everybody has a link with a token; keep the owner's to yourself. Nothing is sent anywhere.
"""


def add_commands(commands: Any) -> None:
    """Add this layer's sub-commands."""
    dashboard = commands.add_parser("dashboard", help="look at runs, samples and alignments in the browser")
    dashboard.add_argument("runs", nargs="*", type=Path, metavar="RUNS", help="run folders, or folders above them")
    _add_serving(dashboard)
    dashboard.add_argument(
        "--published",
        type=Path,
        metavar="FILE",
        help="published rows to show, marked as such: made by `evalkit report RUNS --published --format json`",
    )
    dashboard.set_defaults(command=open_dashboard)

    annotate = commands.add_parser(
        "annotate",
        help="mark, correct or compare responses in the browser",
        description=ANNOTATE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    annotate.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="scored runs to draw a new study from")
    annotate.add_argument("--study", type=Path, default=Path("study"), metavar="DIR", help="default: study")
    _add_drawing(annotate.add_argument_group("a new study"))
    _add_serving(annotate)
    annotate.add_argument("--host", metavar="H", help=f"address to listen on (default {ADDRESS}: this machine only)")
    annotate.add_argument("--public-url", metavar="URL", help="address people open, behind a proxy or with --host")
    annotate.add_argument("--new-tokens", action="store_true", help="new links; the old ones stop working")
    annotate.add_argument("--no-serve", action="store_true", help="draw the study, print the links, serve nothing")
    annotate.set_defaults(command=open_annotate)


def _add_serving(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, metavar="N", help=f"default: the first free one from {FIRST_PORT}")
    parser.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    parser.add_argument(
        "--images",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="look for images there instead of where the records say; repeatable",
    )


def _add_drawing(group: Any) -> None:
    group.add_argument("--task", choices=TASKS, help="mark words, correct the text, or compare two responses")
    group.add_argument("--items", type=positive, metavar="N", help="how many to draw (default: all)")
    group.add_argument("--annotators", default="annotator", metavar="A,B", help="names (default: annotator)")
    group.add_argument("--overlap", type=float, default=0.0, metavar="SHARE", help="items that everybody gets, 0 to 1")
    group.add_argument("--stratify", metavar="GROUP", help="draw each value of this group by its share")
    group.add_argument("--types", default="rlhf-v", metavar="T", help="rlhf-v, zina, or your own: a,b,c")
    group.add_argument("--show", default="", metavar="W,W", help=f"also show {', '.join(SHOWN)}")
    group.add_argument("--gold", type=Path, metavar="FILE", help="jsonl of items with known answers: item, answer")
    group.add_argument("--guideline", type=Path, metavar="FILE", help="Markdown (default: ours)")
    group.add_argument("--seed", type=int, default=0)


def open_dashboard(options: argparse.Namespace) -> int:
    """`evalkit dashboard`: serve until interrupted."""
    folders = options.runs or [default_output()]
    _check_folders([*folders, *options.images])
    port = options.port or free_port()
    print(f"evalkit dashboard at http://{ADDRESS}:{port} (stop with Ctrl-C)", flush=True)
    return _serve(server_command(port, options.no_browser), environment(options))


def open_annotate(options: argparse.Namespace) -> int:
    """`evalkit annotate`: draw a study or open one, print the links, serve until interrupted."""
    from evalkit.annotation.decided import read_states
    from evalkit.annotation.study import OWNER, changed_runs, read_study, write_tokens

    _check_folders(options.images)
    study = _study(options)
    if options.new_tokens:
        write_tokens(study.folder, study.annotators)
        study = read_study(study.folder)
    read_states(study)  # a journal that cannot be read is said here, not on somebody's page
    for run in changed_runs(study):
        print(f"{run.path} has changed since: the study keeps the responses it was drawn from", file=sys.stderr)
    port = options.port or free_port()
    settings, address = served_at(options.host, port, options.public_url)
    how = f"`evalkit annotate --study {study.folder}` serves it" if options.no_serve else "stop with Ctrl-C"
    print(f"{study.folder}: {study.task}, {len(study.items):,} items; {how}")
    for name in [OWNER, *study.annotators][:MOST_LINKS]:
        print(f"  {name:<14} {address}/?token={study.tokens[name]}", flush=True)
    if options.no_serve:
        return 0
    if not options.no_browser:
        webbrowser.open(f"{address}/?token={study.tokens[study.annotators[0]]}")
    return _serve(server_command(port, headless=True, settings=settings), annotate_environment(study, options.images))


def _study(options: argparse.Namespace) -> "Study":
    """The study that exists, or a new one.

    Raises:
        UsageError: if there is none and no run to draw from, or there is one and runs are named.
    """
    from evalkit.annotation.draw import draw_study
    from evalkit.annotation.guideline import default_guideline
    from evalkit.annotation.study import is_study, read_gold, read_study, types_named, write_study
    from evalkit.runs.run import find_runs, load_run

    if is_study(options.study):
        if options.runs:
            raise UsageError(f"{options.study} is a study already: leave the runs out, or name another --study")
        return read_study(options.study)
    if not options.runs:
        raise UsageError(f"{options.study} is not a study; name the runs to draw one from")
    if options.task is None:
        raise UsageError(f"name what to do: --task {' | '.join(TASKS)}")
    types = types_named(options.types)
    study = draw_study(
        options.study,
        [load_run(path) for path in find_runs(*options.runs)],
        options.task,
        types,
        annotators=[name for name in options.annotators.split(",") if name],
        items=options.items,
        show=[word for word in options.show.split(",") if word],
        stratify=options.stratify,
        overlap=options.overlap,
        gold=read_gold(options.gold) if options.gold else None,
        seed=options.seed,
    )
    try:
        text = options.guideline.read_text("utf-8") if options.guideline else default_guideline(options.task, types)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--guideline {options.guideline}: cannot be read: {error}") from error
    write_study(study, text)
    return read_study(options.study)


def served_at(host: str | None, port: int, public_url: str | None) -> tuple[dict[str, Any], str]:
    """(settings of the server that differ from SETTINGS, the address people open, without a slash at its end).

    Raises:
        UsageError: if people could not reach it by any name: --host for all interfaces without --public-url.
    """
    if public_url is None:
        if host in ("0.0.0.0", "::"):
            raise UsageError(f"--host {host} listens everywhere: name the address people open, --public-url http://...")
        shown = host or ADDRESS
        return ({"server.address": shown, **_reached_as(shown)} if host else {}), f"http://{shown}:{port}"
    parts = urlsplit(public_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"--public-url {public_url!r}: expected http://name[:port][/path] or https://...")
    settings: dict[str, Any] = {"server.address": host or ADDRESS, **_reached_as(parts.hostname)}
    settings["server.corsAllowedOrigins"] = [f"{parts.scheme}://{parts.netloc}"]
    if parts.path.strip("/"):
        settings["server.baseUrlPath"] = parts.path.strip("/")
    return settings, public_url.rstrip("/")


def _reached_as(name: str) -> dict[str, Any]:
    return {"server.allowedHosts": ["localhost", ADDRESS, name], "browser.serverAddress": name}


def _check_folders(folders: list[Path]) -> None:
    missing = [str(folder) for folder in folders if not folder.is_dir()]
    if missing:
        raise UsageError(f"no such folder: {', '.join(missing)}")
    if find_spec("streamlit") is None:
        raise UsageError("the dashboard needs Streamlit: pip install 'hallu-evalkit[dashboard]'")


def _serve(command: list[str], surroundings: Mapping[str, str]) -> int:
    """Run the server until it or this process ends; the pipe to it ends with this process, whatever ends that."""
    server = subprocess.Popen(command, env={**surroundings, ENDS_WITH_STDIN: "1"}, stdin=subprocess.PIPE)
    try:
        return EXIT_ABORTED if server.wait() else 0
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        server.wait()


def server_command(port: int, headless: bool, settings: Mapping[str, Any] | None = None) -> list[str]:
    """The Streamlit server of the app, on this machine's loopback address unless the settings say otherwise."""
    app, server = Path(__file__).with_name("app.py"), Path(__file__).with_name("server.py")
    command = [sys.executable, "-P", str(server), "run", str(app)]
    for name, value in {**SETTINGS, **(settings or {})}.items():
        values = value if isinstance(value, list) else [value]
        command += [f"--{name}={one}" for one in values]
    return [*command, f"--server.port={port}", f"--server.headless={'true' if headless else 'false'}"]


def environment(options: argparse.Namespace) -> dict[str, str]:
    """The environment of the dashboard's server: what to show, and where this package lies."""
    from dashboard.reading.shown import Shown

    return _told(Shown(tuple(options.runs or [default_output()]), tuple(options.images), options.published))


def annotate_environment(study: "Study", images: list[Path]) -> dict[str, str]:
    """The environment of a study's server: the study, and its runs for the owner's pages."""
    from dashboard.reading.shown import Shown

    above = dict.fromkeys(Path(run.path).parent for run in study.runs if Path(run.path).is_dir())
    return _told(Shown(tuple(above), tuple(images), None, study.folder))


def _told(shown: Any) -> dict[str, str]:
    from dashboard.reading.shown import ENVIRONMENT

    package = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return os.environ | {ENVIRONMENT: shown.as_text(), "PYTHONPATH": path}


def free_port() -> int:
    """The first free port from FIRST_PORT.

    Raises:
        UsageError: if none of the ports tried is free.
    """
    for port in range(FIRST_PORT, FIRST_PORT + PORTS_TRIED):
        with socket.socket() as probe:
            if probe.connect_ex((ADDRESS, port)) != 0:
                return port
    raise UsageError(f"no free port from {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1}; name one with --port")
