"""Every picture is opened in one way: upright, 8 bits a sample, within limits; servers get what models see."""

import base64
import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from evalkit.engines.model.batching import image_area
from evalkit.engines.served.chat import data_url
from evalkit.errors import DataError
from evalkit.files.embedded import embedded_bytes, store_embedded
from evalkit.images import ORIENTATION, ImageFile
from evalkit.reports.pages.thumbnails import thumbnail
from tests.endurance.spoils import bomb_png

WIDTH, HEIGHT = 40, 20


def picture():
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "red")
    image.paste("blue", (WIDTH // 2, 0, WIDTH, HEIGHT))
    return image


def sideways(orientation):
    """The picture as a camera stores it that was turned: the EXIF says how to turn it back."""
    turns = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = picture()
    return image if turns[orientation] is None else image.transpose(turns[orientation])


def left_and_right(image):
    pixels = np.asarray(image.convert("RGB")).astype(int)
    return pixels[5:15, 2:10].mean((0, 1)).round(), pixels[5:15, -10:-2].mean((0, 1)).round()


def assert_upright(image):
    assert image.width == 2 * image.height
    left, right = left_and_right(image)
    assert left[0] > 200 > 60 > left[2]
    assert right[2] > 200 > 60 > right[0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_models_servers_training_and_thumbnails_see_the_same_upright_picture(tmp_path, orientation, suffix):
    image = sideways(orientation)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image.save(tmp_path / f"a{suffix}", exif=exif, **({"quality": 95} if suffix == ".jpg" else {}))
    file = ImageFile(tmp_path, f"a{suffix}")
    assert_upright(file.open())
    assert file.size() == (WIDTH, HEIGHT)
    assert image_area(file) == WIDTH * HEIGHT
    _, data = file.for_server()
    with Image.open(io.BytesIO(data)) as sent:
        assert sent.getexif().get(ORIENTATION, 1) == 1
        assert_upright(sent)
    with Image.open(io.BytesIO(thumbnail({"folder": str(tmp_path), "name": file.name}, 40))) as shown:
        assert_upright(shown)


RAMP = np.linspace(0, 1, 64)


@pytest.mark.parametrize(
    ("array", "suffix"),
    [
        ((RAMP * 65535).astype(np.uint16), ".png"),
        ((RAMP * 65535).astype(np.uint16), ".tif"),
        ((RAMP * 65535).astype(np.int32), ".tif"),
        (RAMP.astype(np.float32), ".tif"),
        ((RAMP * 255).astype(np.float32), ".tif"),
        ((RAMP * 3e9 - 1.5e9).astype(np.int32), ".tif"),
    ],
)
def test_deep_pictures_are_scaled_not_clipped(tmp_path, array, suffix):
    Image.fromarray(np.tile(array, (8, 1))).save(tmp_path / f"a{suffix}")
    file = ImageFile(tmp_path, f"a{suffix}")
    pixels = np.asarray(file.open())[0, :, 0]
    assert np.abs(pixels.astype(int) - np.rint(RAMP * 255)).max() <= 1
    kind, data = file.for_server()
    assert kind == "image/png"
    assert np.abs(np.asarray(Image.open(io.BytesIO(data)))[0, :, 0].astype(int) - pixels).max() == 0


def test_a_float_picture_with_nan_is_an_error(tmp_path):
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="NaN or infinite"):
        ImageFile(tmp_path, "a.tif").open()


@pytest.mark.parametrize("kind", ["MPO", "TIFF", "BMP", "GIF"])
def test_servers_get_formats_that_all_of_them_read(tmp_path, kind):
    picture().save(tmp_path / "a.img", kind, **({"save_all": True} if kind == "MPO" else {}))
    url = data_url(ImageFile(tmp_path, "a.img"))
    head, _, text = url.partition(",")
    assert head.split(";")[0] in ("data:image/png", "data:image/jpeg")
    with Image.open(io.BytesIO(base64.b64decode(text))) as sent:
        assert sent.format in ("PNG", "JPEG")
        assert_upright(sent)


def test_an_ordinary_picture_is_sent_byte_for_byte(tmp_path):
    picture().save(tmp_path / "a.png")
    assert ImageFile(tmp_path, "a.png").for_server() == ("image/png", (tmp_path / "a.png").read_bytes())


def png():
    out = io.BytesIO()
    picture().save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    "value",
    [
        png(),
        base64.b64encode(png()).decode(),
        "data:image/png;base64," + base64.b64encode(png()).decode(),
        {"bytes": png(), "path": None},
        {"bytes": base64.b64encode(png()).decode()},
        {"bytes": "data:image/png;base64," + base64.b64encode(png()).decode()},
        base64.encodebytes(png()).decode(),
    ],
)
def test_an_embedded_image_is_found_in_every_dress(tmp_path, value):
    assert embedded_bytes(value, "row 1") == png()
    assert_upright(store_embedded(embedded_bytes(value, "row 1"), tmp_path, "row 1").open())


@pytest.mark.parametrize("value", [None, "a.png", "images/deadbeef", "abcd", {"bytes": None, "path": "a.png"}])
def test_a_path_is_no_embedded_image(value):
    assert embedded_bytes(value, "row 1") is None


def test_what_says_to_be_an_image_and_is_none_is_an_error(tmp_path):
    with pytest.raises(DataError, match="row 1 is not base64"):
        embedded_bytes({"bytes": "%%%"}, "row 1")
    with pytest.raises(DataError, match="row 1 is not an image"):
        store_embedded(b"abc", tmp_path, "row 1")
    with pytest.raises(DataError, match="cannot be the name"):
        store_embedded(png(), tmp_path, "row 1", "../outside")


@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (60_000, 60_000), (1, 100_000_001)])
def test_a_picture_beyond_all_measure_is_refused_by_its_header(tmp_path, width, height):
    (tmp_path / "a.png").write_bytes(bomb_png(width, height))
    for use in (ImageFile.open, ImageFile.size, ImageFile.for_server):
        with pytest.raises(DataError, match=r"pixels|cannot be read"):
            use(ImageFile(tmp_path, "a.png"))
    with pytest.raises(DataError):
        store_embedded(bomb_png(width, height), tmp_path / "images", "row 1")


