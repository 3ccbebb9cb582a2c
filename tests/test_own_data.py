"""`da-toolkit init` and the tutorial that begins with it: what is written runs as it is."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from page_blocks import run_blocks
from PIL import Image

from da_toolkit import cli
from da_toolkit.check import check_recipe
from da_toolkit.data import Carla, Photographs, Streets
from da_toolkit.data.label_table import read_table
from da_toolkit.data.labels import STREETS11
from da_toolkit.errors import UserError
from da_toolkit.recipe.files import load_recipe
from da_toolkit.recipe.project import SAMPLES, write_project

PAGE = Path(__file__).parents[1] / "docs" / "own_data.md"
QUICK = [
    *("--schedule.stages.0.steps", "2", "--workers", "0", "--tracking", "none", "--evaluation.validators", "0"),
    *("--evaluation.images", "1", "--model.weights", "none"),
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty current folder; what recipe files define is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if "my_project" in name:
            del sys.modules[name]


def photographs(folder, count=3, size=(60, 90)):
    """JPEG files of the street world's other look, in that height and width."""
    data = Streets(look="camera", frames=4).build("train")
    folder.mkdir(parents=True)
    for index in range(count):
        Image.fromarray(data.image(index)).resize(size[::-1]).save(folder / f"{index}.jpg")
    return folder


def shortened(words):
    if words[0] in ("run", "prepare"):
        with_few_frames(Path("my_project/my_project.py"))
    return [*words, *QUICK] if words[0] == "run" and "--check" not in words else words


def with_few_frames(recipe, frames=4):
    """The recipe's street world in few frames instead of 400, which take a minute to render."""
    recipe.write_text(recipe.read_text().replace('look="game", labels', f'look="game", frames={frames}, labels'))


@pytest.mark.filterwarnings("ignore:Photographs have no labels")
def test_every_block_of_the_tutorial_runs(place, capsys):
    photographs(place / "photos")
    photographs(place / "labelled/train/images")
    photographs(place / "labelled/val/images", count=1)
    (place / "labelled/val/labels").mkdir()
    Image.fromarray(np.full((60, 90), 3, np.uint8)).save(place / "labelled/val/labels/0.png")
    assert run_blocks(PAGE, shortened) == 6
    said = capsys.readouterr().out
    assert "1 labelled photographs" in said and "my_project/my_project.py, my_project/classes.json" in said
    assert sorted(file.name for file in (place / "predictions/overlays").iterdir()) == ["0.png", "1.png", "2.png"]
    assert Image.open(place / "predictions/train_ids/0.png").size == (90, 60)
    assert json.loads((place / "runs/my_project/0/result.json").read_text())["scores"]


def test_a_project_without_photographs_has_samples_and_runs_as_it_is(place, capsys):
    assert not cli._dispatch(["init", "my_project"])
    assert "2 samples" not in (said := capsys.readouterr().out) and f"{SAMPLES} samples" in said
    with_few_frames(Path("my_project/my_project.py"))
    recipe = load_recipe(Path("my_project/my_project.py"))
    assert isinstance(recipe.source, Streets) and recipe.target.root == place / "my_project/samples"
    assert recipe.source.label_space.classes == recipe.target.label_space.classes == STREETS11.classes
    with pytest.warns(UserWarning, match="scores are of Streets val, which stands in"):
        cli._dispatch(["run", "my_project/my_project.py", "--check", "--tracking", "none", "--model.weights", "none"])
    out = capsys.readouterr().out
    assert f"Photographs train: {SAMPLES} images" in out and "Streets-camera val: 20 images" in out


def test_the_written_recipe_has_a_demo_on_the_street_world(place):
    from da_toolkit.recipe.demo import demo_version

    write_project(Path("my_project"))
    demo = demo_version(load_recipe(Path("my_project/my_project.py")))
    assert isinstance(demo.source, Streets) and isinstance(demo.target, Streets)


