"""Classes of source and target meet by name, whatever file or order they come from."""

import json

import numpy as np
import pytest
from PIL import Image

from da_toolkit.commands import run, training
from da_toolkit.data import GTA5, CamVid, Carla, Cityscapes, Folder, Synthia
from da_toolkit.data.labels import CAMVID11, CITYSCAPES19, SYNTHIA16, LabelSpace
from da_toolkit.data.meeting import meet
from da_toolkit.errors import UserError
from da_toolkit.methods import SourceOnly
from da_toolkit.recipe import Recipe


def own(tmp_path, name, classes, ids=None, **more):
    """A Folder with one image and label, a pixel for each class of its own table, and one ignored."""
    root = tmp_path / name
    ids = ids or list(range(len(classes)))
    for kind, array in (("images", np.zeros((1, len(ids) + 1, 3))), ("labels", [[*ids, 200]])):
        (root / "train" / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(array, np.uint8)).save(root / "train" / kind / "a.png")
    table = root / "table.json"
    meaning = {**{str(raw): cls for raw, cls in zip(ids, classes, strict=True)}, "200": None}
    table.write_text(json.dumps({"classes": classes, "ids": meaning, **more}))
    return Folder(root=root, table=table, size=(8, 8))


def classes_of(domain):
    """The names of the classes of a domain's only label, and none where it is ignored."""
    label = domain.build("train").label(0)[0].tolist()
    return [None if number == 255 else domain.label_space.classes[number] for number in label]


def test_another_order_is_the_same_space(tmp_path):
    source = own(tmp_path, "a", ["kerb", "tram", "sky"])
    target = own(tmp_path, "b", ["sky", "kerb", "tram"], ids=[5, 7, 6])
    ours, theirs = meet(source, target)
    assert ours.label_space.classes == theirs.label_space.classes == ("sky", "kerb", "tram")
    assert theirs is target
    assert classes_of(ours) == ["kerb", "tram", "sky", None] and classes_of(theirs) == ["sky", "kerb", "tram", None]
    assert ours.build("train").label(0).tolist() == [[1, 2, 0, 255]]


def test_a_built_in_order_wins_on_either_side(tmp_path):
    names = sorted(CITYSCAPES19.classes)
    mine = own(tmp_path, "a", names)
    for pair in ((GTA5(), mine), (mine, Cityscapes())):
        assert {domain.label_space for domain in meet(*pair)} == {CITYSCAPES19}
    assert classes_of(meet(mine, Cityscapes())[0]) == [*names, None]


def test_the_smaller_side_decides_and_the_rest_is_told(tmp_path):
    two = own(tmp_path, "two", ["car", "road"])
    with pytest.warns(
        UserWarning, match=r"GTA5 \(cityscapes19\) is used in the 2 classes.*sidewalk, .*bicycle ignored"
    ):
        source, target = meet(GTA5(), two)
    assert source.label_space.classes == ("car", "road") and target is two
    with pytest.warns(UserWarning, match="Cityscapes"):
        source, target = meet(two, Cityscapes())
    assert source is two and target.label_space.classes == ("car", "road")
    with pytest.warns(UserWarning, match="terrain, truck, train ignored"):
        assert meet(Synthia(), Cityscapes())[1].label_space is SYNTHIA16


def test_what_an_own_space_includes_is_merged(tmp_path):
    target = own(tmp_path, "t", ["ground", "vehicle"], includes={"road": "ground", "car": "vehicle", "bus": "vehicle"})
    with pytest.warns(UserWarning, match="road as ground, car as vehicle, bus as vehicle"):
        source, _ = meet(GTA5(), target)
    assert [source.label_space.place(name) for name in ("road", "bus", "truck")] == [0, 1, None]


def test_train_ids_without_a_table_keep_their_meaning(tmp_path):
    root = own(tmp_path, "plain", list(CITYSCAPES19.classes)).root
    (label := Image.open(root / "train/labels/a.png")).load()
    Image.fromarray(np.where(np.asarray(label) == 200, 255, np.asarray(label))).save(root / "train/labels/a.png")
    plain, few = Folder(root=root, size=(8, 8)), own(tmp_path, "few", ["bus", "road"])
    with pytest.warns(UserWarning, match="2 classes"):
        source, _ = meet(plain, few)
    assert classes_of(source) == [name if name in ("bus", "road") else None for name in (*CITYSCAPES19.classes, "")]
    with pytest.warns(UserWarning, match="2 classes"):
        assert meet(*meet(plain, few))[0] == source  # once met, they stay


def test_classes_that_do_not_meet_are_listed_with_a_remedy_that_works(tmp_path):
    with pytest.raises(UserError) as caught:
        meet(GTA5(), CamVid())
    message = str(caught.value)
    for part in (
        "Only the source GTA5 (cityscapes19) has: sidewalk, ",
        "Only the target CamVid (camvid11) has: pavement, tree, sign, pedestrian, bicyclist.",
        "Both have: sky, building, pole, road, fence, car.",
        'labels="camvid11"',
        'labels="cityscapes7"',
    ):
        assert part in message
    for space in ("camvid11", "cityscapes7"):
        assert meet(GTA5(labels=space), CamVid(labels=space))[0].labels == space
    common = tmp_path / "common.json"
    common.write_text(message.split("a file with ")[1].split(", which ignores")[0])
    source, target = meet(GTA5(labels=str(common)), CamVid(labels=str(common)))
    assert (
        source.label_space.classes == target.label_space.classes == ("sky", "building", "pole", "road", "fence", "car")
    )


