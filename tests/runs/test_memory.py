"""Memory that is too small: what a run says, and the search for the largest batch."""

import dataclasses

import pytest
import torch

from da_toolkit.cli import _dispatch
from da_toolkit.data import Augmentation
from da_toolkit.errors import UserError
from da_toolkit.methods import Adversarial, MeanTeacher, SourceOnly
from da_toolkit.regularizers import RPT, Cluster, SpatialLogic, Superpixels
from da_toolkit.runs import memory
from da_toolkit.runs.memory import Few, find_batch_size, largest, step_memory
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session

HOST = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
FULL = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), RuntimeError(HOST), MemoryError()]


@pytest.fixture
def session(tmp_path, tiny_recipe):
    def make(method=None, steps=4, runtime=None, **changes):
        recipe = tiny_recipe(method or SourceOnly(), steps, **changes)
        return Session("t", recipe, Runtime(runs=tmp_path, workers=0, tracking="none", **(runtime or {})))

    return make


def full_above(monkeypatch, images, error=FULL[0], training=True):
    """Passes of networks over more images run out of memory."""
    from da_toolkit.models.pyramid import PyramidSegmenter

    forward = PyramidSegmenter.forward

    def limited(self, given):
        if given.device.type != "meta" and len(given) > images and self.training == training:
            raise error
        return forward(self, given)

    monkeypatch.setattr(PyramidSegmenter, "forward", limited)


@pytest.mark.parametrize("error", FULL, ids=["GPU", "allocator", "Python"])
def test_a_step_that_does_not_fit_says_what_to_lower(error, session, monkeypatch):
    full_above(monkeypatch, 1, error)
    with pytest.raises(UserError) as told:
        session(batch_size=2, source_augmentation=Augmentation(crop=(32, 64))).run()
    said = str(told.value)
    assert "memory" in said and "is too small for step 1." in said
    assert "--batch-size 1 --accumulate 2 (as many images a step)" in said
    assert "source_augmentation.crop (32 64)" in said and "target" not in said
    assert "--recompute and --precision bf16-mixed; the run then goes on from its last checkpoint" in said
    assert "--find-batch-size" in said and "\n" not in said


def test_what_is_on_already_is_not_advised(session, monkeypatch):
    full_above(monkeypatch, 0)
    with pytest.raises(UserError) as told:
        session(Adversarial(), batch_size=1, runtime={"recompute": True, "precision": "bf16-mixed"}).run()
    said = str(told.value)
    assert "--recompute" not in said and "--precision" not in said and "--batch-size 0" not in said
    assert "source.size (64 96) or target.size (64 96)" in said


def test_an_evaluation_that_does_not_fit_speaks_of_evaluation(session, monkeypatch):
    full_above(monkeypatch, 0, training=False)
    with pytest.raises(UserError, match=r"pass over whole images after step 4\..*evaluation\.batch_size \(\d+\)"):
        session().run()


def test_the_run_goes_on_with_less(session, monkeypatch):
    """Its checkpoint is there, and --recompute is no other run."""
    run = session(steps=4, runtime={"save_every": 2})
    step = type(run).build

    def build(self):
        trainer, val = step(self)
        taken = trainer._learn

        def limited(*arguments):
            if trainer.done == 3 and not self.runtime.recompute:
                raise FULL[0]
            return taken(*arguments)

        trainer._learn = limited
        return trainer, val

    monkeypatch.setattr(Session, "build", build)
    with pytest.raises(UserError, match="too small for step 4"):
        run.run()
    run.runtime = dataclasses.replace(run.runtime, recompute=True)
    assert run.run()["steps"] == 4


def test_other_errors_stay_what_they_are(session, monkeypatch):
    full_above(monkeypatch, 0, RuntimeError("something else"))
    with pytest.raises(RuntimeError, match=r"^something else$"):
        session().run()


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 8, 13, 63, 64, 100])
def test_the_search_finds_the_largest_that_fits(limit):
    tried = []
    found = largest(lambda batch: tried.append(batch) or batch <= limit)
    assert found == min(limit, 64) and len(tried) == len(set(tried)) <= 13
    assert all(1 <= batch <= 64 for batch in tried)


def test_a_trial_is_a_whole_step_of_the_last_stage(session, monkeypatch):
    """With every term in play, and nothing left of it in the session."""
    rpt = RPT(cluster=Cluster(clusters=4), logic=SpatialLogic(steps=2, width=8), regions=Superpixels(12))
    plan = session(Adversarial(regularizers=(MeanTeacher(), rpt)), rounds=True)
    seen = []
    begin = memory.Trainer.begin

    def begun(self, stage):
        seen.append((stage, len(self.images.target)))
        begin(self, stage)

    monkeypatch.setattr(memory.Trainer, "begin", begun)
    full_above(monkeypatch, 2)
    data = plan.open_data()[:2]
    assert step_memory(plan, data, 2) == 0 and step_memory(plan, data, 3) is None
    assert [stage for stage, _ in seen] == [plan.recipe.schedule.stages[-1]] * 2
    assert all(count <= 8 for _, count in seen) and not plan.folder.exists()


def test_what_is_told_of_the_search(session, monkeypatch):
    class Cuda:
        device = torch.device("cuda")

    monkeypatch.setattr(memory, "launch", lambda devices, precision: Cuda)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (0, 80 * memory.GIB))
    monkeypatch.setattr(
        memory, "step_memory", lambda plan, data, batch: batch * 30 * memory.GIB if batch <= 2 else None
    )
    plan = session(batch_size=1, accumulate=4)
    assert list(find_batch_size(plan, plan.open_data()[:2])) == [
        "batch_size 1: 30.0 GiB",
        "batch_size 2: 60.0 GiB",
        "batch_size 4: too large",
        "batch_size 3: too large",
        "The largest batch_size that fits into 80.0 GiB is 2.",
        "This recipe's 4 images of each domain a step: --batch-size 2 --accumulate 2",
    ]
    monkeypatch.setattr(memory, "step_memory", lambda plan, data, batch: None)
    with pytest.raises(UserError, match=r"Not even one image .* fits into 80\.0 GiB"):
        list(find_batch_size(plan, plan.open_data()[:2]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_search_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no GPU here"):
        _dispatch(["run", "source_only_gta", "--demo", "--find-batch-size", "--runs", str(tmp_path)])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_search_ends_with_a_batch(session):
    *tried, best, told = find_batch_size(session(), session().open_data()[:2])
    assert tried[0].endswith("GiB") and "The largest batch_size" in best and "--batch-size" in told


def test_the_first_images_are_the_domains(toy):
    data = toy(count=6)
    few = Few(data, 4)
    assert len(few) == 4 and few.key(3) == data.key(3) and (few.image(2) == data.image(2)).all()
    assert (few.label(1) == data.label(1)).all() and len(Few(data, 9)) == 6 and few.has_labels
