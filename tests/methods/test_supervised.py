import math

import torch
from tester import step_of

from da_toolkit.methods import SourceOnly
from da_toolkit.methods.supervised import segmentation_loss


def test_mean_cross_entropy_over_labelled_pixels():
    logits = torch.tensor([[[[0.0, 1.0, 5.0]], [[0.0, 3.0, -2.0]]]])  # [1,2,1,3]
    label = torch.tensor([[[0, 1, 255]]])
    by_hand = (math.log(2) + math.log(1 + math.exp(-2))) / 2
    torch.testing.assert_close(segmentation_loss(logits, label), torch.tensor(by_hand))


def test_the_auxiliary_level_counts_a_tenth(tiny_trainer):
    trainer = tiny_trainer(SourceOnly())
    trainer.model.eval()
    step = step_of(trainer)
    losses = trainer.terms[0].losses(step)
    expected = 0.1 * segmentation_loss(step.source.logits("aux"), step.source.label)
    torch.testing.assert_close(losses["seg_aux"], expected)


def test_no_auxiliary_loss_without_the_level(tiny_trainer):
    trainer = tiny_trainer(SourceOnly(), aux=False)
    assert set(trainer.terms[0].losses(step_of(trainer))) == {"seg"}
