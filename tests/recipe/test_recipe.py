"""Recipes as data: validation, JSON round trip, and files that cannot be used."""

import dataclasses
import json

import pytest

from da_toolkit.data import GTA5, CamVid, Folder
from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import UserError
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.methods import (
    ClassColours,
    CopyPaste,
    Entropy,
    FeatureDistance,
    FourierTransfer,
    LabTransfer,
    Oracle,
    SourceOnly,
)
from da_toolkit.models.deeplab import DeepLabV2
from da_toolkit.recipe import LearningRate, Recipe, Schedule, Stage, find_recipe, load_recipe, recipe_files, rounds
from da_toolkit.recipe.as_json import PLACES, flatten

LISTED = """
import dataclasses
from pathlib import Path
from da_toolkit.methods import SourceOnly
from da_toolkit.recipe import find_recipe, load_recipe

@dataclasses.dataclass(frozen=True)
class Mine(SourceOnly):
    notes: list[str] = dataclasses.field(default_factory=lambda: ["a"])
    place: Path | None = Path(__file__).parent

recipe = dataclasses.replace(load_recipe(find_recipe("source_only_gta")), method=Mine())
"""

NAMES = sorted(recipe_files())


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_recipe_survives_json(name):
    recipe = load_recipe(find_recipe(name))
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_the_published_settings_of_adaptseg():
    recipe = load_recipe(find_recipe("adaptseg_multi_gta"))
    assert recipe.source.size == (720, 1280) and recipe.target.size == (512, 1024)
    assert (recipe.optimizer.lr, recipe.optimizer.head_multiplier, recipe.optimizer.weight_decay) == (2.5e-4, 10, 5e-4)
    assert recipe.learning_rate.horizon == 250_000 and recipe.schedule.steps == 150_000
    main, aux = recipe.method.discriminators
    assert (main.weight, aux.weight, aux.level) == (1e-3, 2e-4, "aux") and recipe.model.aux
    assert recipe.reported.miou == 42.4


def test_reported_numbers_are_marked_as_not_ours():
    for name in NAMES:
        reported = load_recipe(find_recipe(name)).reported
        assert reported is None or (reported.paper and "not reproduced here" in reported.note)


def test_schedule_scales_in_proportion_and_keeps_every_stage():
    schedule = Schedule((Stage("warm-up", 60_000), *rounds(3, 20_000)))
    assert schedule.steps == 120_000
    assert [stage.steps for stage in schedule.scaled(12).stages] == [6, 2, 2, 2]
    assert [stage.steps for stage in schedule.scaled(20).stages] == [11, 3, 3, 3]
    assert [stage.steps for stage in schedule.scaled(1).stages] == [1, 1, 1, 1]
    with pytest.raises(UserError, match="at least 1 step, got 0"):
        schedule.scaled(0)
    assert [stage.round for stage in schedule.stages] == [0, 1, 2, 3]


@pytest.mark.parametrize("part", [ClassColours(), CopyPaste(), FeatureDistance(), FourierTransfer(), LabTransfer()])
def test_terms_of_source_images_are_refused_beside_a_method_that_reads_none(part, tiny_recipe):
    with pytest.raises(UserError, match=f"{type(part).__name__} works on source images, and Oracle reads none"):
        tiny_recipe(Oracle(regularizers=(part,)))
    assert tiny_recipe(SourceOnly(regularizers=(part,))).method.regularizers == (part,)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch_size": "2"}, "batch_size is '2': str is not an instance of int"),
        ({"method": SourceOnly(regularizers=ClassColours())}, r"method\.regularizers is .* needs a comma: \(this,\)"),
        ({"method": SourceOnly(regularizers=(ClassColours,))}, r"method\.regularizers is .* item 0 of tuple is not"),
        ({"evaluation": Evaluation(flip=None)}, r"evaluation\.flip is None: None is not an instance of bool"),
        (
            {"learning_rate": LearningRate(power=float("nan"))},
            r"learning_rate\.power is nan: .* a finite number",
        ),
        (
            {"method": SourceOnly(regularizers=(Entropy(weight=-1.0),))},
            r"method\.regularizers\.0\.weight is -1\.0: ",
        ),
        ({"method": SourceOnly(class_balance=-1.0)}, r"method\.class_balance must be at least 0"),
        ({"evaluation": Evaluation(scales=[1.0])}, r"evaluation\.scales is .*Write \( \) for \[ \]"),
        ({"target_augmentation": Augmentation(crop=64)}, r"target_augmentation\.crop is 64: "),
        ({"schedule": Schedule((Stage(3, 4),))}, r"schedule\.stages\.0\.name is 3: int is not an instance of str"),
    ],
)
def test_settings_of_a_wrong_type_are_named(changes, told, tiny_recipe):
    with pytest.raises(UserError, match=told) as caught:
        dataclasses.replace(tiny_recipe(SourceOnly()), **changes)
    assert "\n" not in str(caught.value)


