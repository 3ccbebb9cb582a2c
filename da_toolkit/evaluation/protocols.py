"""Scoring protocols: which classes of a label space the mean IoU is taken over."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from da_toolkit.data.labels import CAMVID11, CITYSCAPES19, SYNTHIA16, LabelSpace
from da_toolkit.errors import unknown_name
from da_toolkit.evaluation.metrics import iou_per_class, pixel_accuracy


@dataclass(frozen=True)
class Protocol:
    """Mean IoU over the `scored` classes of the confusion matrix of the whole label space."""

    name: str
    label_space: LabelSpace
    scored: tuple[str, ...]


@dataclass(frozen=True)
class Scores:
    """Percent, 0..100; none where a class occurs in neither labels nor predictions."""

    protocol: str
    miou: float
    per_class: dict[str, float | None]
    pixel_accuracy: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _protocol(name: str, space: LabelSpace, without: tuple[str, ...] = ()) -> Protocol:
    return Protocol(name, space, tuple(cls for cls in space.classes if cls not in without))


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        _protocol("cityscapes19", CITYSCAPES19),
        _protocol("synthia16", SYNTHIA16),
        # The 13-class score is read from the 16-class model: its pixels of the other three still count as errors.
        _protocol("synthia13", SYNTHIA16, without=("wall", "fence", "pole")),
        _protocol("camvid10", CAMVID11, without=("bicyclist",)),
        _protocol("camvid11", CAMVID11),
    )
}


def protocol(name: str) -> Protocol:
    """The protocol of that name. Raises `UserError` that lists the valid ones."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def protocols_for(space: LabelSpace) -> list[Protocol]:
    """Every protocol on that label space, the main one first; a user's own space is scored whole."""
    named = [p for p in PROTOCOLS.values() if p.label_space == space]
    return named or [_protocol(space.name, space)]


def score(confusion: Tensor, protocol: Protocol) -> Scores:
    """Scores of an int64 [C,C] confusion matrix over the protocol's label space."""
    ious = dict(zip(protocol.label_space.classes, 100 * iou_per_class(confusion), strict=True))
    scored = {name: None if np.isnan(ious[name]) else float(ious[name]) for name in protocol.scored}
    values = [value for value in scored.values() if value is not None]
    miou = float(np.mean(values)) if values else float("nan")
    return Scores(protocol.name, miou, scored, 100 * pixel_accuracy(confusion))
