"""Classes joined into categories: a label that names a category leaves open which of its classes is meant."""

from typing import Literal

import torch
from torch import Tensor

from da_toolkit.data.labels import IGNORE, LabelSpace

Level = Literal["class", "category"]
"""What a label that a network makes itself names: a class, or the category that holds it and those like it."""


class Categories:
    """The categories of a label space, in the order of their first classes.

    Args:
        space: the network's classes.
        level: with "class", every class is a category of its own, and nothing is changed.
    """

    def __init__(self, space: LabelSpace, level: Level) -> None:
        found = space.categories if level == "category" else {name: (id_,) for id_, name in enumerate(space.classes)}
        self.names = tuple(found)
        self.members = tuple(found.values())
        self.plain = all(len(classes) == 1 for classes in self.members)

    def __len__(self) -> int:
        return len(self.names)

    def labels(self, label: Tensor) -> Tensor:
        """int64 categories of train ids of any shape; 255 stays 255."""
        of_class = {id_: category for category, classes in enumerate(self.members) for id_ in classes}
        return _looked_up(of_class, label)

    def probabilities(self, probabilities: Tensor) -> Tensor:
        """[B,G,H,W]: the sum over each category's classes of [B,C,H,W]."""
        if self.plain:
            return probabilities
        return torch.stack([probabilities[:, list(classes)].sum(1) for classes in self.members], 1)

    def log_probabilities(self, log_probabilities: Tensor) -> Tensor:
        """[B,G,H,W]: the logarithm of each category's probability, of those of the classes [B,C,H,W]."""
        if self.plain:
            return log_probabilities
        return torch.stack([log_probabilities[:, list(classes)].logsumexp(1) for classes in self.members], 1)

    def shown(self, label: Tensor) -> Tensor:
        """uint8 train ids that stand for categories in pictures, the first class of each; 255 stays 255."""
        return _looked_up({category: classes[0] for category, classes in enumerate(self.members)}, label).byte()


def _looked_up(table: dict[int, int], label: Tensor) -> Tensor:
    """int64: each label's entry, 255 where there is none."""
    whole = torch.tensor([table.get(id_, IGNORE) for id_ in range(256)], device=label.device)
    return whole[label.long()]
