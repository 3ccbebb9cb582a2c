"""Every registered method through the same checks."""

import dataclasses

import pytest
import torch
from tester import METHOD_NAMES, TAUGHT, losses_of, same, step_of, weights, with_ignored_corner

from da_toolkit.registry import METHODS
from da_toolkit.regularizers import RPT, Cluster, Patch, SpatialLogic, Superpixels
from da_toolkit.training.state import load_state, state_of

SMALL_RPT = RPT(
    Patch(1.0, threshold=0.0),
    Cluster(threshold=0.0, clusters=8, components=4),
    SpatialLogic(weight=1.0, steps=5, width=8, threshold=0.5),
    Superpixels(12),
)


class Made:
    def make(self, tiny_trainer, name, **kwargs):
        method = METHODS[name].build()
        return tiny_trainer(method, forbid=not method.reads.target_labels, rounds=True, **kwargs)


@pytest.mark.parametrize("name", TAUGHT)
class TestMethodWithLabels(Made):
    def test_losses_are_finite_and_the_segmentation_loss_falls(self, tiny_trainer, name):
        trainer = self.make(tiny_trainer, name, steps=25)
        reports = []
        trainer.fit(lambda step, losses, rate: reports.append(losses), log_every=5)
        assert all(torch.isfinite(torch.tensor(list(losses.values()))).all() for losses in reports)
        assert reports[-1]["seg"] < 0.6 * reports[0]["seg"]

    def test_ignored_pixels_do_not_matter(self, tiny_trainer, name):
        trainer = self.make(tiny_trainer, name)
        trainer.model.eval()

        step = step_of(trainer, with_ignored_corner, target_labels=trainer.images.reads.target_labels)
        view = step.target if trainer.images.reads.target_labels else step.source
        logits = view.logits().detach().requires_grad_()
        view._logits["main"] = logits
        losses = {}
        for term in trainer.terms:
            losses |= term.losses(step)
        losses["seg"].backward()
        assert (logits.grad[:, :, :16, :16] == 0).all() and (logits.grad[:, :, 16:] != 0).any()

    def test_a_batch_without_any_labelled_pixel_gives_zero_not_nan(self, tiny_trainer, name):
        losses = losses_of(self.make(tiny_trainer, name), change_label=lambda label: torch.full_like(label, 255))
        assert losses["seg"] == 0 and all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize("name", METHOD_NAMES)
class TestMethod(Made):
    def test_save_load_and_the_next_step_is_identical(self, tiny_trainer, with_dropout, name):
        if getattr(METHODS[name].build(), "trains", "all") == "norms":
            with_dropout = dataclasses.replace(with_dropout, batch_norm="train")
        whole = self.make(tiny_trainer, name, steps=6, model=with_dropout)
        whole.fit(lambda *_: None)
        first = self.make(tiny_trainer, name, steps=6, model=with_dropout)
        kept = {}

        def keep(step):
            if step == 3:
                kept.update(state_of(first))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            first.fit(lambda *_: None, after_step=keep)
        second = self.make(tiny_trainer, name, steps=6, model=with_dropout)
        load_state(second, kept)
        second.fit(lambda *_: None)
        expected, found = weights(whole), weights(second)
        assert expected.keys() == found.keys()
        for key in expected:
            assert same(expected[key], found[key]), key

    def test_target_labels_are_read_by_the_oracle_alone(self, tiny_trainer, name):
        """The toy target raises when its labels are read, so a finished run is the proof."""
        method = METHODS[name].build()
        trainer = tiny_trainer(method, steps=2, forbid=True, rounds=True)
        if name == "oracle":
            with pytest.raises(AssertionError, match="target labels were read"):
                trainer.fit(lambda *_: None)
            return
        trainer.fit(lambda *_: None)
        trainer.prepare_evaluation()
        assert trainer.done == 2

    def test_works_with_rpt_beside_it(self, tiny_trainer, name):
        method = METHODS[name].build()
        without_logic = dataclasses.replace(SMALL_RPT, logic=SpatialLogic(weight=0.0))
        rpt = SMALL_RPT if method.reads.source else without_logic
        method = dataclasses.replace(method, regularizers=(*method.regularizers, rpt))
        trainer = tiny_trainer(method, steps=3, rounds=True, forbid=name != "oracle")
        reports = []
        trainer.fit(lambda step, losses, rate: reports.append(losses), log_every=1)
        assert "rpt_patch" not in reports[0] and {"rpt_patch", "rpt_cluster"} <= reports[-1].keys()
        assert ("seg" in reports[-1]) == (name in TAUGHT)
        assert ("rpt_logic" in reports[-1]) == method.reads.source
        assert all(torch.isfinite(torch.tensor(list(losses.values()))).all() for losses in reports)