@pytest.mark.filterwarnings("ignore:Photographs have no labels")
def test_a_project_can_learn_from_carla(place, capsys):
    write_project(Path("my_project"), "carla", photographs(place / "photos"))
    for kind, array in (("CameraRGB", np.full((60, 80, 3), 90)), ("CameraSeg", np.full((60, 80), 7))):
        (place / "data/carla" / kind).mkdir(parents=True)
        Image.fromarray(array.astype(np.uint8)).save(place / "data/carla" / kind / "0.png")
    recipe = load_recipe(Path("my_project/my_project.py"))
    assert isinstance(recipe.source, Carla) and recipe.source.label_space.place("car") == STREETS11.index("vehicle")
    words = ["--data-root", "data", "--check", "--tracking", "none", "--model.weights", "none"]
    cli._dispatch(["run", "my_project/my_project.py", *words])
    assert "Carla train: 1 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        *(((60, 90), (160, 256)), ((90, 60), (256, 160)), ((64, 64), (256, 256))),
        *(((100, 230), (128, 288)), ((30, 300), (96, 896)), ((10, 999), (96, 1024))),
    ],
)
def test_the_recipes_size_has_the_photographs_shape(place, shape, expected):
    write_project(Path("my_project"), photographs=photographs(place / "photos", size=shape))
    recipe = load_recipe(Path("my_project/my_project.py"))
    assert recipe.target.size == expected and recipe.target.root == place / "photos"
    assert recipe.source.render_size == recipe.target.stand_in.render_size == expected
    recipe.source_augmentation.build(recipe.source.size)
    recipe.target_augmentation.build(expected)  # or they would refuse their crop


@pytest.mark.filterwarnings("ignore:Photographs have no labels")
@pytest.mark.parametrize("shape", [None, (60, 80), (80, 60), (54, 96), (100, 232), (90, 30)])
def test_a_check_warns_of_nothing_that_init_wrote(place, shape):
    write_project(Path("my_project"), photographs=photographs(place / "photos", size=shape) if shape else None)
    recipe = Path("my_project/my_project.py")
    with_few_frames(recipe, 20)
    reports = check_recipe(load_recipe(recipe), None)
    assert len(reports) == 4 and [report.problems + report.warnings for report in reports] == [[]] * 4


def test_the_table_is_read_as_it_is_written(place):
    write_project(Path("my_project"))
    table = read_table(Path("my_project/classes.json"))
    assert (table.space.classes, table.space.palette) == (STREETS11.classes, STREETS11.palette)
    assert table.space.includes == STREETS11.includes
    assert table.ids == {**dict(enumerate(STREETS11.classes)), 255: None}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["there"], "there exists already, and nothing in it is written over"),
        (["file"], "file exists already"),
        (["link"], "link exists already"),
        (["."], "exists already"),
        (["file/below"], r"file/below cannot be made \(.*\)\. Name a new folder"),
        (["new", "--photographs", "nowhere"], "nowhere does not exist"),
        (["new", "--photographs", "there"], "there holds no images"),
        (["new", "--photographs", "broken"], r"broken/a\.jpg cannot be read as an image"),
    ],
)
def test_what_cannot_be_a_project_is_told_and_leaves_nothing(place, words, told):
    (place / "there").mkdir()
    (place / "file").write_text("mine")
    (place / "link").symlink_to("gone")
    (place / "broken").mkdir()
    (place / "broken/a.jpg").write_bytes(b"\xff\xd8\xff")
    before = sorted(place.rglob("*"))
    with pytest.raises(UserError, match=told) as error:
        cli._dispatch(["init", *words])
    assert "\n" not in str(error.value)
    assert sorted(place.rglob("*")) == before and (place / "file").read_text() == "mine"
    with pytest.raises(UserError, match=r"Unknown source 'caral'\. Did you mean 'carla'"):
        write_project(Path("new"), "caral")


@pytest.mark.parametrize(
    ("domain", "split", "told"),
    [
        (lambda: Photographs(), "train", r"set `root`, the folder of your images; --data-root is not looked at"),
        (lambda: Photographs(root="nowhere"), "train", "the folder nowhere does not exist"),
        (lambda: Photographs(root="."), "train", r"the folder \. holds no images"),
        (lambda: Photographs(root="."), "test", "Unknown split of Photographs 'test'"),
        (lambda: Photographs(stand_in=Photographs()), "val", "`stand_in` must be a domain with labels"),
    ],
)
def test_photographs_tell_what_is_wrong(place, domain, split, told):
    with pytest.raises(UserError, match=told):
        domain().build(split)


def test_photographs_bring_their_stand_in_to_the_classes_of_the_recipe(place):
    photographs(place / "photos")
    domain = Photographs(root="photos", labels="streets11", stand_in=Streets(frames=4, val_frames=2))
    train = domain.build("train")
    assert (len(train), train.has_labels, train.key(0)) == (3, False, "0")
    with pytest.warns(UserWarning, match="say little of your images"):
        val = domain.build("val")
    assert val.label_space == STREETS11 and val.has_labels and len(val) == 2
