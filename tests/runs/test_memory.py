"""Memory that is too small: what a run says of it."""

import dataclasses

import pytest
import torch

from da_toolkit.data import Augmentation
from da_toolkit.errors import UserError
from da_toolkit.methods import Adversarial, SourceOnly
from da_toolkit.methods.pseudo_labels import cbst
from da_toolkit.notices import Notice
from da_toolkit.runs.memory import is_out_of_memory
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
            raise type(error)(*error.args)  # a new one: an error keeps the places where it was raised
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
    assert "Less is kept with --recompute cheap (blocks keeps least) and --precision bf16-mixed; the run then" in said
    assert "--find-batch" in said and "\n" not in said


def test_what_is_on_already_is_not_advised(session, monkeypatch):
    full_above(monkeypatch, 0)
    with pytest.raises(UserError) as told:
        session(Adversarial(), batch_size=1, runtime={"recompute": "blocks", "precision": "bf16-mixed"}).run()
    said = str(told.value)
    assert "--recompute" not in said and "--precision" not in said and "--batch-size 0" not in said
    assert "source.size (64 96) or target.size (64 96)" in said


def test_a_scoring_that_does_not_fit_speaks_of_evaluation(session, monkeypatch):
    """--recompute would be of no use there: nothing is kept for a backward pass."""
    full_above(monkeypatch, 0, training=False)
    with pytest.raises(UserError) as told:
        session().run()
    said = str(told.value)
    assert "too small for the scoring after step 4" in said and "an evaluation.window" in said
    assert "--precision bf16-mixed" in said and "--recompute" not in said


def test_a_pass_at_the_begin_of_a_stage_speaks_of_its_images(session, monkeypatch):
    full_above(monkeypatch, 0, training=False)
    with pytest.raises(UserError) as told:
        session(cbst(), rounds=True).run()
    said = str(told.value)
    assert "the pass over target images that begins a stage" in said and "evaluation.size below 64 96" in said
    assert "--recompute" not in said and "evaluation.window" not in said and "batch_size" not in said


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "GET was unable to find an engine to execute this computation",
    ],
)
def test_libraries_have_words_of_their_own_for_a_full_gpu(words):
    assert is_out_of_memory(RuntimeError(words)) and not is_out_of_memory(ValueError(words))


def test_the_run_goes_on_with_less(session, monkeypatch):
    """Its checkpoint is there, and --recompute is no other run."""
    run = session(steps=4, runtime={"save_every": 2})
    step = type(run).build

    def build(self):
        trainer, val = step(self)
        taken = trainer._learn

        def limited(*arguments):
            if trainer.done == 3 and self.runtime.recompute == "none":
                raise torch.OutOfMemoryError("CUDA out of memory")
            return taken(*arguments)

        trainer._learn = limited
        return trainer, val

    monkeypatch.setattr(Session, "build", build)
    with pytest.raises(UserError, match="too small for step 4"):
        run.run()
    run.runtime = dataclasses.replace(run.runtime, recompute="blocks", precision="bf16-mixed")
    with pytest.warns(Notice, match=r"^precision 32-true until step 2, bf16-mixed from there on"):
        result = run.run()
    assert result["steps"] == 4 and result["precision"] == "32-true, bf16-mixed from step 2"


def test_other_errors_stay_what_they_are(session, monkeypatch):
    full_above(monkeypatch, 0, RuntimeError("something else"))
    with pytest.raises(RuntimeError, match=r"^something else$"):
        session().run()


def test_settings_of_a_run_from_when_recompute_was_a_switch_are_read():
    for before, now in ((False, "none"), (True, "blocks")):
        assert Runtime.from_json({**Runtime().to_json(), "recompute": before}).recompute == now
