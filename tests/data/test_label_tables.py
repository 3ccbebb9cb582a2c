"""Label tables of the user's own: what they say is what happens, and a wrong one is told in one paragraph."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from da_toolkit.data import GTA5, CamVid, Cityscapes, Folder, Streets
from da_toolkit.data.label_table import read_table
from da_toolkit.data.labels import CITYSCAPES19, LabelSpace
from da_toolkit.errors import UserError

GOOD = {"classes": ["lane", "tram"], "ids": {"4": "tram", "9": "lane", "12": None}}


def written(tmp_path, tree, name="mine.json", encoding="utf-8"):
    file = tmp_path / name
    file.write_text(tree if isinstance(tree, str) else json.dumps(tree), encoding=encoding)
    return file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_every_unicode_encoding_of_json_is_read(tmp_path, encoding):
    table = read_table(written(tmp_path, {**GOOD, "classes": ["lane", "tram", "Straße"]}, encoding=encoding))
    assert table.space.classes == ("lane", "tram", "Straße")
    assert table.ids == {4: "tram", 9: "lane", 12: None}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classes": []}, "it has 0 classes, and must have 1 to 255"),
        ({"classes": [f"c{n}" for n in range(256)]}, "it has 256 classes"),
        ({"classes": ["lane", "tram", "lane"]}, "the class 'lane' stands there twice"),
        ({"classes": ["lane", "tram", " tram"]}, "the class ' tram' has an empty name, or blanks around it"),
        ({"classes": "lane"}, "\"classes\" must be a list of names, not 'lane'"),
        ({"classes": ["lane", 3]}, '"classes" must be a list of names'),
        ({"ids": {"4": "trams"}}, "the id 4: Unknown class 'trams'. Did you mean 'tram'"),
        ({"ids": {"4.0": "tram"}}, "the id '4.0' is not a whole number"),
        ({"ids": {"٣": "tram"}}, "is not a whole number"),
        ({"ids": {"1_0": "tram"}}, "the id '1_0' is not a whole number"),
        ({"ids": {"-1": "tram"}}, "the id '-1' is not a whole number"),
        ({"ids": {"65536": "tram"}}, "the id 65536 is out of range"),
        ({"ids": {"9" * 5000: "tram"}}, "out of range"),
        ({"ids": {"4": 1}}, "the id 4 means 1, which is no name"),
        ({"ids": {}}, '"ids" maps no id to a class'),
        ({"ids": {"0": None, "7": None}}, '"ids" maps no id to a class'),
        ({"ids": ["tram"]}, '"ids" must map ids to names or null'),
        ({"colors": [[1, 2, 3]]}, "it has 1 colours for 2 classes"),
        ({"colors": [[1, 2, 3], [1, 2, 256]]}, "the colour [1, 2, 256] is not three whole numbers 0..255"),
        ({"colors": [[1, 2, 3], [1, 2]]}, "the colour [1, 2] is not three"),
        ({"colors": [[1, 2, 3], [1.5, 2, 3]]}, "the colour [1.5, 2, 3]"),
        ({"colors": "red"}, '"colors" must be a list'),
        ({"colours": []}, "Unknown key 'colours'. Did you mean 'colors'"),
        ({"includes": {"train": "trams"}}, "'train' is said to belong to 'trams', which is none of its classes"),
        ({"includes": {"lane": "tram"}}, "'lane' is said to belong to 'tram', but is a class itself"),
        ({"includes": ["tram"]}, '"includes" must map other names to classes'),
    ],
)
def test_wrong_tables_name_the_file_and_the_mistake(tmp_path, change, told):
    file = written(tmp_path, {**GOOD, **change})
    with pytest.raises(UserError) as caught:
        Folder(root=tmp_path, table=file)
    message = str(caught.value)
    assert f"The label table {file} cannot be used: " in message and told in message and "\n" not in message
    assert "It must look like {" in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1, 2]", "it holds a JSON list, not an object"),
        ("road: 1", "it is not JSON"),
        ("", "it is not JSON"),
        ("{}", 'it has neither "classes" nor "ids"'),
        ('{"ids": {"3": "road", "3": "sky"}}', "'3' stands there twice"),
        ('{"ids": {"3": "road"}, "colors": [[1, 2, 3]]}', '"colors" needs "classes" beside it'),
        ('{"ids": ' + "[" * 100_000, "it is not JSON"),
        ('{"ids": {"3": "rode"}}', "Unknown class of cityscapes19 'rode'. Did you mean 'road'"),
    ],
)
def test_files_that_are_no_tables(tmp_path, text, told):
    file = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        Folder(root=tmp_path, table=file)
    assert str(file) in str(caught.value) and told in str(caught.value)


def test_files_that_are_not_there_or_not_files(tmp_path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "bytes.json").write_bytes(b"\xff\x00\xff{}")
    for name, told in (("gone", "it does not exist"), ("folder", "it is a folder"), ("bytes", "it is not")):
        for setting in ({"table": tmp_path / f"{name}.json"}, {"labels": str(tmp_path / f"{name}.json")}):
            with pytest.raises(UserError, match=rf"{name}\.json cannot be used: {told}"):
                Folder(root=tmp_path, **setting)


def test_label_spaces_in_a_recipe_are_checked_as_tables_are():
    with pytest.raises(UserError, match="'farm' cannot be used: the class 'crop' stands there twice"):
        LabelSpace("farm", ("crop", "soil", "crop"))
    with pytest.raises(UserError, match="must be a tuple of names, not 'crop'"):
        LabelSpace("farm", "crop")
    assert len(set(LabelSpace("many", tuple(map(str, range(255)))).palette)) == 255


@given(st.lists(st.text(min_size=1).filter(lambda name: name == name.strip()), min_size=1, max_size=255, unique=True))
def test_any_names_make_a_space_with_a_colour_each(names):
    space = LabelSpace("any", tuple(names))
    assert space.reached(names) == tuple(names)
    assert np.array(space.palette, np.uint8).shape == (len(names), 3)


def test_a_built_in_name_means_the_built_in_classes(tmp_path):
    file = written(tmp_path, {"classes": ["road", "sky"]}, "camvid11.json")
    with pytest.raises(UserError, match="has the name of a built-in one with other classes"):
        GTA5(labels=str(file))
    with pytest.raises(UserError, match="has the name of a built-in one"):
        CamVid(labels=LabelSpace("cityscapes7", ("sky", "road")))


def test_labels_of_other_types_are_refused():
    for wrong in (None, 7, ["road"], ""):
        with pytest.raises(UserError, match="label"):
            GTA5(labels=wrong)


def test_a_data_set_without_any_of_the_classes_says_what_it_has(tmp_path):
    file = written(tmp_path, {"classes": ["auto", "strasse"]})
    with pytest.raises(UserError, match=r"Cityscapes: it has none of the classes of mine \(auto, strasse\).*its own"):
        Cityscapes(labels=str(file))
    written(tmp_path, {"classes": ["auto", "strasse"], "includes": {"car": "auto", "truck": "auto"}})
    assert Cityscapes(labels=str(file)).label_space.place("truck") == 0


def folder_of(tmp_path, ids):
    for kind, array in (("images", np.zeros((1, len(ids), 3))), ("labels", [ids])):
        (tmp_path / "train" / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(array, np.uint8)).save(tmp_path / "train" / kind / "a.png")


def test_a_folders_ids_and_its_classes_are_two_things(tmp_path):
    folder_of(tmp_path, [4, 9, 12])
    table = written(tmp_path, GOOD)
    wide = written(tmp_path, {"classes": ["tram", "sky", "lane"]}, "wide.json")
    for domain, expected in (
        (Folder(root=tmp_path, table=table), [1, 0, 255]),
        (Folder(root=tmp_path, labels=str(table)), [1, 0, 255]),  # a table with ids, whichever setting names it
        (Folder(root=tmp_path, table=table, labels=str(wide)), [0, 2, 255]),
        (Folder(root=tmp_path, table=table, labels=LabelSpace("one", ("tram",))), [0, 255, 255]),
        (Folder(root=tmp_path), [4, 9, 12]),
        (Folder(root=tmp_path, ids="cityscapes19", labels="cityscapes7"), [1, 3, 5]),  # fence, terrain, rider
        (Folder(root=tmp_path).in_space(LabelSpace("two", ("rider", "fence"))), [1, 255, 0]),
    ):
        assert domain.build("train").label(0)[0].tolist() == expected
    with pytest.raises(UserError, match="`table` and `ids` both say"):
        Folder(root=tmp_path, table=table, ids="cityscapes19")
    with pytest.raises(UserError, match=r'wide\.json has no "ids"'):
        Folder(root=tmp_path, table=wide)


def test_streets_in_classes_of_ones_own():
    everything = Streets(frames=2, render_size=(64, 96)).build("train").label(1)
    own = LabelSpace("own", ("sky", "ground"), includes=(("road", "ground"), ("sidewalk", "ground")))
    label = Streets(frames=2, render_size=(64, 96), labels=own).build("train").label(1)
    ground = np.isin(everything, [CITYSCAPES19.index("road"), CITYSCAPES19.index("sidewalk")])
    assert ground.any() and (label[ground] == 1).all()
    assert ((label == 0) == (everything == CITYSCAPES19.index("sky"))).all()
    assert ((label == 255) == ~(ground | (everything == CITYSCAPES19.index("sky")))).all()
