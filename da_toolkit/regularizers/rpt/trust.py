"""Which categories' region labels are believed, told without target labels by the clusters that they fall into."""

import torch
from torch import Tensor
from torch.nn import functional as F

from da_toolkit.data.labels import IGNORE
from da_toolkit.regularizers.rpt.regions import RegionTable


def cluster_agreement(table: RegionTable, assignment: Tensor) -> Tensor:
    """float32 [C], 0..1: of each category's regions, how much of their clusters is called the same.

    The mean over the category's pixels of its share of the votes in the pixel's cluster. Regions that look alike mostly
    are alike: a category that the network hands out among lookalikes of others is not to be learned from. 0 for a
    category that no region has. Ours.

    Args:
        assignment: int64 [total], the cluster of each region.
    """
    dominant = table.dominant().long()
    seen = dominant != IGNORE
    pixels = table.votes[:-1].sum(1).double() * seen
    own = F.one_hot(dominant.where(seen, 0), table.num_classes).double() * pixels[:, None]
    votes = own.new_zeros(int(assignment.max()) + 1, table.num_classes).index_add_(0, assignment, own)
    alike = (votes**2 / votes.sum(1, keepdim=True).clamp(min=1)).sum(0)
    total = votes.sum(0)
    return (alike / total.where(total > 0, 1)).float()


def renormalised(log_probabilities: Tensor, believed: Tensor) -> Tensor:
    """[B,C,H,W]: log-probabilities given that the pixel has one of the believed categories; -inf for the others.

    A label of a believed category then says nothing against the others: learning the large and sure regions alone, a
    network would forget those.

    Args:
        log_probabilities: [B,C,H,W].
        believed: bool [C], at least one of them true.
    """
    return log_probabilities.masked_fill(~believed[:, None, None], -torch.inf).log_softmax(1)
