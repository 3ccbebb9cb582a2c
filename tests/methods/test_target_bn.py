"""AdaBN against statistics computed layer by layer from all target activations at once."""

import torch
from torch import nn

from da_toolkit.data.batch import Batch
from da_toolkit.methods.target_bn import TargetBatchNorm
from da_toolkit.models.segmenter import Output, Segmenter
from da_toolkit.settings.schedule import Stage
from da_toolkit.terms.stages import StageContext


class Net(Segmenter):
    def __init__(self):
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.drop, self.last, self.norm2 = nn.Dropout(0.9), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2)

    def forward(self, images):
        features = self.drop(self.norm1(self.first(images)))
        return Output(self.norm2(self.last(features)), None, features)


def test_statistics_are_those_of_the_target():
    torch.manual_seed(0)
    net = Net().train()
    images = [torch.rand(4, 3, 12, 12) * 5 for _ in range(3)]
    batches = [Batch(image, None, torch.arange(4)) for image in images]
    TargetBatchNorm(batches=3).prepare_evaluation(StageContext(Stage("s", 1), net, lambda: iter(batches), None))
    raw = [net.first(image) for image in images]
    means = torch.stack([r.mean((0, 2, 3)) for r in raw]).mean(0)
    variances = torch.stack([r.var((0, 2, 3)) for r in raw]).mean(0)
    torch.testing.assert_close(net.norm1.running_mean, means)
    torch.testing.assert_close(net.norm1.running_var, variances)
    assert net.training and net.drop.training and net.norm1.momentum == 0.1
    # The second layer saw the first one normalised by its batch, and no dropout.
    second = []
    for r in raw:
        scaled = (r - r.mean((0, 2, 3), keepdim=True)) / (r.var((0, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
        second.append(net.last(scaled).mean((0, 2, 3)))
    torch.testing.assert_close(net.norm2.running_mean, torch.stack(second).mean(0), atol=1e-5, rtol=1e-4)


def test_only_the_asked_number_of_batches_is_read():
    seen = []

    def stream():
        for number in range(9):
            seen.append(number)
            yield Batch(torch.rand(2, 3, 8, 8), None, torch.arange(2))

    TargetBatchNorm(batches=2).prepare_evaluation(StageContext(Stage("s", 1), Net(), stream, None))
    assert seen == [0, 1]
