"""A study behind a reverse proxy with a path of its own: pages, websocket, tokens that no log holds."""

import re
import shutil
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest
from annotation_server import SHOWS_WITHIN_MS, Server, context, lines, opened, saved
from annotation_world import make_study

from dashboard.commands import served_at
from evalkit.annotation.study import Study

PREFIX, NAME = "/labs/study", "lab.localhost"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "annotation.md"
NGINX = shutil.which("nginx")

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


class Forwarding(StreamRequestHandler):
    """Hands a request below PREFIX on as it came, under the server's own host name; then bytes both ways."""

    upstream = 0

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return
            head += line
        if not head.split(b" ")[1].startswith(PREFIX.encode()):
            self.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        head = re.sub(rb"(?im)^host:[^\r]*", b"Host: 127.0.0.1:%d" % self.upstream, head)
        if b"upgrade: websocket" not in head.lower():  # one request a connection
            head = re.sub(rb"(?im)^connection:[^\r]*", b"Connection: close", head)
        with socket.create_connection(("127.0.0.1", self.upstream)) as server:
            server.sendall(head)
            back = threading.Thread(target=pump, args=(server, self.connection), daemon=True)
            back.start()
            pump(self.rfile, server)
            back.join()


def pump(source, target) -> None:
    """Bytes from one end to the other until either closes."""
    read = source.recv if isinstance(source, socket.socket) else source.read1
    try:
        while data := read(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@contextmanager
def plain_proxy(upstream: int, port: int, folder: Path) -> Iterator[None]:
    handler = type("ToServer", (Forwarding,), {"upstream": upstream})
    with ThreadingTCPServer(("127.0.0.1", port), handler) as proxy:
        proxy.daemon_threads = True
        proxy.block_on_close = False
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield
        proxy.shutdown()


@contextmanager
def nginx(upstream: int, port: int, folder: Path) -> Iterator[None]:
    """nginx with the lines that the documentation gives."""
    (block,) = re.findall(r"```nginx\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    log_format, location = block.split("\n\n", 1)
    location = location.replace("127.0.0.1:8501", f"127.0.0.1:{upstream}").replace(" /study/", f" {PREFIX}/")
    log_format, location = (text.replace("/var/log/nginx", str(folder)) for text in (log_format, location))
    bodies = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = (
        f"pid {folder}/nginx.pid; error_log {folder}/error.log;\nevents {{}}\n"
        f"http {{ access_log off; {bodies}\n{log_format}\n"
        f"server {{ listen 127.0.0.1:{port}; server_name {NAME};\n{location} }} }}\n"
    )
    (folder / "nginx.conf").write_text(configuration)
    program = subprocess.Popen([str(NGINX), "-c", str(folder / "nginx.conf"), "-p", str(folder), "-g", "daemon off;"])
    try:
        yield
    finally:
        program.terminate()
        program.wait(30)


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Behind(Server):
    """A server of a study that people reach by another address; what it prints goes to a file."""

    def __init__(self, study: Study, port: int, printed: Path) -> None:
        settings, self.public = served_at(None, 0, f"http://{NAME}:{port}{PREFIX}/")
        super().__init__(study, settings | {"logger.level": "debug"}, PREFIX, printed)

    def link(self, name: str) -> str:
        return f"{self.public}/?token={self.study.tokens[name]}"


PROXIES = [
    plain_proxy,
    pytest.param(nginx, marks=pytest.mark.skipif(NGINX is None, reason="needs nginx")),
]


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_study_is_answered_behind_a_proxy_and_its_tokens_are_in_no_log(browser, tmp_path, proxy):
    study = make_study(tmp_path, "mark", ("anna", "ben"), overlap=1.0)
    port, logs = free(), tmp_path / "logs"
    logs.mkdir()
    server = Behind(study, port, logs / "server.log")
    try:
        with proxy(server.port, port, logs):
            page = opened(context(browser), server.link("anna"))
            page.locator(".ea-word").nth(1).click()
            page.keyboard.press("1")
            page.get_by_role("button", name="Submit 1 mark").click()
            saved(page, 1)
            page.reload()
            page.wait_for_selector(".ea-count:has-text('1 done')")
            assert page.locator(".ea-canvas img").evaluate("node => node.naturalWidth") > 0
            owner = context(browser).new_page()
            owner.set_default_timeout(SHOWS_WITHIN_MS)
            owner.goto(f"{server.public}/samples?token={study.tokens['owner']}")
            owner.wait_for_selector("text=1 of 4")
            with pytest.raises(OSError, match="HTTP Error 40"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/elsewhere", timeout=30)
    finally:
        server.kill()
    assert [row["action"] for row in lines(study)] == ["answer"]
    written = "\n".join(path.read_text(errors="replace") for path in sorted(logs.rglob("*.log")))
    assert written
    for token in study.tokens.values():
        assert token not in written


def test_another_name_or_origin_is_refused_behind_the_proxy(tmp_path):
    study = make_study(tmp_path, "mark")
    port = free()
    server = Behind(study, port, tmp_path / "server.log")
    try:
        for host, origin, status in (
            ("127.0.0.1", f"http://{NAME}:{port}", b"101"),
            (NAME, f"http://{NAME}:{port}", b"101"),
            (NAME, "http://elsewhere.example", b"403"),
            ("elsewhere.example", f"http://{NAME}:{port}", b"403"),
        ):
            asked = [
                f"GET {PREFIX}/_stcore/stream HTTP/1.1", f"Host: {host}", f"Origin: {origin}", "Connection: Upgrade",
                "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "",
                "",
            ]  # fmt: skip
            with socket.create_connection(("127.0.0.1", server.port), 30) as page:
                page.sendall("\r\n".join(asked).encode())
                assert status in page.recv(100).split(b"\r\n")[0], (host, origin)
    finally:
        server.kill()
