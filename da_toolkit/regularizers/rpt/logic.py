"""Spatial logic: an LSTM learns the vertical order of categories and finds illogical predictions."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.data.labels import IGNORE
from da_toolkit.errors import UserError
from da_toolkit.models.grid import summarized

_SMALLEST = 1e-4  # what 1 - P, or P, is clipped to inside a logarithm
_RAREST = 1e-6  # a class is at least this frequent
_BATCH = 256  # columns


@dataclass(frozen=True)
class SpatialLogic:
    """Context-level regularisation (Zhang et al., CVPR 2020). Architecture and defaults are our reconstruction."""

    weight: float = 0.0
    """Weight of the loss; 0 = off, the default: on top of the other two it gained 0.0 at most on three seeds of
    AdaptSegNet, CARLA -> Cityscapes, and cost 0.2 to 0.4 on average (benchmarks/README.md). With 1 it weighs as much
    as each of them."""
    threshold: float = 0.1
    """A position is illogical when the rest of its column makes its category less than this times as likely as it is
    anywhere in the source, 0..1. (An absolute threshold would call every small thing illogical.)"""
    penalty: Literal["complement", "log"] = "complement"
    """-log(1 - P), which names no replacement and vanishes with P; or log P, clipped."""
    cell: int = 8
    """Pixels a side of a grid position."""
    span: int = 4
    """Positions that are masked together."""
    width: int = 64
    """Units of each LSTM."""
    steps: int = 400
    """Training steps on source columns, 256 columns each."""
    maps: int = 300
    """Source label maps that columns are taken from."""

    def __post_init__(self) -> None:
        for name in ("cell", "span", "width", "steps", "maps"):
            if getattr(self, name) < 1:
                raise UserError(f"logic.{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.threshold <= 1:
            raise UserError(f"logic.threshold lies in 0..1, got {self.threshold}.")


class LogicModel(nn.Module):
    """Reconstructs a column of categories in which a span is masked.

    Encoder: bidirectional LSTM over the column. Decoder: LSTM over the encoder's outputs, started from its
    last state. Tokens: 0..C-1 categories, C = unlabelled, C+1 = masked.
    """

    prior: Tensor

    def __init__(self, num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.embed = nn.Embedding(num_classes + 2, width // 2)
        self.encoder = nn.LSTM(width // 2, width, bidirectional=True, batch_first=True)
        self.bridge = nn.Linear(2 * width, width)
        self.decoder = nn.LSTM(2 * width, width, batch_first=True)
        self.decide = nn.Linear(width, num_classes)
        self.register_buffer("prior", torch.full((num_classes,), 1 / num_classes))  # of the columns learnt from

    def forward(self, columns: Tensor, masked: Tensor) -> Tensor:
        """Logits float32 [N,L,C] of columns int64 [N,L] (255 = unlabelled), reading nothing where `masked` bool [N,L].

        In single precision: not every CPU has an LSTM in bfloat16.
        """
        tokens = columns.where(columns != IGNORE, self.num_classes)
        tokens = tokens.masked_fill(masked, self.num_classes + 1)
        with torch.autocast(columns.device.type, enabled=False):
            encoded, (state, _) = self.encoder(self.embed(tokens))
            start = torch.tanh(self.bridge(torch.cat([state[0], state[1]], dim=1)))[None]
            decoded, _ = self.decoder(encoded, (start, torch.zeros_like(start)))
            return self.decide(decoded)

    def plausibility(self, columns: Tensor, span: int) -> Tensor:
        """P_logic(a | the rest of its column): float32 [N,L] of columns int64 [N,L]; 1 where unlabelled.

        Masks of `span` positions slide over the column side by side, so each position is judged once.
        """
        count, length = columns.shape
        windows = math.ceil(length / span)
        window = torch.arange(length, device=columns.device) // span  # [L]
        masked = window[None] == torch.arange(windows, device=columns.device)[:, None]  # [K,L]
        logits = self(
            columns.repeat_interleave(windows, 0), masked.repeat(count, 1)
        )  # [N*K,L,C], column by column, mask by mask
        probabilities = logits.softmax(2).view(count, windows, length, self.num_classes)
        own = probabilities.gather(1, window.view(1, 1, length, 1).expand(count, 1, length, self.num_classes))[:, 0]
        found = own.gather(2, columns.where(columns != IGNORE, 0)[..., None])[..., 0]
        return found.where(columns != IGNORE, 1.0)

    def lift(self, columns: Tensor, span: int) -> Tensor:
        """P_logic(a | the rest of its column) / P(a) in the source: float32 >= 0, [N,L]; 1 where unlabelled."""
        usual = self.prior[columns.where(columns != IGNORE, 0)].where(columns != IGNORE, 1.0)
        return self.plausibility(columns, span) / usual


def majority_grid(label: Tensor, cell: int, num_classes: int) -> Tensor:
    """int64 [B,H//cell,W//cell]: the most frequent class of each cell; 255 where none of its pixels is labelled.

    Args:
        label: int64 [B,H,W], 255 = ignore.
    """
    height, width = label.shape[1] // cell, label.shape[2] // cell
    whole = label[:, : height * cell, : width * cell]
    return summarized(whole, (height, width), align_corners=False, classes=num_classes)


def to_columns(grid: Tensor) -> Tensor:
    """[B,h,w] -> [B*w,h], top to bottom."""
    return grid.permute(0, 2, 1).reshape(-1, grid.shape[1])


def train_logic(
    settings: SpatialLogic, columns: Tensor, num_classes: int, seed: int
) -> tuple[LogicModel, dict[str, float]]:
    """Train on source columns int64 [N,L]; a tenth is held out to report the quality.

    Random starts and lengths, so that the model also knows the columns of crops.

    Returns:
        The model in `eval` mode, and "accuracy" and "auc" in 0..1: of masked positions filled in, and of telling
        true from shuffled columns by their mean log-plausibility.
    """
    generator = torch.Generator().manual_seed(seed)
    columns = columns[torch.randperm(len(columns), generator=generator).to(columns.device)]
    held = max(1, len(columns) // 10)
    kept, trained = columns[:held], columns[held:] if len(columns) > held else columns
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LogicModel(num_classes, settings.width).to(columns.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    for _ in range(settings.steps):
        batch, masked = _masked_batch(trained, settings.span, generator)
        target = batch.where(masked, IGNORE)
        if bool((target != IGNORE).any()):
            loss = F.cross_entropy(model(batch, masked).flatten(0, 1), target.flatten(), ignore_index=IGNORE)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval().requires_grad_(False)
    counts = torch.bincount(trained[trained != IGNORE], minlength=num_classes)
    model.prior.copy_((counts / counts.sum().clamp(min=1)).clamp(min=_RAREST))
    return model, logic_quality(model, kept[:1000], settings.span, generator)


def _masked_batch(columns: Tensor, span: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random columns cut to a random stretch of at least half their length, and the mask of one span each."""
    length = columns.shape[1]
    kept = int(torch.randint(max(1, length // 2), length + 1, (1,), generator=generator))
    first = int(torch.randint(0, length - kept + 1, (1,), generator=generator))
    chosen = torch.randint(0, len(columns), (_BATCH,), generator=generator).to(columns.device)
    starts = torch.randint(1 - span, kept, (_BATCH, 1), generator=generator).to(columns.device)
    place = torch.arange(kept, device=columns.device)[None]
    return columns[chosen, first : first + kept], (place >= starts) & (place < starts + span)


@torch.no_grad()
def logic_quality(model: LogicModel, columns: Tensor, span: int, generator: torch.Generator) -> dict[str, float]:
    """Accuracy on masked positions, and the AUC of true against shuffled columns."""
    batch, masked = _masked_batch(columns, span, generator)
    right = (model(batch, masked).argmax(2) == batch)[masked & (batch != IGNORE)]
    mixed = torch.stack([c[torch.randperm(len(c), generator=generator).to(c.device)] for c in columns])
    several = (columns != columns[:, :1]).any(1)  # a column of one category cannot be shuffled
    scores = [model.plausibility(c[several], span).clamp(min=_SMALLEST).log().mean(1) for c in (columns, mixed)]
    if not len(scores[0]):
        return {"accuracy": right.float().mean().item(), "auc": math.nan}
    wins = (scores[0][:, None] > scores[1][None]).float().mean() + 0.5 * (
        scores[0][:, None] == scores[1][None]
    ).float().mean()
    return {"accuracy": right.float().mean().item(), "auc": wins.item()}


@torch.no_grad()
def grid_lift(settings: SpatialLogic, model: LogicModel, decided: Tensor) -> Tensor:
    """The lift of every position of a grid of categories int64 [B,h,w]: float32 [B,h,w]."""
    batch, height, width = decided.shape
    return model.lift(to_columns(decided), settings.span).view(batch, width, height).permute(0, 2, 1)


def logic_plausibility(settings: SpatialLogic, model: LogicModel, probabilities: Tensor) -> Tensor:
    """How likely each position's category is against its usual frequency, cut to 0..1: float32 [B,H//cell,W//cell]
    of [B,C,H,W]."""
    return grid_lift(settings, model, F.avg_pool2d(probabilities, settings.cell).argmax(1)).clamp(max=1)


def logic_loss(settings: SpatialLogic, model: LogicModel, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of the illogical positions of a prediction, averaged over all positions, and which they are.

    Averaged over the illogical ones alone, the few left would each pull harder the fewer they are.

    Args:
        probabilities: [B,C,H,W]; a position is a cell of `settings.cell` pixels a side with its mean probabilities.

    Returns:
        Scalar, 0 where all is logical; and bool [B,H//cell,W//cell].
    """
    mean = F.avg_pool2d(probabilities, settings.cell)
    decided = mean.argmax(1)
    illogical = grid_lift(settings, model, decided) < settings.threshold
    own = mean.gather(1, decided[:, None])[:, 0]
    complement = settings.penalty == "complement"
    each = -(1 - own).clamp(min=_SMALLEST).log() if complement else own.clamp(min=_SMALLEST).log()
    return (each * illogical).mean(), illogical


def source_columns(
    labels: Iterator[np.ndarray], settings: SpatialLogic, num_classes: int, device: torch.device
) -> Tensor:
    """int64 [N,L] columns of the first `settings.maps` source label maps, uint8 [H,W]."""
    found = []
    for label in islice(labels, settings.maps):
        grid = majority_grid(torch.from_numpy(label).long()[None].to(device), settings.cell, num_classes)
        found.append(to_columns(grid))
    return torch.cat(found)
