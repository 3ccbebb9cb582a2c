"""A run that goes on knows whether its images are those that it was begun with."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from da_toolkit.commands import prepare
from da_toolkit.commands.training import rerun
from da_toolkit.data import Folder
from da_toolkit.errors import UserError
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.methods import InstanceAdaptive, PseudoLabels, SourceOnly
from da_toolkit.models.deeplab import LightDeepLabV3Plus
from da_toolkit.recipe import AdamW, Recipe, Schedule, Stage
from da_toolkit.regularizers import RPT, Cluster, Patch, SpatialLogic, Superpixels
from da_toolkit.runs.checkpoint import Checkpoints
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session

SIZE = (64, 96)
SMALL_RPT = RPT(Patch(1.0), Cluster(weight=0), SpatialLogic(weight=0), Superpixels(12))
METHODS = {
    "plain": SourceOnly(),
    "class-balanced": SourceOnly(regularizers=(PseudoLabels(),)),
    "instance-adaptive": SourceOnly(regularizers=(PseudoLabels(InstanceAdaptive()),)),
    "rpt": SourceOnly(regularizers=(SMALL_RPT,)),
}


def scene(name, seed):
    """An image and its label of two classes, as files."""
    random = np.random.default_rng(seed)
    label = np.zeros(SIZE, np.uint8)
    label[int(random.integers(16, 48)) :] = 1
    image = np.where(label[..., None] == 1, 180, 60) + random.integers(-40, 40, (*SIZE, 3))
    for kind, array in (("images", image.astype(np.uint8)), ("labels", label)):
        file = name.parent / kind / f"{name.name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(file)


def recipe(method, stages):
    return Recipe(
        source=Folder(root="src", size=SIZE),
        target=Folder(root="tgt", size=SIZE),
        model=LightDeepLabV3Plus("test_resnet", weights="none", width=8),
        method=METHODS[method],
        schedule=Schedule(stages),
        optimizer=AdamW(lr=1e-3),
        evaluation=Evaluation(validators=0),
    )


ROUND = (Stage("warm-up", 1), Stage("round", 2, round=1))
WARM = (Stage("warm-up", 2), Stage("round", 1, round=1))


def session(method, stages=ROUND, **settings):
    settings = {"runs": Path("runs"), "workers": 0, "tracking": "none", "save_every": 1, "log_every": 1} | settings
    return Session("own", recipe(method, stages), Runtime(**settings))


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """Function: a run that was stopped after its second step of three, in the present folder."""
    monkeypatch.chdir(tmp_path)
    for place, (root, split) in enumerate((("src", "train"), ("tgt", "train"), ("tgt", "val"))):
        for number in range(4):
            scene(tmp_path / root / split / f"scene_{number}", 100 * place + number)

    def make(method, stages=ROUND):
        save = Checkpoints.save

        def interrupt(self, step, state):
            save(self, step, state)
            if step == 2:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Checkpoints, "save", interrupt)
            with pytest.raises(KeyboardInterrupt):
                session(method, stages).run()
        return Path("runs/own/0")

    return make


def replaced(file):
    """Other content under the same name."""
    Image.open(file).rotate(180).resize((48, 32)).resize((96, 64)).save(file)


TARGET = Path("tgt/train/images")
CHANGES = {
    "added": (lambda: scene(Path("tgt/train/scene_9"), 9), r"target: 4 images then, 5 now: 1 added \(scene_9\)"),
    "removed": (
        lambda: (TARGET / "scene_0.png").unlink(),
        r"target: 4 images then, 3 now: 1 removed \(scene_0\)",
    ),
    "replaced": (lambda: replaced(TARGET / "scene_3.png"), r"target: .* 1 with files of other sizes \(scene_3\)"),
    "source label": (
        lambda: scene(Path("src/train/scene_1"), 77),
        r"source: 4 images then, 4 now: 1 with files of other sizes \(scene_1\)",
    ),
    "validation": (lambda: scene(Path("tgt/val/scene_7"), 9), r"val: 4 images then, 5 now: 1 added \(scene_7\)"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_images_are_refused_and_accepted_where_nothing_is_known_of_single_ones(begun, change, capsys):
    folder = begun("plain")
    first = json.loads((folder / "environment.json").read_text())[-1]["data"]
    assert first == Checkpoints(folder / "checkpoints").load(torch.device("cpu"))["data"] and len(first) == 16
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    make, told = CHANGES[change]
    make()
    with pytest.raises(UserError, match=rf"are not those that {folder} was begun with: {told}\. .*--accept-changed"):
        session("plain").run()
    assert before == {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    capsys.readouterr()
    assert session("plain", accept_changed_data=True).run()["steps"] == 3
    said = capsys.readouterr().err
    assert said.count("warning: The images are not those") == 1 and "its result is of both" in said
    starts = json.loads((folder / "environment.json").read_text())
    assert starts[0]["data"] == first != starts[-1]["data"]
    assert Checkpoints(folder / "checkpoints").load(torch.device("cpu"))["data"] == starts[-1]["data"]


@pytest.mark.parametrize("method", ["instance-adaptive", "rpt"])
@pytest.mark.parametrize("change", ["added", "removed", "replaced"])
def test_knowledge_of_single_images_is_never_used_for_others(begun, method, change):
    begun(method)
    make, told = CHANGES[change]
    make()
    who = {"instance-adaptive": "PseudoLabelTerm", "rpt": "RPTTerm, the list of superpixels"}[method]
    for accept in (False, True):
        with pytest.raises(UserError, match=rf"{told}\. .*by their number \({who} of target images\), .*--overwrite\."):
            session(method, accept_changed_data=accept).run()


@pytest.mark.parametrize(
    ("method", "stages", "change"),
    [
        ("instance-adaptive", ROUND, "source label"),  # what is known is of the target's images
        ("instance-adaptive", WARM, "removed"),  # nothing is known before the first round
        ("class-balanced", ROUND, "added"),  # its thresholds are of all images together
    ],
)
def test_a_change_is_accepted_that_no_knowledge_is_of(begun, method, stages, change, capsys):
    begun(method, stages)
    CHANGES[change][0]()
    assert session(method, stages, accept_changed_data=True).run()["steps"] == 3
    assert "warning: The images are not those" in capsys.readouterr().err


def test_target_labels_that_nobody_reads_and_times_change_nothing(begun, capsys):
    begun("plain")
    Path("tgt/train/labels/scene_2.png").write_bytes(b"anything")
    for file in Path("src").rglob("*.png"):
        shutil.copyfile(file, "copy.png")
        Path("copy.png").replace(file)  # as by rsync without times
    assert session("plain").run()["steps"] == 3 and "images are not" not in capsys.readouterr().err


def test_an_accepted_change_stays_accepted_before_the_next_checkpoint_and_can_be_taken_back(begun, monkeypatch):
    begun("plain")
    CHANGES["added"][0]()
    with monkeypatch.context() as patched:

        def ends(*_):
            raise KeyboardInterrupt

        patched.setattr("da_toolkit.training.trainer.Trainer.fit", ends)
        with pytest.raises(KeyboardInterrupt):
            session("plain", accept_changed_data=True).run()
        with pytest.raises(KeyboardInterrupt):
            session("plain").run()
        for kind in ("images", "labels"):
            Path(f"tgt/train/{kind}/scene_9.png").unlink()
        with pytest.raises(KeyboardInterrupt):
            session("plain").run()
    CHANGES["removed"][0]()
    with pytest.raises(UserError, match=r"1 removed \(scene_0\)"):
        session("plain").run()


@pytest.mark.parametrize("harm", ["gone", "damaged", "hostile"])
def test_without_the_list_the_checkpoint_still_knows_that_images_have_changed(begun, harm):
    folder = begun("instance-adaptive")
    file = folder / "data.json"
    if harm == "gone":
        file.unlink()
    else:
        file.write_text('{"target": [[' if harm == "damaged" else '{"target": {"a": 1}}')
    CHANGES["added"][0]()
    for accept in (False, True):
        with pytest.raises(
            UserError, match=r"in what cannot be told, for its data\.json is gone or damaged\. .*number"
        ):
            session("instance-adaptive", accept_changed_data=accept).run()


def test_a_run_of_an_older_version_goes_on_with_a_warning_and_knows_from_then_on(begun, monkeypatch, capsys):
    folder = begun("plain")
    (folder / "data.json").unlink()
    checkpoints = Checkpoints(folder / "checkpoints")
    state = checkpoints.load(torch.device("cpu"))
    del state["data"], state["format"]
    checkpoints.save(state["done"], state)
    assert session("plain").run()["steps"] == 3
    said = capsys.readouterr().err
    assert f"warning: {folder} does not list the images" in said and "is not known" in said
    assert len(json.loads((folder / "data.json").read_text())["target"]) == 4


def test_a_repetition_is_told_of_other_images(begun, capsys):
    folder = begun("plain")
    session("plain").run()
    CHANGES["source label"][0]()
    capsys.readouterr()
    rerun(folder, [], "run")
    said = capsys.readouterr()
    assert f"warning: the images are not those of {folder}, so its bits need not repeat: source: 4 images" in said.err
    assert "weights: not the bits of" in said.out
    (folder / "data.json").unlink()
    rerun(folder, ["--overwrite"], "run")
    assert f"warning: {folder} does not list its images (data.json)" in capsys.readouterr().err


def test_a_finished_run_is_not_shown_on_other_images(begun):
    folder = begun("rpt")
    session("rpt").run()
    CHANGES["removed"][0]()
    with pytest.raises(UserError, match=r"1 removed \(scene_0\)\. .*RPTTerm, the list of superpixels of target images"):
        prepare.main(["show", str(folder)], "prepare")


OWN = """
from da_toolkit.data import Folder
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.methods import SourceOnly
from da_toolkit.models.deeplab import LightDeepLabV3Plus
from da_toolkit.recipe import AdamW, Recipe, Schedule, Stage

recipe = Recipe(
    source=Folder(root="src", size=(64, 96)),
    target=Folder(root="tgt", size=(64, 96)),
    model=LightDeepLabV3Plus("test_resnet", weights="none", width=8),
    method=SourceOnly(),
    schedule=Schedule((Stage("warm-up", 1), Stage("round", 2, round=1))),
    optimizer=AdamW(lr=1e-3),
    evaluation=Evaluation(validators=0),
)
"""


def test_two_ranks_are_refused_with_one_telling_and_go_on_if_accepted(begun):
    begun("plain")
    Path("own.py").write_text(OWN)
    CHANGES["replaced"][0]()
    command = [sys.executable, "-m", "da_toolkit.run", "own.py", "--devices", "2", "--workers", "0"]
    command += ["--tracking", "none"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240)
    said = run.stdout + run.stderr
    assert run.returncode == 2 and "Traceback" not in said, said
    assert said.count("error:") == said.count("error: The images are not those that runs/own/0 was begun with") == 1
    run = subprocess.run([*command, "--accept-changed-data"], capture_output=True, text=True, timeout=240)
    said = run.stdout + run.stderr
    assert run.returncode == 0 and said.count("warning: The images are not those") == 1, said
