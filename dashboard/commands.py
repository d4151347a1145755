"""Sub-command `evalkit dashboard`."""

import argparse
import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evalkit.cli.arguments import EXIT_ABORTED, default_output
from evalkit.errors import UsageError

ADDRESS = "127.0.0.1"
FIRST_PORT, PORTS_TRIED = 8501, 100

# No telemetry, no remote fonts or links; no theme file of the user's folder is needed
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
    "theme.light.primaryColor": "#0b6bcb",
    "theme.dark.primaryColor": "#5aa9ff",
    "theme.light.backgroundColor": "#ffffff",
    "theme.dark.backgroundColor": "#11151c",
    "theme.light.secondaryBackgroundColor": "#f3f5f8",
    "theme.dark.secondaryBackgroundColor": "#1b222d",
    "theme.light.textColor": "#1b1f24",
    "theme.dark.textColor": "#e6e9ee",
}


def add_commands(commands: Any) -> None:
    """Add this layer's sub-commands."""
    dashboard = commands.add_parser("dashboard", help="look at runs, samples and alignments in the browser")
    dashboard.add_argument("runs", nargs="*", type=Path, metavar="RUNS", help="run folders, or folders above them")
    dashboard.add_argument("--port", type=int, metavar="N", help=f"default: the first free one from {FIRST_PORT}")
    dashboard.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    dashboard.add_argument(
        "--images",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="look for images there instead of where the records say; repeatable",
    )
    dashboard.add_argument(
        "--published",
        type=Path,
        metavar="FILE",
        help="published rows to show, marked as such: made by `evalkit report RUNS --published --format json`",
    )
    dashboard.set_defaults(command=open_dashboard)


def open_dashboard(options: argparse.Namespace) -> int:
    """`evalkit dashboard`: serve until interrupted."""
    folders = options.runs or [default_output()]
    missing = [str(folder) for folder in [*folders, *options.images] if not folder.is_dir()]
    if missing:
        raise UsageError(f"no such folder: {', '.join(missing)}")
    if find_spec("streamlit") is None:
        raise UsageError("the dashboard needs Streamlit: pip install 'hallu-evalkit[dashboard]'")
    port = options.port or free_port()
    print(f"evalkit dashboard at http://{ADDRESS}:{port} (stop with Ctrl-C)", flush=True)
    server = subprocess.Popen(server_command(port, options.no_browser), env=environment(options))
    try:
        return EXIT_ABORTED if server.wait() else 0
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        server.wait()


def server_command(port: int, headless: bool) -> list[str]:
    """The Streamlit server of the app, on this machine's loopback address only."""
    app = Path(__file__).with_name("app.py")
    command = [sys.executable, "-m", "streamlit", "run", str(app)]
    for name, value in SETTINGS.items():
        values = value if isinstance(value, list) else [value]
        command += [f"--{name}={one}" for one in values]
    return [*command, f"--server.port={port}", f"--server.headless={'true' if headless else 'false'}"]


def environment(options: argparse.Namespace) -> dict[str, str]:
    """The environment of the server: what to show, and where this package lies."""
    from dashboard.reading.shown import ENVIRONMENT, Shown

    shown = Shown(tuple(options.runs or [default_output()]), tuple(options.images), options.published)
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
