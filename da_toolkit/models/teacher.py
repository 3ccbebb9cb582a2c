"""A copy of the segmentation network that never learns by itself: it is set to the network, or follows it."""

import copy
from typing import Literal

import torch
from torch import Tensor, nn

Statistics = Literal["running", "batch"]
"""What batch norms normalise by: the mean and variance that they keep, or those of the images that they are given."""

FirstMomentum = Literal["half", "zero", "full"]
"""Momentum of a teacher's first step."""


class Teacher(nn.Module):
    """Always without gradients, and in `eval` mode but for what `statistics` says.

    Args:
        network: what it begins as a copy of.
        statistics: with "batch", the batch norms that the network trains with statistics of its batch take those of
            the teacher's; dropout and drop path stay off.
    """

    def __init__(self, network: nn.Module, statistics: Statistics = "running") -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.statistics = statistics
        self.steps = 0
        self.train()

    def train(self, mode: bool = True) -> "Teacher":
        super().train(False)
        if self.statistics == "batch":
            self.network.train()  # itself, for it may keep some norms frozen
            for module in self.network.modules():
                module.training &= isinstance(module, nn.modules.batchnorm._BatchNorm)
        return self

    @torch.no_grad()
    def copy_from(self, network: nn.Module) -> None:
        """Become the network."""
        _copy(list(self.network.state_dict().values()), list(network.state_dict().values()))

    @torch.no_grad()
    def follow(self, network: nn.Module, momentum: float, first: FirstMomentum = "half") -> None:
        """Exponential moving average of the weights (Tarvainen & Valpola, NeurIPS 2017); buffers are copied.

        The momentum rises 1/2, 2/3, 3/4, ... until it reaches `momentum`, so that the first steps forget the random
        start; with "zero" it rises 0, 1/2, 2/3, ..., so that the first step makes this the network. With "full" it is
        `momentum` at once, for a start that is worth keeping.
        """
        self.steps += 1
        rising = 1.0 if first == "full" else 1 - 1 / (self.steps + (first == "half"))
        share = 1 - min(rising, momentum)
        mine: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(mine, [parameter.detach() for parameter in network.parameters()], share)
        _copy(list(self.network.buffers()), list(network.buffers()))

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """float32 [B,C,H,W] at the images' resolution."""
        output = self.network(images)
        return output.enlarged(output.logits, images.shape[2:]).softmax(1)

    def get_extra_state(self) -> dict[str, int]:
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]


def _copy(mine: list[Tensor], its: list[Tensor]) -> None:
    """In one call, of which a GPU makes few: hundreds of small ones would wait for their starts."""
    if len(mine) != len(its):
        raise ValueError(f"a copy of {len(mine)} tensors cannot follow a network of {len(its)}")
    if mine:
        torch._foreach_copy_(mine, its)