def test_no_class_in_common(tmp_path):
    with pytest.raises(UserError, match=r"Both have: none\. Remedy: where two names mean the same.*\"tram\": \"bus\""):
        meet(own(tmp_path, "a", ["tram"]), own(tmp_path, "b", ["bus"]))


def test_a_class_that_nothing_teaches_is_told(tmp_path):
    target = own(tmp_path, "t", ["road", "tram"])
    with pytest.warns(UserWarning, match="GTA5 has nothing called tram"):
        meet(GTA5(labels=target.label_space), target)


def test_carla_goes_into_any_space(tmp_path):
    ids = np.array(
        [[0, 0, 0, 0, 0], [4, 5, 8, 9, 10], [11, 12, 7, 3, 2], [7, 7, 7, 7, 7], [10] * 5, [10] * 5], np.uint8
    )
    for kind, array in (("CameraRGB", np.zeros((6, 5, 3), np.uint8)), ("CameraSeg", ids)):
        (tmp_path / kind).mkdir()
        Image.fromarray(array).save(tmp_path / kind / "f.png")
    kept = ["sky"] * 5
    for space, expected in (
        (
            "camvid11",
            [*kept, "pedestrian", "pole", "pavement", "tree", "car", "building", "sign", "road", None, "fence"],
        ),
        (
            "streets11",
            [*kept, "person", "pole", "sidewalk", "vegetation", "vehicle", "wall", "sign", "road", None, "fence"],
        ),
        (
            LabelSpace("own", ("heaven", "way"), includes=(("sky", "heaven"), ("road", "way"), ("sidewalk", "way"))),
            [*["heaven"] * 5, None, None, "way", None, None, None, None, "way", None, None],
        ),
    ):
        domain = Carla(root=tmp_path, labels=space)
        label = domain.build("train").label(0).ravel().tolist()
        names = [None if number == 255 else domain.label_space.classes[number] for number in label]
        assert names[:15] == expected
    assert meet(Carla(), CamVid()) == (Carla(), CamVid()) and Carla().label_space is CAMVID11


def test_settings_go_through_json_and_the_command_line(tmp_path, tiny_recipe, monkeypatch, capsys):
    source, target = own(tmp_path, "a", ["tram", "sky", "car"]), own(tmp_path, "b", ["sky", "tram", "car"])
    recipe = tiny_recipe(SourceOnly(), source=source, target=target)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert recipe.source.labels == target.label_space
    file = tmp_path / "r.py"
    file.write_text(
        "from da_toolkit.data import GTA5, Cityscapes\nfrom da_toolkit.methods import SourceOnly\n"
        "from da_toolkit.models import DeepLabV2\nfrom da_toolkit.recipe import Recipe\n"
        "from da_toolkit.data.labels import LabelSpace\nown = LabelSpace('own', ('road', 'car'))\n"
        "recipe = Recipe(GTA5(labels=own), Cityscapes(labels=own), DeepLabV2(), SourceOnly())\n"
    )
    seen = []
    monkeypatch.setattr(training, "check", lambda session: seen.append(session.recipe))
    for words in ([], ["--source.labels", "streets11", "--target.labels", "streets11"], ["--source.root", "x"]):
        run.main([str(file), *words, "--check"], "run")
    assert [recipe.source.label_space.name for recipe in seen] == ["own", "streets11", "own"]
    assert [recipe.target.label_space.name for recipe in seen] == ["own", "streets11", "own"]


def test_names_that_nearly_match_are_the_example(tmp_path):
    with pytest.raises(UserError, match=r'"includes": {"Sidewalk": "sidewalk"}'):
        meet(own(tmp_path, "a", ["tram", "Sidewalk"]), Cityscapes())


def test_an_own_domain_class_must_say_what_its_classes_are_called(tmp_path):
    class Silent(GTA5):
        class_names = ()

    with pytest.raises(UserError, match=r"Silent does not say what its classes are called.*`class_names`"):
        meet(Silent(), own(tmp_path, "t", ["road", "car"]))
    assert meet(Silent(), Cityscapes()) == (Silent(), Cityscapes())


def test_own_classes_are_trained_and_scored(tmp_path, monkeypatch):
    """Two classes of the street world in a table of another order: the run's scores are of these two."""
    from da_toolkit.data import Streets
    from da_toolkit.recipe import Schedule, Stage
    from da_toolkit.runs.runtime import Runtime
    from da_toolkit.runs.session import Session

    target = own(tmp_path, "t", ["car", "road"])
    world = {"size": (64, 96), "frames": 4, "val_frames": 2, "render_size": (64, 96)}
    with pytest.warns(UserWarning, match="Streets"):
        source, _ = meet(Streets(**world), target)
    from da_toolkit.models import DeepLabV2

    recipe = Recipe(
        source=source,
        target=Streets(look="camera", labels=target.label_space, **world),
        model=DeepLabV2("test_resnet", output_stride=16, weights="none", dilations=(1, 2)),
        method=SourceOnly(),
        schedule=Schedule((Stage("train", 2),)),
    )
    result = Session("r", recipe, Runtime(runs=tmp_path / "runs", tracking="none", workers=0)).run()
    assert list(result["scores"]) == ["table"] and list(result["scores"]["table"]["per_class"]) == ["car", "road"]
