"""`da-toolkit export`: files that are equal to the run, their cards, and what cannot be exported."""

import json
import sys

import numpy as np
import pytest
import torch

import da_toolkit as dt
from da_toolkit.commands import export
from da_toolkit.errors import UserError
from da_toolkit.exporting.deployed import Deployed
from da_toolkit.exporting.equality import images, measured
from da_toolkit.exporting.programs import Freedom, write_program
from da_toolkit.models.segmenter import Output, Segmenter
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of two steps, with another seed beside it."""
    from da_toolkit.data import Streets
    from da_toolkit.methods import SourceOnly
    from da_toolkit.models import DeepLabV2
    from da_toolkit.recipe import Evaluation, Recipe, Schedule, Stage

    size = {"size": (64, 96), "frames": 4, "val_frames": 2, "render_size": (64, 96)}
    recipe = Recipe(
        source=Streets(**size),
        target=Streets(look="camera", **size),
        model=DeepLabV2("test_resnet", output_stride=16, weights="none", aux=True, dilations=(1, 2)),
        method=SourceOnly(),
        schedule=Schedule((Stage("train", 2),)),
        batch_size=2,
        evaluation=Evaluation(validators=0),
    )
    runs = tmp_path_factory.mktemp("runs")
    for seed in (1, 0):
        session = Session("tiny", recipe, Runtime(runs=runs, tracking="none", workers=0, seed=seed))
        session.run()
    return session.folder


def call(run, *words):
    export.main([str(run), *map(str, words)], "export")


class Scaled(Segmenter):
    """A network that divides by the number of pixels it was traced with, as a careless one does."""

    num_classes = 3

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3, 3, 1, 1, generator=torch.Generator().manual_seed(0)))

    def forward(self, images):
        logits = torch.nn.functional.conv2d(images, self.weight)
        return Output(logits * (100 / float(np.sqrt(int(images.shape[2]) * int(images.shape[3])))), None, images)


def test_onnx_answers_as_the_run_at_any_size_and_says_so(run, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    call(run, "--output", tmp_path / "out")
    assert "100.000 % of the pixels have the same class" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    network = dt.load_run(run).network.cpu()
    for shape in ((1, 64, 96), (3, 50, 71)):
        batch = images(shape)
        with torch.inference_mode():
            output = network(batch)
            expected = torch.nn.functional.interpolate(output.logits, size=shape[1:], mode="bilinear")
        found = session.run(["logits"], {"images": batch.numpy()})[0]
        assert np.abs(found - expected.numpy()).max() < 1e-4 * float(expected.abs().max())
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"])[:2] == ["road", "sidewalk"] and len(json.loads(facts["palette"])) == 19
    told = json.loads(facts["equality"])
    assert told["share_of_equal_classes"] == 1 and told["relative_to_largest_logit"] < 1e-4
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["takes"] == "any number of images at once, any height and width"
    assert config["measured_in"] == f"onnxruntime {onnxruntime.__version__}" and config["equality"] == told
    card = (tmp_path / "out" / "README.md").read_text()
    scores = [json.loads((run.parent / seed / "result.json").read_text())["scores"] for seed in "01"]
    mious = [found["cityscapes19"]["miou"] for found in scores]
    mean, spread = np.mean(mious), np.std(mious, ddof=1)
    assert f"| cityscapes19 | 0, 1 | {mean:.1f} ± {spread:.1f} | {mious[0]:.1f} |" in card
    assert f"measured with onnxruntime {onnxruntime.__version__}" in card and "Streets: drawn by this toolkit" in card
    with pytest.raises(UserError, match=r"is there already.*--overwrite"):
        call(run, "--output", tmp_path / "out")


def test_the_card_is_one_that_a_hub_reads(run, tmp_path):
    from huggingface_hub import ModelCard

    call(run, "--format", "safetensors", "--output", tmp_path / "out")
    data = ModelCard.load(tmp_path / "out" / "README.md").data
    assert data.pipeline_tag == "image-segmentation" and data.license == "other"
    [score] = data.eval_results
    expected = json.loads((run / "result.json").read_text())["scores"]["cityscapes19"]["miou"]
    assert score.metric_value == pytest.approx(expected, abs=0.005) and "cityscapes19" in score.dataset_name


def test_a_safetensors_export_is_a_run_that_predicts_the_same(run, tmp_path):
    call(run, "--format", "safetensors", "--output", tmp_path / "moved")
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    assert (dt.load_run(tmp_path / "moved").predict(image).classes == dt.load_run(run).predict(image).classes).all()


def test_no_folder_of_this_machine_is_told(run, tmp_path):
    import shutil

    copy = tmp_path / "tiny" / "0"
    shutil.copytree(run, copy)
    settings = json.loads((copy / "recipe.json").read_text())
    settings["model"]["weights"] = "/home/someone/resnet.pth"
    (copy / "recipe.json").write_text(json.dumps(settings))
    call(copy, "--format", "safetensors", "--output", tmp_path / "out")
    for file in ("recipe.json", "README.md", "config.json"):
        assert (
            "/home" not in (tmp_path / "out" / file).read_text()
            and str(tmp_path) not in (tmp_path / "out" / file).read_text()
        )
    assert "weights (resnet.pth) with terms of their own" in (tmp_path / "out" / "README.md").read_text()


def test_a_graph_that_is_wrong_at_other_sizes_is_given_less_freedom(tmp_path):
    written = write_program(Deployed(Scaled()), "torch-export", tmp_path, (16, 24), 8, {"classes": ["a", "b", "c"]})
    assert written.freedom == Freedom(True, None) and written.equality.good
    assert written.freedom.told((16, 24)) == "any number of images at once, only 16x24 (height x width)"
    module = torch.export.load(tmp_path / "model.pt2").module()
    assert measured(Deployed(Scaled()), lambda batch: module(torch.from_numpy(batch)).numpy(), [(5, 16, 24)]).good


def test_what_is_not_equal_is_told(tmp_path):
    network = Deployed(Scaled())
    wrong = measured(network, lambda batch: network(torch.from_numpy(batch)).numpy() + 1, [(2, 8, 8)])
    assert wrong.difference == pytest.approx(1, abs=1e-4) and wrong.agreement == 1 and not wrong.good
    assert not measured(network, lambda batch: np.full((2, 3, 8, 8), np.nan, np.float32), [(2, 8, 8)]).good
    assert not measured(network, lambda batch: np.zeros((2, 3, 4, 4), np.float32), [(2, 8, 8)]).good

    class Refuses(Scaled):
        def forward(self, images):
            if images.flatten()[0].item() > 2:  # a branch on data, which no graph can hold
                return super().forward(images)
            return super().forward(images * 2)

    with pytest.raises(UserError, match=r"cannot be exported.*any height and width.*only 16x24.*--format safetensors"):
        write_program(Deployed(Refuses()), "torch-export", tmp_path, (16, 24), 8, {})


def test_a_missing_package_and_a_missing_run_are_told_in_a_sentence(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"needs the package onnxruntime: pip install 'da_toolkit\[export\]'"):
        call(run, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="not the folder of a finished run"):
        call(tmp_path, "--output", tmp_path / "out")
    with pytest.raises(UserError, match="keeps no best weights"):
        call(run, "--best", "--output", tmp_path / "out")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="--output"):
        call(run, "--format", "safetensors", "--output", tmp_path / "file" / "below")
