"""The likeliest class against argmax, pixel by pixel."""

import pytest
import torch

from da_toolkit.evaluation.deciding import _TOGETHER, decided


@pytest.mark.parametrize("shape", [(1, 1, 4, 5), (2, 19, 9, 13), (3, 2, 7), (1, 256, 5, 5), (1, 3, 300, 300)])
@pytest.mark.parametrize("last", [False, True])
def test_it_is_argmax(shape: tuple[int, ...], last: bool) -> None:
    scores = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if last and len(shape) == 4:
        scores = scores.contiguous(memory_format=torch.channels_last)
    found = decided(scores.requires_grad_())
    assert found.dtype == torch.uint8 and found.shape == (shape[0], *shape[2:])
    assert (found == scores.argmax(1)).all()
    assert scores[0, 0].numel() != 300 * 300 or scores[0, 0].numel() > _TOGETHER  # the last shape needs two parts


def test_the_first_of_equals_and_half_precision() -> None:
    scores = torch.tensor([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0], [-5.0, -5.0, -4.0, -4.0]]).t()[None]
    assert decided(scores)[0].tolist() == [1, 0, 2]
    assert decided(scores.bfloat16())[0].tolist() == [1, 0, 2]


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 3, 0, 5)])
def test_no_pixels(shape: tuple[int, ...]) -> None:
    assert decided(torch.zeros(shape)).shape == (shape[0], *shape[2:])


def test_more_classes_than_a_byte_tells_apart() -> None:
    with pytest.raises(ValueError, match="257 classes"):
        decided(torch.zeros(1, 257, 2, 2))