def test_the_largest_picture_is_still_read_by_its_header(tmp_path):
    (tmp_path / "a.png").write_bytes(bomb_png(10_000, 10_000))
    assert ImageFile(tmp_path, "a.png").size() == (10_000, 10_000)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "I;16", "I", "F"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_of_any_depth_is_upright(tmp_path, orientation, mode, compression):
    """Pillow turns a TIFF while it reads it, and what it maps into memory askew."""
    grey = np.linspace(0, 255, 24 * 16).reshape(16, 24).astype(np.uint8)
    kinds = {"I;16": (np.uint16, 257), "I": (np.int32, 257), "F": (np.float32, 1)}
    kind, scale = kinds.get(mode, (np.uint8, 1))
    image = Image.fromarray(grey.astype(kind) * kind(scale))
    image = image if mode in kinds else image.convert(mode)
    image.save(tmp_path / "a.tif", tiffinfo={274: orientation}, **({"compression": compression} if compression else {}))
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(grey).save(tmp_path / "a.png", exif=exif)
    file = ImageFile(tmp_path, "a.tif")
    wanted = np.asarray(ImageFile(tmp_path, "a.png").open()).astype(int)
    assert np.abs(np.asarray(file.open()).astype(int) - wanted).max() <= 1
    assert file.size() == ImageFile(tmp_path, "a.png").size() == (wanted.shape[1], wanted.shape[0])


def test_the_hash_of_an_image_follows_the_disk_and_no_link_out_of_the_folder(tmp_path):
    folder, outside = tmp_path / "images", tmp_path / "secret.png"
    (folder / "sub").mkdir(parents=True)
    outside.write_bytes(b"secret")
    for name, content in (("1.png", b"one"), ("sub/2.png", b"two")):
        (folder / name).write_bytes(content)
        assert ImageFile(folder, name).sha256() == hashlib.sha256(content).hexdigest()
    (folder / "1.png").write_bytes(b"another")
    assert ImageFile(folder, "1.png").sha256() == hashlib.sha256(b"another").hexdigest()
    (folder / "inside.png").symlink_to(folder / "sub" / "2.png")
    assert ImageFile(folder, "inside.png").sha256() == hashlib.sha256(b"two").hexdigest()
    (folder / "link.png").symlink_to(outside)
    for name in ("link.png", "../secret.png", "absent.png", ".", "", "a\0b", "n" * 5000):
        with pytest.raises(DataError):
            ImageFile(folder, name).sha256()
