"""Patch consistency: the pixels of a superpixel should agree on its dominant category."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from da_toolkit.data.labels import IGNORE
from da_toolkit.errors import UserError
from da_toolkit.regularizers.rpt.regions import RegionTable, selected_labels
from da_toolkit.terms.cross_entropy import labelled_mass


@dataclass(frozen=True)
class Patch:
    """Patch-based consistency (Zhang et al., CVPR 2020; selection and defaults are our reconstruction)."""

    weight: float = 0.0
    """Weight of the loss; 0 = off, for beside clusters it costs a little on the pairs where it was measured."""
    threshold: float = 0.9
    """A region is selected when its score exceeds this, 0..1."""
    selection: Literal["mean_probability", "vote_share", "pixel"] = "mean_probability"
    """The score: mean probability of the dominant category, its share of votes, or each pixel's own probability."""
    share: float = 0.5
    """At least this share of each category's regions is selected, the surest ones, 0..1; 0 = by the threshold alone.
    Without it the easy categories alone are selected, and the network forgets the others."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise UserError(f"patch.threshold lies in 0..1, got {self.threshold}.")
        if not 0 <= self.share <= 1:
            raise UserError(f"patch.share lies in 0..1, got {self.share}.")

    def labels(self, table: RegionTable) -> Tensor:
        """uint8 [total+1]: the frozen label of each region's row, 255 where it is not selected."""
        if self.selection == "pixel":
            return selected_labels(table.dominant(), table.score("vote_share"), -1.0)
        return selected_labels(table.dominant(), table.score(self.selection), self.threshold, self.share)

    def loss(self, log_probabilities: Tensor, label: Tensor, sure: Tensor | None = None) -> Tensor:
        """Mean over the selected pixels of -log P[y, j]; see `region_loss`.

        Args:
            sure: log-probabilities [B,C,H,W] that `selection="pixel"` asks, where they are others than those learned.
        """
        if self.selection == "pixel":
            asked = log_probabilities if sure is None else sure
            chosen = asked.detach().gather(1, label.where(label != IGNORE, 0)[:, None])[:, 0].exp()
            label = label.where(chosen > self.threshold, IGNORE)
        return region_loss(log_probabilities, label)


def region_loss(log_probabilities: Tensor, label: Tensor) -> Tensor:
    """Mean of -log P[label] over pixels whose label is not 255; 0 without any.

    Args:
        log_probabilities: [B,C,H,W].
        label: int64 [B,H,W].
    """
    total = F.nll_loss(log_probabilities, label, ignore_index=IGNORE, reduction="sum")
    return total / labelled_mass(label)
