"""Runs of methods that read no source: no source folder is there, and nothing of it is asked for."""

import dataclasses
import json
import shutil

import pytest
import torch

from da_toolkit.check import check_recipe
from da_toolkit.commands import run as run_command
from da_toolkit.commands.prepare import export_streets
from da_toolkit.commands.training import check
from da_toolkit.data import GTA5, Cityscapes
from da_toolkit.errors import UserError
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.methods import ContinualTeacher, SourceFree, SourceOnly
from da_toolkit.recipe import Recipe, demo_version, find_recipe, load_recipe
from da_toolkit.recipe.passes import run_passes
from da_toolkit.registry import METHODS
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session

COTTA = SourceFree(regularizers=(ContinualTeacher(scales=(1.0,)),))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with both data sets."""
    folder = tmp_path_factory.mktemp("data")
    export_streets(folder, 4, (64, 128))
    return folder


@pytest.fixture
def recipe_of(tiny_recipe):
    """Function: a recipe on files, GTA5 to Cityscapes."""

    def make(method, **changes):
        return tiny_recipe(
            method,
            steps=2,
            aux=False,
            rounds=True,
            source=GTA5(size=(64, 96)),
            target=Cityscapes(size=(64, 96)),
            evaluation=Evaluation(every=1, validators=1, images=1),
            **changes,
        )

    return make


@pytest.fixture
def started(recipe_of, root, tmp_path):
    """Function: the recipe of a method that starts from a source-only run; GTA5 is gone when it is given."""
    runtime = Runtime(data_root=root, runs=tmp_path / "runs", workers=0, tracking="none")
    first = Session("source_only", recipe_of(SourceOnly()), runtime)
    first.run()
    alone = tmp_path / "target alone"
    shutil.copytree(root / "cityscapes", alone / "cityscapes")

    def make(method, **changes):
        recipe = recipe_of(method, **changes)
        model = dataclasses.replace(recipe.model, weights=str(first.folder))
        return dataclasses.replace(recipe, model=model), dataclasses.replace(runtime, data_root=alone)

    return make


def test_a_run_needs_no_source_folder_from_its_start_to_its_score(started, capsys):
    for name in METHODS.names(family="source-free"):
        recipe, runtime = started(COTTA if name == "cotta" else METHODS[name].build())
        session = Session(name, recipe, runtime)
        result = session.run()
        assert set(json.loads((session.folder / "data.json").read_text())) == {"target", "val"}
        assert result["steps"] == 2 and len(result["evaluations"]) == 2
        for evaluation in result["evaluations"]:
            assert set(evaluation["validators"]) == {"entropy", "soft_neighbourhood_density", "teacher_agreement"}
        check(session)
        assert "source: not opened, for the method reads none" in capsys.readouterr().out
    recipe, runtime = started(SourceOnly())
    with pytest.raises(UserError, match=r"GTA5: the folder .* does not exist"):
        Session("needs", recipe, runtime).run()


def test_a_stopped_run_goes_on_to_the_same_bits_without_its_source(started):
    recipe, runtime = started(COTTA)
    whole = Session("whole", recipe, runtime)
    whole.run()
    stopped = Session("stopped", recipe, dataclasses.replace(runtime, save_every=1))
    stopped.run()
    last = max(stopped.checkpoints.files())
    last.unlink()
    (stopped.folder / "result.json").unlink()
    assert stopped.checkpoints.files()
    Session("stopped", recipe, dataclasses.replace(runtime, resume=True)).run()
    files = [session.folder / "model.safetensors" for session in (whole, stopped)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_data_are_judged_without_a_source(started):
    recipe, runtime = started(METHODS["tent"].build())
    reports = check_recipe(recipe, runtime.data_root)
    assert [report.name for report in reports] == [
        "Cityscapes train",
        "Cityscapes val",
        "target train and val together",
    ]
    assert not any("not_opened" in str(report.to_json()) for report in reports)
    sizes = [str(entry.setting) for entry in run_passes(recipe)]
    assert sizes and not any("source" in setting for setting in sizes)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (
            "none",
            r"model\.weights 'none' is no run's\. Train one first .*run source_only_gta\).*runs/source_only_gta/0",
        ),
        (
            "runs/source_only_synthia_demo/0",
            r"is not there.*run source_only_synthia --demo\).*source_only_synthia_demo/0",
        ),
        ("runs/nobody/0", r"model\.weights 'runs/nobody/0' is not there\. Train one first"),
    ],
)
def test_without_a_trained_network_a_run_names_the_setting_before_it_opens_anything(weights, told, tiny_recipe):
    recipe = tiny_recipe(METHODS["tent"].build(), source=GTA5(size=(64, 96)), target=Cityscapes(size=(64, 96)))
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, weights=weights))
    with pytest.raises(UserError, match=told) as error:
        Session("t", recipe, Runtime(workers=0, tracking="none")).build()
    assert "\n" not in str(error.value) and "--model.weights" in str(error.value)


def test_weights_that_are_not_the_whole_network_are_refused(started, tmp_path):
    """A backbone alone, another head, and other classes leave a classifier that nothing would teach."""
    recipe, runtime = started(METHODS["tent"].build())
    backbone = tmp_path / "backbone.pth"
    torch.save(dataclasses.replace(recipe.model, weights="none").build_backbone().state_dict(), backbone)
    other = dataclasses.replace(recipe.model, dilations=(1, 2, 3))
    for changed, told in (
        (dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, weights=str(backbone))), "backbone alone"),
        (dataclasses.replace(recipe, model=other), "is of another kind"),
        (dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, aux=True)), "the aux starts anew"),
        (
            dataclasses.replace(
                recipe,
                source=dataclasses.replace(recipe.source, labels="synthia16"),
                target=dataclasses.replace(recipe.target, labels="synthia16"),
            ),
            "the classes are other ones now",
        ),
    ):
        with pytest.raises(UserError, match=f"not all of it is in model.weights .*{told}.*the same classes"):
            Session("t", changed, runtime).build()


def test_a_score_of_source_images_cannot_choose_the_best_weights(started):
    recipe, runtime = started(METHODS["tent"].build())
    with pytest.raises(UserError, match="--best source_score needs source images, and this method reads none"):
        Session("t", recipe, dataclasses.replace(runtime, best="source_score")).build()


def test_the_demo_starts_from_the_demo_of_the_run_that_the_recipe_names(tiny_recipe):
    for name in ("tent", "source_free_shot", "cotta"):
        recipe = load_recipe(find_recipe(f"{name}_synthia"))
        assert recipe.model.weights == "runs/source_only_synthia/0"
        assert demo_version(recipe).model.weights == "runs/source_only_synthia_demo/0"
        assert demo_version(recipe).model.batch_norm == "train"
    word = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, weights="none"))
    assert demo_version(word).model.weights == "none"
    start = load_recipe(find_recipe("source_only_synthia"))
    assert demo_version(start).model.weights == "packaged"
    same = ("backbone", "dilations", "output_stride", "aux")
    assert [getattr(recipe.model, key) for key in same] == [getattr(start.model, key) for key in same]


def test_every_recipe_without_a_source_starts_from_the_network_of_source_only_training():
    for name in ("tent", "source_free_shot", "cotta"):
        for pair in ("gta", "synthia", "camvid"):
            recipe, start = (load_recipe(find_recipe(f"{kind}_{pair}")) for kind in (name, "source_only"))
            assert recipe.method == METHODS[name].build() and isinstance(recipe, Recipe)
            assert recipe.model.weights == f"runs/source_only_{pair}/0" and recipe.model.batch_norm == "train"
            changed = dataclasses.replace(recipe.model, weights=start.model.weights, batch_norm=start.model.batch_norm)
            assert changed == start.model
            assert recipe.source.label_space == start.source.label_space


def test_help_shows_the_settings(capsys):
    with pytest.raises(SystemExit) as ended:
        run_command.main(["cotta_gta", "--help"], "run")
    told = capsys.readouterr().out
    assert ended.value.code == 0 and "--method.regularizers.0.restore" in told and "--model.weights" in told
