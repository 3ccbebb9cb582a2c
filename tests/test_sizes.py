"""The benchmark of sizes: bytes and FLOPs against a network small enough to count by hand, and passes of methods."""

import dataclasses

import sizes
import torch
from torch import nn

from da_toolkit.methods import Adversarial, Masking, MeanTeacher, OutputSpace, SourceOnly
from da_toolkit.models.segmenter import Output, Segmenter
from da_toolkit.recipe import find_recipe, load_recipe


class OneConvolution(Segmenter):
    """3 -> 5 channels, kernel 3, stride 2."""

    num_classes = 5

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 3, stride=2, padding=1)

    def forward(self, images):
        logits = self.layer(images)
        return Output(logits, None, logits)


def test_bytes_and_flops_of_one_convolution():
    with torch.device("meta"):
        kept, flops = sizes.kept_and_flops(OneConvolution(), [(2, 3, 8, 12), (1, 3, 4, 4)])
    kept_by_hand = flops_by_hand = 0
    for batch, height, width in ((2, 8, 12), (1, 4, 4)):
        image, probabilities = batch * 3 * height * width, batch * 5 * height * width
        kept_by_hand += 4 * (image + probabilities)  # the convolution's input, the log-softmax's output
        flops_by_hand += 2 * (2 * batch * (height // 2) * (width // 2) * 5 * 3 * 9)  # forward; of the weights alone
    assert (kept, flops) == (kept_by_hand, flops_by_hand)


def test_the_numbers_are_those_of_a_real_device():
    network = OneConvolution()
    shapes = [(2, 3, 8, 12)]
    with torch.device("meta"):
        expected = sizes.kept_and_flops(OneConvolution(), shapes)
    assert sizes.kept_and_flops(network, shapes) == expected and network.layer.weight.grad is not None


class OneAttention(Segmenter):
    """Two heads of 4 channels over the positions of a map of 8."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 1)

    def forward(self, images):
        maps = self.layer(images)
        tokens = maps.flatten(2).unflatten(1, (2, 4)).transpose(2, 3)
        mixed = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        logits = mixed.transpose(2, 3).reshape(maps.shape)
        return Output(logits, None, logits)


def test_attention_is_that_of_gpus_which_keeps_no_pairs_of_tokens():
    with torch.device("meta"):
        kept, flops = sizes.kept_and_flops(OneAttention(), [(1, 3, 32, 64)])
    tokens = 32 * 64
    assert 4 * tokens * (3 + 8 + 8 + 8) <= kept < 4 * tokens * 8 * 8 < 4 * 2 * tokens**2
    pairs = 2 * tokens**2 * 4 * 2  # multiply-adds of two heads, as FLOPs
    assert 5 * pairs < flops < 8 * pairs  # two products forward, four or five backward


def passes(name, **changes):
    return sizes.step_passes(dataclasses.replace(load_recipe(find_recipe(name)), **changes))


def test_passes_are_those_of_the_fullest_step():
    whole, crop = (1, 3, 720, 1280), (2, 3, 512, 512)
    late = Adversarial(discriminators=(OutputSpace(weight=1e-3, width=8, start=0.7),))
    assert passes("adaptseg_gta", method=late) == [whole, (1, 3, 512, 1024)]
    masked = SourceOnly(regularizers=(MeanTeacher(masking=Masking(weight=1.0)),))
    assert passes("dacs_gta", method=masked) == [crop, crop, crop]


def test_the_table_adds_up():
    row = {
        "recipe": "mine_gta",
        "backbone": "some",
        "passes": [[1, 3, 720, 1280]],
        "parameters": 43_550_000,
        "terms": 2_780_000,
        "memory": {"tensors": 2**30, "gradients": 2**29, "optimiser": 2**29, "activations": 6 * 2**30},
        "flops": 6_100_000_000_000,
        "commit": "0123456789ab",
    }
    assert "| mine_gta | some | 43.55 | 2.78 | 1 of 720x1280 | 6.0 | 8.0 | 6.10 |" in sizes.table([row])
