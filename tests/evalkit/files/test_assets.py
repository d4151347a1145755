"""Official files: mirror, cache, download; never a file with another sha256."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evalkit.cli.doctor import OFFLINE, offline_mode
from evalkit.errors import AssetError
from evalkit.files import assets
from evalkit.files.assets import (
    Asset,
    AssetState,
    all_assets,
    asset,
    check,
    fetch,
    find_asset,
    folders,
    matching,
    state,
)

CONTENT = b"person, girl, boy\n"
NAME = "folder/words.txt"


@pytest.fixture
def places(tmp_path, monkeypatch) -> tuple[Path, Path]:
    mirror, cache = tmp_path / "mirror", tmp_path / "cache"
    mirror.mkdir()
    monkeypatch.setenv("EVALKIT_ASSETS", str(mirror))
    monkeypatch.setenv("EVALKIT_CACHE", str(cache))
    for name in assets.OFFLINE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return mirror, cache / "assets"


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.paths.append(self.path)
            self.send_response(200 if "words" in self.path else 404)
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.paths = []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def words(server, monkeypatch, **changes) -> Asset:
    row = {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)}
    row["url"] = f"http://127.0.0.1:{server.server_address[1]}/words.txt" if server else None
    entry = Asset(NAME, "MIT", **(row | changes))
    monkeypatch.setattr(assets, "_table", lambda: ({NAME: entry}, ()))
    return entry


def test_the_table_pins_every_address_to_a_commit():
    for row in all_assets().values():
        assert row.licence
        assert row.url or row.how
        if row.url:
            commit = row.url.split("/")[5]
            assert row.url.startswith("https://raw.githubusercontent.com/")
            assert len(commit) == 40
        if row.sha256:
            assert len(row.sha256) == 64
            assert row.size
    assert all(folder.how and folder.licence for folder in folders())


READ_BY_TESTS_ALONE = {  # answers and figures of others, against which scorers are checked
    "dash_b/Paligemma-3b_answers.json",
    "dash_b/Paligemma-3b_dash_b_results.json",
    "hallusionbench/HallusionBench_result_sample.json",
    "hallusionbench/leaderboard.json",
    "llava_bench/in_the_wild/bard_0718.jsonl",
    "llava_bench/in_the_wild/bing_chat_0629.jsonl",
    "llava_bench/rule_rlhfv.json",
}


def test_the_mirror_holds_the_pinned_bytes(assets):
    found = {path.relative_to(assets).as_posix() for path in assets.rglob("*") if path.is_file()}
    for row in all_assets().values():
        if row.name in found:
            assert check(row, assets / row.name).stat().st_size == row.size
    unlisted = {name for name in found if not name.endswith("README.md")} - all_assets().keys()
    released = {
        name for name in unlisted if name.startswith("released/")
    }  # pinned by their own index, see tests/rescored
    assert unlisted - released == READ_BY_TESTS_ALONE & found


def test_the_mirror_comes_first_then_the_cache_then_the_address(places, server, monkeypatch):
    entry = words(server, monkeypatch)
    mirror, cache = places
    assert state(entry) == AssetState(entry, "absent", None)
    assert asset(NAME) == cache / NAME
    assert state(entry).state == "cache"
    assert asset(NAME).read_bytes() == CONTENT
    assert server.paths == ["/words.txt"]
    (mirror / "folder").mkdir()
    (mirror / NAME).write_bytes(CONTENT)
    assert asset(NAME) == mirror / NAME
    assert state(entry).state == "mirror"
    assert [path.name for path in (cache / "folder").iterdir()] == ["words.txt"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sha256": "0" * 64}, "gave other bytes"),
        ({"size": 3}, "more than 3 bytes"),
        ({"size": 1000}, "instead of 1,000"),
    ],
)
def test_a_download_with_other_bytes_leaves_nothing_behind(places, server, monkeypatch, changes, reason):
    words(server, monkeypatch, **changes)
    with pytest.raises(AssetError, match=reason):
        asset(NAME)
    assert not [path for path in places[1].rglob("*") if path.is_file()]


@pytest.mark.parametrize("variable", assets.OFFLINE_VARIABLES)
def test_offline_nothing_is_downloaded_and_the_remedy_is_named(places, server, monkeypatch, variable):
    words(server, monkeypatch)
    monkeypatch.setenv(variable, "1")
    with pytest.raises(
        AssetError, match=r"forbids downloads; get http.*words\.txt and put it into .*mirror/folder/words"
    ):
        asset(NAME)
    assert not server.paths


@pytest.mark.parametrize(("value", "offline"), [("yes", True), ("off", False)])
def test_the_doctor_reads_offline_mode_as_downloads_do(monkeypatch, value, offline):
    for variable in OFFLINE:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("EVALKIT_OFFLINE", value)
    assert (assets.is_offline(), offline_mode().text != "off") == (offline, offline)


def test_a_spoilt_copy_in_the_mirror_is_refused(places, monkeypatch):
    entry = words(None, monkeypatch)
    (places[0] / "folder").mkdir()
    (places[0] / NAME).write_bytes(CONTENT + b"x")
    assert state(entry).state == "wrong sha256"
    with pytest.raises(AssetError, match="is not the official file: sha256"):
        asset(NAME)


def test_without_an_address_the_instructions_are_shown(places, monkeypatch):
    words(None, monkeypatch, how="ask the authors")
    with pytest.raises(AssetError, match="no address: ask the authors"):
        asset(NAME)


def test_an_address_that_fails_is_one_clear_error(places, server, monkeypatch):
    entry = words(server, monkeypatch, url=f"http://127.0.0.1:{server.server_address[1]}/gone")
    with pytest.raises(AssetError, match="cannot be downloaded: HTTP Error 404"):
        fetch(entry)


def test_a_file_without_a_known_sha256_is_accepted_from_its_pinned_address(places, server, monkeypatch):
    words(server, monkeypatch, sha256=None, size=None)
    assert asset(NAME).read_bytes() == CONTENT


def test_a_folder_name_selects_all_its_files():
    group = next(iter(all_assets())).split("/")[0]
    assert [row.name for row in matching([group])] == [name for name in all_assets() if name.startswith(group + "/")]
    assert matching([group + "/*"]) == matching([group, group])
    assert len(matching([])) == len(all_assets())


@pytest.mark.parametrize("call", [asset, find_asset, lambda name: matching([name])])
def test_an_unknown_name_is_answered_with_near_ones(call):
    name = next(iter(all_assets()))
    with pytest.raises(AssetError, match="did you mean") as caught:
        call(name[:-1])
    assert name in str(caught.value)
