import pytest
import torch
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.models.discriminators import FeatureDiscriminator, OutputDiscriminator


def test_output_discriminator_is_the_papers():
    """Five k4 s2 p1 convolutions, LeakyReLU 0.2, 2.78 M parameters for 19 classes."""
    model = OutputDiscriminator(19)
    assert sum(p.numel() for p in model.parameters()) == 2_781_121
    maps = torch.rand(2, 19, 64, 128)
    expected, convolutions = maps, [layer for layer in model.layers if isinstance(layer, torch.nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 512, 1]
    for number, c in enumerate(convolutions):
        expected = F.conv2d(expected, c.weight, c.bias, stride=2, padding=1)
        if number < 4:
            expected = torch.where(expected > 0, expected, 0.2 * expected)
    torch.testing.assert_close(model(maps), expected)
    assert expected.shape == (2, 1, 2, 4)


def test_maps_too_small_for_it_name_the_setting():
    with pytest.raises(UserError, match=r"at least 32 pixels.*source\.size"):
        OutputDiscriminator(3)(torch.rand(1, 3, 31, 64))


def test_feature_discriminator_decides_at_every_position():
    assert FeatureDiscriminator(10, width=8)(torch.rand(2, 10, 5, 7)).shape == (2, 1, 5, 7)
