"""A served study that tests open in a browser, kill and start again."""

import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dashboard.commands import annotate_environment, server_command
from evalkit.annotation.journal import journal_path
from evalkit.annotation.study import Study

STARTS_WITHIN_S, SHOWS_WITHIN_MS = 180, 90_000


class Server:
    """A server of one study that can be killed and started again on its port.

    Args:
        settings: that differ from the usual ones; prefix: the path it is served below; printed: file for what it says.
    """

    def __init__(
        self, study: Study, settings: Mapping[str, Any] | None = None, prefix: str = "", printed: Path | None = None
    ) -> None:
        self.study, self.settings, self.prefix, self.printed = study, settings, prefix, printed
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = server_command(self.port, headless=True, settings=self.settings)
        with (self.printed or Path(os.devnull)).open("ab") as file:
            self.process = subprocess.Popen(
                command, env=annotate_environment(self.study, []), stdout=file, stderr=subprocess.STDOUT
            )
        for _ in range(10 * STARTS_WITHIN_S):
            try:
                urllib.request.urlopen(f"{self.address}{self.prefix}/_stcore/health", timeout=5)
                return
            except OSError:
                signal.sigtimedwait([], 0.1)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def link(self, name: str) -> str:
        return f"{self.address}/?token={self.study.tokens[name]}"


@contextmanager
def served(study: Study) -> Iterator[Server]:
    server = Server(study)
    try:
        yield server
    finally:
        server.kill()


def opened(context: Any, link: str) -> Any:
    page = context.new_page()
    page.set_default_timeout(SHOWS_WITHIN_MS)
    page.goto(link)
    page.wait_for_selector(".ea-actions button")
    return page


def context(browser: Any, **settings: Any) -> Any:
    return browser.new_context(viewport={"width": 1440, "height": 1000}, **settings)


def saved(page: Any, number: int) -> None:
    page.wait_for_selector(f".ea-message:has-text('Saved ({number})'), .ea-message:has-text('All items are done')")


def lines(study: Study, name: str = "anna") -> list[dict[str, Any]]:
    path = journal_path(study, name)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def tab_to(page: Any, selector: str, most: int = 80) -> None:
    """Press Tab until a control of the component is focused."""
    for _ in range(most):
        if page.evaluate(
            f"document.activeElement?.shadowRoot?.activeElement?.matches({json.dumps(selector)}) ?? false"
        ):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not reach {selector}")
