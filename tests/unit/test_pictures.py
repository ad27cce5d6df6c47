"""Picture files: what leads out of the folder is refused, also when swapped late; the listing's digest sees changes."""

import os
import shutil

import pytest

from pidflow.data import pictures
from pidflow.data.pictures import content_digest, listing_digest, picture_file
from pidflow.errors import DataError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images/inner").mkdir(parents=True)
    for name in ("7.png", "8.png", "inner/7.png"):
        (tmp_path / "images" / name).write_bytes(f"picture {name}".encode())
    (tmp_path / "secret.png").write_bytes(b"secret")
    return tmp_path / "images"


def digest(folder):
    listing_digest.cache_clear()
    return listing_digest(folder)


@pytest.mark.parametrize(
    "spelling", ["7.png", "./7.png", "inner/../7.png", "link.png", "{folder}/7.png", "{other}/7.png"]
)
def test_one_file_under_all_its_spellings(folder, spelling):
    (folder / "link.png").symlink_to("7.png")
    other = folder.parent / "same"
    other.symlink_to(folder)
    for root in (folder, other):
        found = picture_file(spelling.format(folder=folder, other=other), root=other if "other" in spelling else root)
        assert found.file == folder.resolve() / "7.png"
        assert found.read() == b"picture 7.png"


def test_a_folder_in_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert picture_file("7.png", root="~/images").read() == b"picture 7.png"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../secret.png", "'../secret.png' leaves the dataset's folder"),
        ("/etc/hostname", "'/etc/hostname' leaves the dataset's folder"),
        ("inner/../../secret.png", "leaves the dataset's folder"),
        ("out.png", "'out.png' leaves the dataset's folder"),
        ("out/secret.png", "'out/secret.png' leaves the dataset's folder"),
        ("loop.png", "image path 'loop.png' cannot be followed"),
        ("9.png", "9.png does not exist; fetch the dataset's images"),
        ("inner", "inner is not a file"),
        ("pipe", "pipe is not a file"),
        ("x" * 5000, "image path 'x+ … 4,9.. characters … x+' cannot be followed"),
        ("a\0b.png", "cannot be followed"),
    ],
)
def test_what_is_no_picture_of_the_folder(folder, path, message):
    (folder / "out.png").symlink_to(folder.parent / "secret.png")
    (folder / "out").symlink_to(folder.parent)
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe")
    with pytest.raises(DataError, match=message) as caught:
        picture_file(path, root=folder)
    assert len(str(caught.value)) < 500


def test_a_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"image folder .*nowhere does not exist; correct images"):
        picture_file("7.png", root=tmp_path / "nowhere")


@pytest.mark.parametrize("swapped", ["file", "folder", "pipe"])
def test_what_is_swapped_after_the_check_is_not_followed(folder, swapped):
    found = picture_file("inner/7.png", root=folder)
    if swapped == "folder":
        shutil.rmtree(folder / "inner")
        (folder / "inner").symlink_to(folder.parent)
        (folder.parent / "7.png").write_bytes(b"secret")
    else:
        (folder / "inner/7.png").unlink()
        if swapped == "file":
            (folder / "inner/7.png").symlink_to(folder.parent / "secret.png")
        else:
            os.mkfifo(folder / "inner/7.png")
    with pytest.raises(DataError, match=r"moved or replaced after its path was checked|not a file any more"):
        found.read()


def test_a_file_too_large_for_a_picture(folder, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_BYTES", 5)
    with pytest.raises(DataError, match="has more than 5 bytes"):
        picture_file("7.png", root=folder).read()


def test_a_picture_that_changed_since_its_digest_was_taken(folder):
    found = picture_file("7.png", root=folder)
    same = pictures.Picture(found.name, found.root, found.file, digest=content_digest(b"picture 7.png"))
    assert same.read() == b"picture 7.png"
    (folder / "7.png").write_bytes(b"another")
    with pytest.raises(DataError, match="changed after its items were prepared; run prepare_items again"):
        same.read()


@pytest.mark.parametrize("hashed", [pictures._HASHED_BYTES, 0], ids=["small", "large"])
def test_the_listing_sees_what_is_added_removed_renamed_and_changed(folder, monkeypatch, hashed):
    monkeypatch.setattr(pictures, "_HASHED_BYTES", hashed)
    seen = [digest(folder)]
    assert digest(folder) == seen[0]
    (folder / "inner/9.png").write_bytes(b"new")
    seen.append(digest(folder))
    (folder / "inner/9.png").write_bytes(b"changed")
    seen.append(digest(folder))
    (folder / "inner/9.png").rename(folder / "9.png")
    seen.append(digest(folder))
    (folder / "7.png").unlink()
    seen.append(digest(folder))
    assert len(set(seen)) == 5


def test_the_listing_of_a_copied_folder_is_the_same(folder):
    before = digest(folder)
    shutil.copytree(folder, folder.parent / "copy")
    os.utime(folder.parent / "copy/7.png", (1, 1))
    assert digest(folder.parent / "copy") == before
    (folder / ".hidden").write_bytes(b"")
    (folder / "gone.png").symlink_to("nothing")
    assert digest(folder) == before
    assert digest(folder.parent / "nowhere") == "missing"
