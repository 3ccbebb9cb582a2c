"""NaN and infinity stop a run, or are left out, before any optimiser has stepped on them."""

import json

import numpy as np
import pytest
import torch

from da_toolkit.errors import UserError
from da_toolkit.methods import Adversarial, SourceOnly
from da_toolkit.methods.adversarial import AdversarialTerm
from da_toolkit.methods.supervised import Supervised
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session
from da_toolkit.training.guard import NotFinite, all_finite

BAD = 2
"""Step, counted from 0, at which numbers go wrong."""


@pytest.fixture
def broken_loss(monkeypatch):
    """The segmentation loss is NaN at one step."""
    losses = Supervised.losses

    def broken(self, step):
        factor = torch.nan if step.index == BAD else 1.0
        return {name: factor * loss for name, loss in losses(self, step).items()}

    monkeypatch.setattr(Supervised, "losses", broken)


def session(tmp_path, recipe, **settings):
    return Session("t", recipe, Runtime(runs=tmp_path, workers=0, tracking="none", log_every=1, **settings))


def test_all_finite_sees_losses_and_gradients():
    module = torch.nn.Linear(2, 1)
    assert all_finite([torch.tensor(1.0)], module) == (True, 0)
    assert all_finite([torch.tensor(1.0), torch.tensor(torch.inf)], module, pending=3) == (False, 3)
    module.weight.grad = torch.tensor([[1.0, torch.nan]])
    assert all_finite([torch.tensor(1.0)], module) == (False, 0)
    assert all_finite([torch.tensor(1.0)], module, gradients=False, pending=2) == (True, 2)


def test_gradients_whose_squares_overflow_are_finite():
    module = torch.nn.Linear(2, 2)
    module.weight.grad = torch.full((2, 2), 1e30)
    assert all_finite([torch.tensor(1.0)], module, pending=3) == (True, 3)
    module.bias.grad = torch.tensor([0.0, torch.nan])
    assert all_finite([torch.tensor(1.0)], module, pending=3) == (False, 3)


def test_a_bad_loss_stops_the_run_naming_loss_step_and_images(tmp_path, tiny_recipe, broken_loss):
    run = session(tmp_path, tiny_recipe(Adversarial(), steps=6), save_every=1)
    with pytest.raises(
        UserError,
        match=r"Step 3: the loss seg is nan, seg_aux is nan\. Images: Streets-game train: .*; Streets-cam.*"
        r"The last checkpoint was written before it\. Lower",
    ):
        run.run()
    state = run.checkpoints.load(torch.device("cpu"))
    assert state["done"] == BAD and all(tensor.isfinite().all() for tensor in state["model"].values())
    kept = np.load(run.folder / "bad_steps" / "step_00000003_rank_0.npz")
    assert kept["source_image_0"].shape == (2, 3, 64, 96) and kept["source_label_0"].shape == (2, 64, 96)
    assert {"target_image_0", "target_index_0"} <= set(kept) and "target_label_0" not in kept


def test_a_bad_step_is_left_out_if_asked(tmp_path, tiny_recipe, broken_loss, with_dropout, capsys):
    import dataclasses

    live = dataclasses.replace(with_dropout, batch_norm="train")  # its running statistics see the bad step's images
    run = session(tmp_path, tiny_recipe(SourceOnly(), steps=6, model=live), skip_bad_steps=1)
    trainer, _ = run.build()
    before = []
    for _ in range(BAD):
        trainer.step()
    before = [tensor.clone() for tensor in trainer.model.state_dict().values()]
    with pytest.raises(NotFinite):
        trainer.step()
    after = trainer.model.state_dict().values()
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    result = run.run()
    assert result["steps"] == 6 and "Step 3: the loss seg is nan" in capsys.readouterr().out
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "seg" in line] == [1, 2, 4, 5, 6]
    warned = [line["warning"] for line in lines if "warning" in line]
    assert len(warned) == 1 and warned[0].startswith("warning: Step 3: the loss seg is nan")


def test_no_more_than_the_asked_number_is_left_out(tmp_path, tiny_recipe, monkeypatch):
    def broken(self, step):
        return {"seg": step.source.logits().sum() * torch.nan}

    monkeypatch.setattr(Supervised, "losses", broken)
    run = session(tmp_path, tiny_recipe(SourceOnly(), steps=6), skip_bad_steps=2)
    with pytest.raises(UserError, match=r"Step 3: .* There is no checkpoint yet\. Lower"):
        run.run()
    assert len(list((run.folder / "bad_steps").iterdir())) == 3


def test_a_bad_gradient_behind_a_finite_loss_is_seen(tmp_path, tiny_recipe, monkeypatch):
    losses = Supervised.losses

    def broken(self, step):
        found = losses(self, step)
        zero = 0 * step.source.logits().sum()
        return {"seg": found["seg"] + zero.abs().sqrt()}  # the root's slope at 0 is infinite

    monkeypatch.setattr(Supervised, "losses", broken)
    with pytest.raises(UserError, match="all losses are finite, but a gradient is not"):
        session(tmp_path, tiny_recipe(SourceOnly())).run()


def test_a_discriminator_never_steps_on_a_bad_loss(tiny_trainer, monkeypatch):
    trainer = tiny_trainer(Adversarial())
    update = AdversarialTerm.update
    monkeypatch.setattr(
        AdversarialTerm, "update", lambda self, step: {k: v * torch.inf for k, v in update(self, step).items()}
    )
    before = [tensor.clone() for tensor in trainer.players.state_dict().values() if isinstance(tensor, torch.Tensor)]
    with pytest.raises(NotFinite, match="disc_output_main is inf"):
        trainer.step()
    after = [tensor for tensor in trainer.players.state_dict().values() if isinstance(tensor, torch.Tensor)]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
