"""What `predict` is given: names, patterns, lists, folders of its own, and names that collide."""

from pathlib import Path

import pytest

from da_toolkit.errors import UserError
from da_toolkit.predicting.inputs import collect
from da_toolkit.predicting.outputs import KINDS


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(here, *names):
    for name in names:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).touch()


def names(*words, output="out", **more):
    found = collect(words, Path(output), KINDS, **more)
    return {one.name: str(one.file) for one in found.found}, found.left_out


def test_files_have_their_names_folders_keep_paths_and_patterns_keep_them_from_the_first_wildcard(here):
    touch(here, "a/b/x.png", "a/c/x.JPG", "a/notes.txt", "a/.hidden.png", "y.tar.png")
    assert names("y.tar.png", "a/b/x.png") == ({"y.tar": "y.tar.png", "x": "a/b/x.png"}, [])
    assert names("a") == ({"b/x": "a/b/x.png", "c/x": "a/c/x.JPG"}, [])
    assert names("a/*/x.*") == ({"b/x": "a/b/x.png", "c/x": "a/c/x.JPG"}, [])
    assert names("a/**/*") == ({"b/x": "a/b/x.png", "c/x": "a/c/x.JPG"}, [])
    found, left_out = names("a/*")  # folders, each by itself
    assert found == {"x": "a/b/x.png"} and "a/c/x.JPG would be written as x.png" in left_out[0]
    assert names("**/*.png")[0] == {"a/b/x": "a/b/x.png", "y.tar": "y.tar.png"}


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(here):
    touch(here, "shot [1].png", "shot 1.png")
    assert names("shot [1].png") == ({"shot [1]": "shot [1].png"}, [])


def test_a_list_keeps_relative_paths_and_may_be_separated_by_null_bytes(here):
    touch(here, "a/x.png", "b/x.png", "c d/y.png")
    expected = {"a/x": "a/x.png", "b/x": "b/x.png", "c d/y": "c d/y.png"}
    assert names("-", listed=b"a/x.png\nb/x.png\n\nc d/y.png") == (expected, [])
    assert names("-", listed=b"a/x.png\0b/x.png\0c d/y.png\0") == (expected, [])
    assert names("-", listed=str(here / "a/x.png").encode())[0] == {"x": str(here / "a/x.png")}
    assert names("-", listed=b"*/x.png\nc d\n")[0] == {"a/x": "a/x.png", "b/x": "b/x.png", "y": "c d/y.png"}
    with pytest.raises(UserError, match="lists nothing"):
        names("-", listed=b"\n")


def test_the_same_file_twice_is_one_and_two_of_one_name_leave_the_second_out(here):
    touch(here, "a/x.png", "b/x.png", "b/x.jpg", "m.png")
    (here / "link.png").symlink_to("m.png")
    assert names("m.png", "./m.png", "link.png") == ({"m": "m.png"}, [])
    found, left_out = names("a/x.png", "b/x.png", "m.png")
    assert found == {"x": "a/x.png", "m": "m.png"}
    assert left_out == [
        "b/x.png would be written as x.png, as is a/x.png: predict it into another folder (--output), or name the "
        "folder that holds both, of which paths are kept."
    ]
    assert names("b")[1] == [
        "b/x.png would be written as x.png, as is b/x.jpg: predict it into another folder (--output), or rename one of "
        "them."
    ]


def test_a_test_servers_files_lie_in_one_folder_so_last_names_must_differ(here):
    touch(here, "in/a/x.png", "in/b/x.png")
    assert len(names("in")[0]) == 2
    found, left_out = names("in", flat=["acdc"])
    assert list(found) == ["a/x"] and "in/b/x.png would be written as acdc/x.png, as is in/a/x.png" in left_out[0]


def test_a_video_needs_the_folder_of_its_name(here):
    touch(here, "in/v.mp4", "in/v.png", "other/v/0.png", "w/v.mp4")
    assert names("in")[0] == {"v": "in/v.mp4"}
    found, left_out = names("other", "w")
    assert found == {"v/0": "other/v/0.png"} and "images of a folder of that name" in left_out[0]
    found, left_out = names("w", "other")
    assert found == {"v": "w/v.mp4"} and "v/0.png, as is w/v.mp4" in left_out[0]


def test_predictions_are_no_input_and_other_files_in_the_output_are(here):
    touch(here, "photos/x.png", "masks/x.png", "out/overlays/x.png", "y.png")
    assert names("photos", output=".")[0] == {"x": "photos/x.png"}
    assert set(names("*.png", "photos", "out")[0]) == {"y", "x"}
    found, left_out = names("photos", ".", output=".")
    assert found == {"x": "photos/x.png"} and "--output . is a folder of the images themselves" in left_out[0]
    with pytest.raises(UserError, match=r"The folder masks holds predictions, of --output \."):
        names("masks", output=".")
    with pytest.raises(UserError, match="all images there lie in --output out"):
        names("out/overlays/x.png")


def test_whatever_is_wrong_with_all_is_told(here):
    (here / "empty").mkdir()
    with pytest.raises(
        UserError, match=r"no\.png does not exist.*No file is called \*\.bmp.*holds no images.*is no path"
    ):
        names("no.png", "*.bmp", "empty", "")