def test_own_settings_with_lists_and_paths_are_read_back(tmp_path):
    file = tmp_path / "listed.py"
    file.write_text(LISTED)
    recipe = load_recipe(file)
    assert recipe.method.notes == ["a"]
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_flatten_names_every_leaf():
    leaves = dict(flatten(load_recipe(find_recipe("adaptseg_gta")).to_json()))
    assert leaves["method.discriminators.0.weight"] == 1e-3
    assert leaves["source.size"] == "[720, 1280]" and leaves["schedule.stages.0.steps"] == 150_000


def test_recipe_by_name_path_and_shipped_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_recipe("adaptseg_gta") == find_recipe("recipes/adaptseg_gta.py")
    (tmp_path / "mine.py").write_text("")
    assert find_recipe("mine.py").name == "mine.py"
    with pytest.raises(UserError, match="Did you mean 'adaptseg_gta'"):
        find_recipe("adaptseg_gtaa")
    with pytest.raises(UserError, match=r"elsewhere.mine\.py does not exist"):
        find_recipe("elsewhere/mine.py")
    with pytest.raises(UserError, match=r"'mine' is no recipe's name\. Did you mean the file mine\.py"):
        find_recipe("mine")
    with pytest.raises(UserError, match=r"The recipe file adaptsek\.py does not exist"):
        find_recipe("adaptsek.py")
    for nothing in ("", ".", "/", "adaptseg_gta.yaml"):
        with pytest.raises(UserError, match="Unknown recipe"):
            find_recipe(nothing)


