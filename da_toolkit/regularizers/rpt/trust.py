"""Which region labels are used, and how they are balanced by their frequency."""

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


def believed_labels(labels: Tensor, believed: Tensor) -> Tensor:
    """The labels, uint8 of any shape, of categories that are `believed`, bool [C]; 255 in the place of others."""
    known = labels != IGNORE
    return labels.where(known & believed[labels.where(known, 0).long()], IGNORE)


def label_prior(table: RegionTable, labels: Tensor) -> Tensor:
    """float32 [C]: the share of each category among the seen pixels that have a label; all 0 where none has.

    Args:
        labels: uint8 [total+1], 255 = none.
    """
    pixels = table.votes.sum(1).double()
    named = pixels.new_zeros(IGNORE + 1).index_add_(0, labels.long(), pixels)[: table.num_classes]
    return (named / named.sum().clamp(min=1)).float()


def logit_adjusted(log_probabilities: Tensor, prior: Tensor, strength: float = 1.0) -> Tensor:
    """[B,C,H,W]: log of `prior[c] ** strength * P[c]`, made to sum to 1; -inf for a category whose prior is 0.

    Logit adjustment (Menon et al., ICLR 2021, arXiv 2007.07314): learned as these, a label of a frequent category asks
    for little and one of a rare category for much. A category that no label names is not spoken against: learning the
    others alone, a network would forget it.

    Args:
        log_probabilities: [B,C,H,W].
        prior: [C], the frequency of each category's labels, at least one above 0.
        strength: at least 0; with 0 only what no label names is left out.
    """
    added = (strength * prior.log()).where(prior > 0, -torch.inf)
    return (log_probabilities + added[:, None, None]).log_softmax(1)
