"""Pictures as people see them: upright, all their grey levels, and nothing but pictures."""

import io
import os
import stat

import numpy as np
import pytest
from PIL import ExifTags, Image

from pidflow.data.pictures import Picture
from pidflow.errors import DataError
from pidflow.models import images
from pidflow.models.images import image_size, read_image, turned_boxes

# What the library notes of damage that it reads past: the picture is whole, or reading it is an error.
READS_PAST_DAMAGE = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")


def picture(image, kind="PNG", **options):
    stored = io.BytesIO()
    image.save(stored, kind, **options)
    return Picture("a.png", content=stored.getvalue())


def turned(pixels, orientation):
    """How a camera that held the picture in this EXIF orientation stores the upright pixels."""
    stored = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p),
        7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
        8: lambda p: np.rot90(p, -1),
    }
    return np.ascontiguousarray(stored[orientation](pixels))


def painted_box(pixels):
    rows, columns = np.nonzero(pixels[..., 0])
    return columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_and_boxes_are_turned_by_the_cameras_orientation(orientation, kind):
    upright = np.zeros((40, 64, 3), dtype=np.uint8)
    upright[8:16, 16:40] = 255
    stored = turned(upright, orientation)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    taken = picture(Image.fromarray(stored), kind, exif=exif, **options)
    assert image_size(taken) == (40, 64)
    seen = np.asarray(read_image(taken)).astype(int)
    assert np.abs(seen - upright).max() <= 2
    (box,) = turned_boxes(taken, (painted_box(stored),))
    assert box == (16, 8, 24, 8)


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    taken = picture(Image.new("RGB", (6, 4)), "JPEG", exif=exif)
    assert read_image(taken).size == (6, 4)
    assert turned_boxes(taken, ((1, 1, 2, 2),)) == ((1, 1, 2, 2),)


GREY = np.linspace(0, 1, 24).reshape(4, 6)


@pytest.mark.parametrize(
    ("levels", "kind", "mode"),
    [
        ((GREY * 65535).astype("<u2"), "PNG", "I;16"),
        ((GREY * 65535).astype(">u2"), "TIFF", "I;16B"),
        ((GREY * 65535).astype("<u2"), "PPM", "I"),
        ((GREY * 65535).astype("i4"), "TIFF", "I"),
        (GREY.astype("f4"), "TIFF", "F"),
        ((GREY * 255).astype("u1"), "PNG", "L"),
    ],
)
def test_all_grey_levels_of_deep_pictures_remain(levels, kind, mode):
    stored = picture(Image.fromarray(levels), kind)
    with Image.open(io.BytesIO(stored.content)) as image:
        assert image.mode == mode
    seen = np.asarray(read_image(stored)).astype(float)
    assert np.abs(seen - 255 * GREY[..., None]).max() <= 1


@pytest.mark.parametrize(
    ("levels", "found"),
    [
        (np.full((4, 4), 200, "f4"), "from 200 to 200 in mode F, expected 0 to 1"),
        (np.full((4, 4), -0.5, "f4"), "from -0.5 to -0.5 in mode F"),
        (np.full((4, 4), np.nan, "f4"), "from nan to nan in mode F"),
        (np.full((4, 4), 70000, "i4"), "from 70000 to 70000 in mode I, expected 0 to 65535"),
        (np.full((4, 4), -1, "i4"), "from -1 to -1 in mode I"),
    ],
)
def test_numbers_of_unknown_range_are_refused(levels, found):
    with pytest.raises(DataError, match=f"image a.png holds values {found}"):
        read_image(picture(Image.fromarray(levels), "TIFF"))


def test_transparency_shows_white_whatever_colour_it_hides():
    hidden = np.zeros((2, 2, 4), dtype=np.uint8)
    hidden[0] = (255, 0, 0, 255)
    grey = np.array([[[40, 255], [40, 0]]], dtype=np.uint8)
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "L").convert("P")
    palette.putpalette([255, 0, 0, 0, 0, 0])
    for stored, expected in [
        (picture(Image.fromarray(hidden)), [[(255, 0, 0)] * 2, [(255, 255, 255)] * 2]),
        (picture(Image.fromarray(grey, "LA")), [[(40, 40, 40), (255, 255, 255)]]),
        (picture(palette, transparency=1), [[(255, 0, 0), (255, 255, 255)]]),
        (picture(Image.fromarray(hidden[..., :3]), transparency=(0, 0, 0)), [[(255, 0, 0)] * 2, [(255, 255, 255)] * 2]),
    ]:
        assert np.asarray(read_image(stored)).tolist() == np.array(expected).tolist()


@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "JPEG"), ("1", "PNG"), ("YCbCr", "JPEG")])
def test_other_colour_spaces_become_rgb(mode, kind):
    red = Image.new("RGB", (16, 16), (200, 30, 30))
    seen = np.asarray(read_image(picture(red.convert(mode), kind)))[8, 8].astype(int)
    assert seen.shape == (3,)
    if mode != "1":
        assert seen[0] > 130 > 90 > seen[1]


def test_a_picture_in_another_format_starts_no_program(tmp_path, monkeypatch):
    """Encapsulated PostScript under a picture's name: the library would look for a program called gs and start it."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"
    with pytest.raises(DataError, match=r"image 7.png cannot be read as JPEG, PNG, .*; it is damaged"):
        read_image(Picture("7.png", content=content))
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("kind", ["ICO", "PCX", "TGA", "SGI", "PDF"])
def test_formats_that_no_dataset_has_are_refused(kind):
    with pytest.raises(DataError, match="cannot be read as JPEG, PNG"):
        read_image(picture(Image.new("RGB", (16, 16)), kind))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_is_no_picture(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    with pytest.raises(DataError, match=r"a.png has 2 frames, expected one"):
        read_image(picture(frames[0], kind, save_all=True, append_images=frames[1:]))


def test_a_photo_with_its_preview_is_one_picture():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    seen = np.asarray(read_image(picture(frames[0], "MPO", save_all=True, append_images=frames[1:])))
    assert seen[4, 4, 0] > 200


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (20, 1001)])
def test_a_picture_much_longer_than_wide_is_refused(size):
    with pytest.raises(DataError, match=f"has {size[0]} x {size[1]} pixels, its sides may differ 50-fold at most"):
        image_size(picture(Image.new("RGB", size)))


@READS_PAST_DAMAGE
@pytest.mark.filterwarnings("default:.*:UserWarning")  # the library speaks of damaged tags
@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0\x08\0\0\0", b"P6 9 9 255\n"]
)
def test_no_traceback_from_what_only_begins_like_a_picture(content):
    with pytest.raises(DataError, match=r"image a.png cannot be read .*; it is damaged"):
        read_image(Picture("a.png", content=content))


@READS_PAST_DAMAGE
@pytest.mark.filterwarnings("default:.*:UserWarning")  # the library speaks of damaged tags
@pytest.mark.parametrize("kind", images.FORMATS)
def test_damage_anywhere_is_an_error_or_a_picture_never_a_traceback(kind):
    rng = np.random.default_rng(0)
    whole = picture(Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)), kind).content
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        cut = bytes(damaged) if rng.random() < 0.7 else bytes(damaged[: rng.integers(len(damaged))])
        found = seen_or_refused(Picture("a.png", content=cut))
        assert "image a.png" in found if isinstance(found, str) else found.mode == "RGB"


def seen_or_refused(damaged):
    try:
        return read_image(damaged)
    except DataError as err:
        return str(err)
