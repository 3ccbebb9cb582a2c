"""A copy of the segmentation network that never learns by itself: it is set to the network, or follows it."""

import copy

import torch
from torch import Tensor, nn


class Teacher(nn.Module):
    """Always in `eval` mode and without gradients."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.steps = 0
        self.eval()

    def train(self, mode: bool = True) -> "Teacher":
        return super().train(False)

    @torch.no_grad()
    def copy_from(self, network: nn.Module) -> None:
        """Become the network."""
        for mine, its in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            mine.copy_(its)

    @torch.no_grad()
    def follow(self, network: nn.Module, momentum: float) -> None:
        """Exponential moving average of the weights (Tarvainen & Valpola, NeurIPS 2017); buffers are copied.

        Step i uses min(1 - 1/(i+1), momentum), so that the first steps forget the random start.
        """
        self.steps += 1
        share = 1 - min(1 - 1 / (self.steps + 1), momentum)
        mine: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(mine, [parameter.detach() for parameter in network.parameters()], share)
        for kept, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            kept.copy_(buffer)

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """float32 [B,C,H,W] at the images' resolution."""
        output = self.network(images)
        return output.enlarged(output.logits, images.shape[2:]).softmax(1)

    def get_extra_state(self) -> dict[str, int]:
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]