NESTED = """from dataclasses import dataclass
class Outer:
    @dataclass(frozen=True)
    class Inner: strength: float = 1.0
def made():
    Local = type("Local", (), {"__annotations__": {"strength": float}, "strength": 1.0}); return dataclass(Local)

"""
LATE_SETTING = """
from dataclasses import dataclass, field
@dataclass(frozen=True)
class Mine:
    twice: int = field(init=False)
    k: int = 1
    def __post_init__(self):
        object.__setattr__(self, "twice", self.k / 2)
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe = (", "line 1"),
        ("x = 1", "must define `recipe = Recipe(...)`, and defines no `recipe`"),
        ("recipe = 3", "its `recipe` is 3"),
        (
            "from da_toolkit.methods import Adversarial, OutputSpace\nAdversarial(discriminators=(OutputSpace()))",
            "is not a tuple. A tuple of one needs a comma: (this,).",
        ),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("\n\nrecipe = 1 / 0", "line 3: ZeroDivisionError"),
        ("from da_toolkit.recipe import Stage\nStage('a', 0)", "needs at least 1 step"),
        ("from da_toolkit.recipe import Stage\nStage('a', '8')", "Stage.steps is '8': str is not an instance of int"),
        ("from da_toolkit.recipe import SGD\nSGD(lr='1')", "line 2: SGD.lr is '1': str is "),
        ("from da_toolkit.data import GTA5\nGTA5(size=720)", "GTA5.size is 720: int is not a tuple."),
        (
            "from da_toolkit.models import DeepLabV2\nDeepLabV2(output_stride='8')",
            "DeepLabV2.output_stride is '8': str is not an instance of int",
        ),
        (
            "from da_toolkit.methods import MeanTeacher\nMeanTeacher(masking=None)",
            "MeanTeacher.masking is None: None is not an instance of",
        ),
        (
            "from da_toolkit.recipe import Schedule, Stage\nSchedule((Stage('a', 2))).scaled(3)",
            "Stage is not a tuple. A tuple of one needs a comma: (this,).",
        ),
        (LATE_SETTING + "Mine(k='2')", "TypeError: "),
        ("from da_toolkit.data import GTA5\nGTA5(sise=1)", "Unknown setting of GTA5 'sise'. Did you mean 'size'?"),
        ("import da_toolkit.data as D\nD.GTA5(sise=1)", "line 2: Unknown setting of GTA5 'sise'. Did you mean 'size'?"),
        ("from da_toolkit.data import Carla as C\nX = C\nX(lables='a')", "of Carla 'lables'. Did you mean 'labels'?"),
        (
            "import da_toolkit.methods.mean_teacher\nm = da_toolkit.methods\nm.mean_teacher.ClassMix(blurr=0)",
            "line 3: Unknown setting of ClassMix 'blurr'. Did you mean 'blur'?",
        ),
        (NESTED + "Outer.Inner(strenght=2)", "line 8: Unknown setting of Inner 'strenght'. Did you mean 'strength'?"),
        (NESTED + "kind = made()\nkind(strenght=2)", "Unknown setting of Local 'strenght'. Did you mean 'strength'?"),
        (NESTED + "import dataclasses\ndataclasses.replace(Outer.Inner(), stren=2)", "of Inner 'stren'. Did you mean"),
        ("class Plain:\n    pass\nPlain(a=1)", "line 3: TypeError: Plain() takes no arguments"),
        (
            "from da_toolkit.data import Folder\nFolder(root='a', table='nowhere.json', size=(0, 96))",
            "line 2: Folder: size is (height, width) in pixels, got (0, 96)",
        ),
        (
            "from da_toolkit.recipe import Recipe, Schedule\nSchedule(30).steps",
            "line 2: Schedule.stages is 30: int is not a tuple.",
        ),
    ],
)
def test_recipe_files_that_cannot_be_used_name_file_and_line(tmp_path, text, message):
    file = tmp_path / "broken.py"
    file.write_text(text)
    with pytest.raises(UserError, match=r"broken\.py.*") as caught:
        load_recipe(file)
    assert message in str(caught.value) and "\n" not in str(caught.value).strip()


def test_the_line_is_named_for_a_relative_path_and_for_a_refused_setting(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("from da_toolkit.data.transforms import Augmentation\n\nAugmentation(color=2)\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^Recipe mine\.py, line 3: .*color"):
        load_recipe(find_recipe("mine.py"))


def test_two_label_tables_with_the_same_classes_fit_together(tmp_path, tiny_recipe):
    for name in ("here", "there"):
        (tmp_path / f"{name}.json").write_text('{"classes": ["road", "car"], "ids": {"0": "road", "1": "car"}}')
    here, there = (Folder(root=tmp_path, table=tmp_path / f"{name}.json", size=(8, 8)) for name in ("here", "there"))
    assert tiny_recipe(SourceOnly(), source=here, target=there).target == there
    (tmp_path / "there.json").write_text('{"classes": ["car", "road"], "ids": {"0": "road", "1": "car"}}')
    assert tiny_recipe(SourceOnly(), source=here, target=there).source.label_space.classes == ("car", "road")


def test_settings_out_of_range_are_refused(tiny_recipe):
    for wrong in (
        lambda: Augmentation(scale=(2.0, 0.5)),
        lambda: Augmentation(color=1.5),
        lambda: Evaluation(scales=()),
        lambda: DeepLabV2(output_stride=7),
        lambda: Schedule(()),
        lambda: tiny_recipe(SourceOnly(), batch_size=0),
        lambda: Recipe(GTA5(), CamVid(), DeepLabV2(), SourceOnly()),
    ):
        with pytest.raises(UserError):
            wrong()


def test_json_of_something_else_is_refused():
    good = load_recipe(find_recipe("adaptseg_gta")).to_json()
    for tree in ({}, {"class": "os.system"}, {**good, "class": "da_toolkit.recipe.Stage"}, {**good, "extra": 1}):
        with pytest.raises(UserError, match="not the settings of a recipe"):
            Recipe.from_json(tree)


def test_every_settings_class_of_a_recipe_has_a_public_place():
    """So that a file may move, and what runs have kept is still read."""
    places = tuple(f"da_toolkit.{place}." for place in PLACES)
    for path in recipe_files().values():
        named = dict(flatten(load_recipe(path).to_json()))
        classes = [value for name, value in named.items() if name.split(".")[-1] == "class"]
        assert classes and all(name.startswith(places) and name.count(".") == 2 for name in classes), path.name


def test_a_recipe_kept_while_its_classes_stood_in_other_files_is_the_same():
    recipe = load_recipe(find_recipe("adv_rpt_gta"))
    tree = recipe.to_json()
    moved = json.loads(
        json.dumps(tree)
        .replace("da_toolkit.recipe.SGD", "da_toolkit.training.optim.SGD")
        .replace("da_toolkit.regularizers.Superpixels", "da_toolkit.data.superpixels.Superpixels")
        .replace("da_toolkit.methods.Adversarial", "da_toolkit.methods.adversarial.Adversarial")
    )
    assert moved != tree
    assert Recipe.from_json(moved) == recipe and dict(flatten(moved)) == dict(flatten(tree))


@pytest.mark.parametrize(
    "name", ["os.path", "da_toolkit.data.Nothing", "da_toolkit.methods.Term", "da_toolkit.cli.main"]
)
def test_only_settings_classes_are_rebuilt(name):
    tree = load_recipe(find_recipe("adaptseg_gta")).to_json()
    tree["method"]["class"] = name
    with pytest.raises(UserError, match="not one of da_toolkit's settings classes"):
        Recipe.from_json(tree)
