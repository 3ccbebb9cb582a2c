"""The search for the largest batch that fits."""

import pytest
import torch

from da_toolkit.cli import _dispatch
from da_toolkit.errors import UserError
from da_toolkit.methods import Adversarial, MeanTeacher, OutputSpace, SourceOnly
from da_toolkit.regularizers import RPT, Cluster, Patch, SpatialLogic, Superpixels
from da_toolkit.runs import batch_search
from da_toolkit.runs.batch_search import GIB, Few, find_batch_size, largest, step_memory
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session


@pytest.fixture
def session(tmp_path, tiny_recipe):
    def make(method=None, steps=4, **changes):
        recipe = tiny_recipe(method or SourceOnly(), steps, **changes)
        return Session("t", recipe, Runtime(runs=tmp_path, workers=0, tracking="none"))

    return make


def full_above(monkeypatch, images):
    """Steps of networks on more images run out of memory."""
    from da_toolkit.models.pyramid import PyramidSegmenter

    forward = PyramidSegmenter.forward

    def limited(self, given):
        if given.device.type != "meta" and len(given) > images and self.training:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(self, given)

    monkeypatch.setattr(PyramidSegmenter, "forward", limited)


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 8, 13, 63, 64, 100])
def test_the_search_finds_the_largest_that_fits(limit):
    tried = []
    found = largest(lambda batch: tried.append(batch) or batch <= limit)
    assert found == min(limit, 64) and len(tried) == len(set(tried)) <= 13
    assert all(1 <= batch <= 64 for batch in tried)


def test_steps_of_every_stage_are_tried_with_all_that_plays_in_one_of_them(session, monkeypatch):
    """Here an adversary until the middle of the warm-up, and RPT in the round; nothing is left of it."""
    rpt = RPT(Patch(1.0), Cluster(clusters=4), SpatialLogic(weight=1.0, steps=2, width=8), Superpixels(12))
    method = Adversarial(discriminators=(OutputSpace(end=0.2),), regularizers=(MeanTeacher(), rpt))
    plan, begun, losses = session(method, steps=12, rounds=True), [], set()
    begin, step = batch_search.Trainer.begin, batch_search.Trainer.step

    def noted(self):
        losses.update(step(self))

    monkeypatch.setattr(batch_search.Trainer, "step", noted)
    monkeypatch.setattr(
        batch_search.Trainer,
        "begin",
        lambda self, stage: begun.append((stage, len(self.images.target))) or begin(self, stage),
    )
    full_above(monkeypatch, 2)
    data = plan.open_data()[:2]
    assert step_memory(plan, data, 2) == 0
    assert [stage for stage, _ in begun] == list(plan.recipe.schedule.stages) and {n for _, n in begun} == {4}
    assert {"adv_output_main", "disc_output_main", "rpt_patch", "rpt_logic", "mix"} <= losses
    assert step_memory(plan, data, 3) is None and not plan.folder.exists()


def test_a_recipe_of_one_step_can_be_tried(session):
    plan = session(steps=1)
    assert step_memory(plan, plan.open_data()[:2], 1) == 0


def test_what_is_told_of_the_search(session, monkeypatch):
    class Cuda:
        device = torch.device("cuda")

    monkeypatch.setattr(batch_search, "launch", lambda devices, precision: Cuda)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (0, 80 * GIB))
    monkeypatch.setattr(batch_search, "step_memory", lambda plan, data, batch: batch * 30 * GIB if batch <= 2 else None)
    plan = session(batch_size=1, accumulate=4)
    assert list(find_batch_size(plan, plan.open_data()[:2])) == [
        "batch_size 1: 30.0 GiB",
        "batch_size 2: 60.0 GiB",
        "batch_size 4: too large",
        "batch_size 3: too large",
        "The largest batch_size that fits into 80.0 GiB is 2.",
        "This recipe's 4 images of each domain a step: --batch-size 2 --accumulate 2",
    ]
    monkeypatch.setattr(batch_search, "step_memory", lambda plan, data, batch: None)
    with pytest.raises(UserError, match=r"Not even one image .* fits into 80\.0 GiB"):
        list(find_batch_size(plan, plan.open_data()[:2]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_search_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no GPU here"):
        _dispatch(["run", "source_only_gta", "--demo", "--find-batch", "--runs", str(tmp_path)])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_search_ends_with_a_batch(session):
    *tried, best, told = find_batch_size(session(), session().open_data()[:2])
    assert tried[0].endswith("GiB") and "The largest batch_size" in best and "--batch-size" in told


def test_the_first_images_are_the_domains(toy):
    data = toy(count=6)
    few = Few(data, 4)
    assert len(few) == 4 and few.key(3) == data.key(3) and (few.image(2) == data.image(2)).all()
    assert (few.label(1) == data.label(1)).all() and len(Few(data, 9)) == 6 and few.has_labels
