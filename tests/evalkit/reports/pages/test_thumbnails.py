"""Thumbnails: pictures below an image folder, nothing else, and never the file's own bytes."""

import io
from pathlib import Path

import pytest
from PIL import Image

from evalkit.errors import DataError
from evalkit.reports.pages.thumbnails import thumbnail


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (300, 100), "red").save(folder / "a.png")
    (tmp_path / "secret.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "text.png").write_text("not a picture")
    (folder / "notes.txt").write_text("secret")
    (folder / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:60])
    return folder


def test_a_picture_is_encoded_anew_within_the_width(images):
    small = thumbnail({"folder": str(images), "name": "a.png"}, 60)
    with Image.open(io.BytesIO(small)) as opened:
        assert (opened.format, opened.size) == ("JPEG", (60, 20))


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "link.png", "text.png", "notes.txt", "eps.png", "cut.png", "gone.png", "", ".", "a\x00.png",
     "x" * 5000 + ".png", "../images/../secret.png"],
)  # fmt: skip
def test_anything_else_is_refused_with_a_sentence(images, name):
    with pytest.raises(DataError, match="image"):
        thumbnail({"folder": str(images), "name": name}, 60)


@pytest.mark.parametrize("folder", ["/", "/etc", "/proc/self", "/sys", "relative/images", "~", str(Path.home())])
def test_folders_that_no_record_may_name_are_refused(folder):
    with pytest.raises(DataError, match="image"):
        thumbnail({"folder": folder, "name": "a.png"}, 60)


def test_named_folders_replace_the_records_own(images, tmp_path):
    record = {"folder": str(images), "name": "a.png"}
    assert thumbnail({"folder": "/gone", "name": "a.png"}, 60, [images])
    with pytest.raises(DataError, match="missing"):
        thumbnail(record, 60, [tmp_path / "empty"])


def test_an_item_without_an_image_says_so():
    with pytest.raises(DataError, match="no image"):
        thumbnail(None, 60)
