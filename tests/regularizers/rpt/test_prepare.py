"""`prepare superpixels` and `prepare show`: what they make, keep and refuse."""

import numpy as np
import pytest
from PIL import Image

from da_toolkit.commands import prepare
from da_toolkit.errors import UserError
from da_toolkit.methods import SourceOnly
from da_toolkit.recipe import Schedule, Stage, rounds
from da_toolkit.regularizers import RPT, Cluster, Patch, SpatialLogic, Superpixels
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session

RECIPE = """
from da_toolkit.data import Streets
from da_toolkit.methods import SourceOnly
from da_toolkit.models.deeplab import DeepLabV2
from da_toolkit.recipe import Recipe, Schedule, rounds
from da_toolkit.regularizers import RPT, Superpixels
from da_toolkit.recipe import AdamW

recipe = Recipe(
    source=Streets(size=(64, 96), frames=4, val_frames=2, render_size=(64, 96)),
    target=Streets(size=(64, 96), look="camera", frames=4, val_frames=2, render_size=(64, 96)),
    model=DeepLabV2("test_resnet", output_stride=16, weights="none", aux=False, dilations=(1, 2)),
    method=SourceOnly({regularizers}),
    schedule=Schedule(rounds(1, 2)),
    optimizer=AdamW(lr=1e-3),
)
"""


@pytest.fixture
def call(monkeypatch, tmp_path):
    monkeypatch.setenv("DA_TOOLKIT_CACHE", str(tmp_path / "cache"))

    def do(*words):
        return prepare.main([*map(str, words)], "prepare")

    return do


def recipe_file(folder, regularizers):
    file = folder / "mine.py"
    file.write_text(RECIPE.format(regularizers=regularizers))
    return file


def test_superpixels_are_made_once_and_kept(call, tmp_path, capsys):
    file = recipe_file(tmp_path, "regularizers=(RPT(regions=Superpixels(12)),)")
    assert call("superpixels", file, "--cores", 1) == 0
    maps = sorted((tmp_path / "cache" / "superpixels").rglob("*.png"))
    assert len(maps) == 4 and "4 images" in capsys.readouterr().out
    made = [each.stat().st_mtime_ns for each in maps]
    assert call("superpixels", file, "--cores", 2) == 0
    assert [each.stat().st_mtime_ns for each in maps] == made


def test_half_done_superpixels_are_completed(call, tmp_path):
    file = recipe_file(tmp_path, "regularizers=(RPT(regions=Superpixels(12)),)")
    call("superpixels", file)
    first, second, *_ = sorted((tmp_path / "cache" / "superpixels").rglob("*.png"))
    whole = first.read_bytes(), second.read_bytes()
    first.unlink()
    second.write_bytes(whole[1][:40])
    call("superpixels", file)
    assert (first.read_bytes(), second.read_bytes()) == whole


def test_show_a_recipe_draws_borders(call, tmp_path):
    file = recipe_file(tmp_path, "regularizers=(RPT(regions=Superpixels(12)),)")
    assert call("show", file, "--folder", tmp_path / "out") == 0
    picture = np.asarray(Image.open(tmp_path / "out" / "superpixels.png"))
    assert (picture == (255, 220, 0)).all(-1).sum() > 200


@pytest.mark.parametrize("verb", ["superpixels", "show"])
def test_a_recipe_without_regions_is_refused(verb, call, tmp_path):
    with pytest.raises(UserError, match="uses no superpixels"):
        call(verb, recipe_file(tmp_path, ""))


def test_show_a_run_draws_what_rpt_knows(call, tmp_path, tiny_recipe):
    regularizer = RPT(
        Patch(1.0, threshold=0.0),
        Cluster(threshold=0.0, clusters=8, components=4),
        SpatialLogic(weight=1.0, steps=3, width=8, threshold=0.5),
        Superpixels(12),
    )
    schedule = Schedule((Stage("warm-up", 1), *rounds(1, 1)))
    recipe = tiny_recipe(SourceOnly(regularizers=(regularizer,)), schedule=schedule)
    session = Session("tiny", recipe, Runtime(runs=tmp_path / "runs", workers=0, tracking="none"))
    session.run()
    during = {each.name for each in (session.folder / "pictures").glob("round_1_*.png")}
    assert during == {"round_1_rpt.png", "round_1_clusters.png"}
    assert call("show", session.folder, "--folder", tmp_path / "out") == 0
    for name in ("rpt", "clusters"):
        picture = np.asarray(Image.open(tmp_path / "out" / f"{name}.png"))
        assert picture.shape[2] == 3 and picture.std() > 10


def test_show_a_run_without_regularizers_says_so(call, tmp_path, tiny_recipe):
    session = Session("tiny", tiny_recipe(SourceOnly(), 1), Runtime(runs=tmp_path / "runs", workers=0, tracking="none"))
    session.run()
    with pytest.raises(UserError, match="nothing to show"):
        call("show", session.folder)
