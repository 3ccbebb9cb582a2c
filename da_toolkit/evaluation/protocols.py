"""Scoring protocols: which classes of a label space the mean IoU is taken over."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from da_toolkit.data.labels import CAMVID11, CITYSCAPES7, CITYSCAPES19, STREETS7, STREETS11, SYNTHIA16, LabelSpace
from da_toolkit.errors import unknown_name
from da_toolkit.evaluation.metrics import iou, merged, pixel_accuracy


@dataclass(frozen=True)
class Protocol:
    """Mean IoU over the `scored` classes, read from the confusion matrix of the whole label space."""

    name: str
    label_space: LabelSpace
    scored: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] | None = None
    """Category -> its classes, where the matrix is merged into categories first; every class is in one."""

    def read(self, confusion: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """The matrix that the scores are read from, and the names of its rows.

        Args:
            confusion: int64 [...,C,C] over the whole label space.
        """
        if self.categories is None:
            return confusion, self.label_space.classes
        groups = [[self.label_space.index(name) for name in names] for names in self.categories.values()]
        return merged(confusion, groups), tuple(self.categories)


@dataclass(frozen=True)
class Scores:
    """Scores in percent, 0..100."""

    protocol: str
    miou: float
    """Mean over the scored classes that occur; nan if none does."""
    per_class: dict[str, float | None]
    """IoU of the scored classes; none where a class occurs in neither labels nor predictions."""
    pixel_accuracy: float
    """Over all labelled pixels of the label space, scored classes or not; nan without any."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; nan becomes none, because JSON has no nan."""
        return {
            "protocol": self.protocol,
            "miou": _known(self.miou),
            "per_class": dict(self.per_class),
            "pixel_accuracy": _known(self.pixel_accuracy),
        }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _protocol(name: str, space: LabelSpace, without: tuple[str, ...] = ()) -> Protocol:
    return Protocol(name, space, tuple(cls for cls in space.classes if cls not in without))


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        _protocol("cityscapes19", CITYSCAPES19),
        _protocol("synthia16", SYNTHIA16),
        # Read from the 16-class model, as papers do: pixels of the other three still count as errors.
        _protocol("synthia13", SYNTHIA16, without=("wall", "fence", "pole")),
        # Read from the 11-class model; what bicyclists are called still counts as an error, as in synthia13.
        _protocol("camvid10", CAMVID11, without=("bicyclist",)),
        _protocol("camvid11", CAMVID11),
        _protocol("streets11", STREETS11),
        # CARLA's drive has hardly any of these three.
        _protocol("streets8", STREETS11, without=("wall", "fence", "sign")),
        # Read from the 11-class model: sidewalk that is called road is right there.
        Protocol("streets7", STREETS11, tuple(STREETS7), STREETS7),
        _protocol("cityscapes7", CITYSCAPES7),
    )
}


def protocol(name: str) -> Protocol:
    """The protocol of that name. Raises `UserError` that lists the valid ones."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def protocols_for(space: LabelSpace) -> list[Protocol]:
    """Every protocol on these classes, the main one first; a user's own space is scored whole."""
    named = [candidate for candidate in PROTOCOLS.values() if candidate.label_space.classes == space.classes]
    return named or [_protocol(space.name, space)]


def score(confusion: Tensor, protocol: Protocol) -> Scores:
    """Scores of a split.

    Args:
        confusion: int64 [C,C] over the protocol's whole label space, rows = label, columns = prediction.
        protocol: which classes count.

    Raises:
        ValueError: the matrix belongs to another number of classes.
    """
    classes = protocol.label_space.classes
    if confusion.shape != (len(classes), len(classes)):
        raise ValueError(f"{protocol.name} reads a {len(classes)}-class matrix, got {tuple(confusion.shape)}")
    confusion, names = protocol.read(confusion)
    ious = dict(zip(names, iou(confusion).tolist(), strict=True))
    # Summed one by one and scaled last, as cityscapesScripts does: numpy's mean differs in the last digit.
    found = [ious[name] for name in protocol.scored if not math.isnan(ious[name])]
    return Scores(
        protocol=protocol.name,
        miou=100 * (sum(found) / len(found)) if found else math.nan,
        per_class={name: None if math.isnan(ious[name]) else 100 * ious[name] for name in protocol.scored},
        pixel_accuracy=100 * pixel_accuracy(confusion),
    )
