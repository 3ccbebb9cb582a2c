import pytest
import torch
from torch.nn import functional as F

from da_toolkit.data.batch import Batch
from da_toolkit.errors import UserError
from da_toolkit.models.segmenter import Output
from da_toolkit.terms.step import Step


def network(calls):
    def forward(images):
        calls.append(len(images))
        return Output(images[:, :2, ::4, ::4], None, images[:, :1, ::4, ::4])

    return forward


def test_each_forward_is_computed_at_most_once_and_only_on_demand():
    calls = []
    batch = Batch(torch.rand(2, 3, 8, 8), None, torch.arange(2))
    step = Step(network(calls), batch, batch)
    assert calls == []
    first = step.target.logits()
    assert step.target.logits() is first and step.target.features.shape == (2, 1, 2, 2) and calls == [2]
    expected = F.interpolate(batch.image[:, :2, ::4, ::4], size=(8, 8), mode="bilinear")
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(step.target.probabilities(), expected.softmax(1))


def test_labels_may_be_compared_at_the_head():
    batch = Batch(torch.rand(2, 3, 8, 8), torch.randint(0, 2, (2, 8, 8)), torch.arange(2))
    weights = torch.rand(2, 8, 8)

    def loss(logits, label, weights):
        return (F.cross_entropy(logits, label, reduction="none") * weights).sum()

    step = Step(network([]), batch, None, at_head=True)
    label = (F.avg_pool2d(batch.label.float(), 4) > 0.5).long()
    expected = loss(batch.image[:, :2, ::4, ::4], label, F.avg_pool2d(weights, 4))
    torch.testing.assert_close(step.source.supervised(loss, batch.label, weights), expected)
    assert step.view(batch).at_head


def test_what_a_method_did_not_ask_for_is_refused():
    batch = Batch(torch.rand(1, 3, 8, 8), None, torch.arange(1))
    step = Step(network([]), None, batch)
    with pytest.raises(
        UserError, match=r"asks for the source.*`own_reads` must name it, or the regularizer set `needs_source"
    ):
        _ = step.source
    with pytest.raises(UserError, match="labels of images that have none"):
        _ = step.target.label
    with pytest.raises(UserError, match=r"auxiliary level.*model\.aux"):
        step.target.logits("aux")
    with pytest.raises(UserError, match="regions: only target images have them"):
        _ = step.target.regions
