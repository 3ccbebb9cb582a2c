"""What the labels of a split teach: is anything labelled, how much is ignored, which classes never occur?"""

import numpy as np

from da_toolkit.check.look import SplitLook
from da_toolkit.check.report import Report, few
from da_toolkit.data.domain import Domain
from da_toolkit.data.labels import IGNORE, LabelSpace

USUAL_IGNORED = {"Cityscapes": 0.115, "CamVid": 0.02, "Carla": 0.03}
"""Share of pixels that a data set ignores where all of its classes are used (CARLA and CamVid: measured)."""
_UNUSUAL = 0.15  # difference from it
_MUCH = 0.4  # of a data set whose usual share is not known
_NEARLY_ALL = 0.95  # where some of its classes are left out on purpose


def judge_labels(look: SplitLook, space: LabelSpace, domain: Domain | None, report: Report) -> None:
    """Add what the labels of a split amount to."""
    missing = [image.key for image in look.images if image.label_missing]
    if missing:
        report.add(
            "problem",
            "missing_labels",
            f"{len(missing)} of {len(look.images)} images have no label file: {few(missing)}. Restore those files or "
            "remove their images.",
        )
    read = [image for image in look.images if image.counts is not None]
    if not read:
        return
    counts = look.counts
    empty = [image.key for image in read if image.counts is not None and not _labelled(image.counts)]
    if len(empty) == len(read):
        report.add(
            "problem",
            "nothing_labelled",
            "every pixel of every label is ignored: there is nothing to learn from or to score against. Set the "
            "domain's `root` to the right label files, or mend the label table.",
        )
        return
    if empty:
        many = len(empty) > 0.05 * len(read)
        report.add(
            "warning" if many else "fact",
            "empty_labels",
            f"{len(empty)} of {len(read)} labels are ignored everywhere: {few(empty)}.",
        )
    _judge_ignored(_ignored_share(counts), space, domain, report)
    absent = [name for number, name in enumerate(space.classes) if not counts[number]]
    if absent:
        text = f"{len(absent)} of {len(space)} classes never occur: {', '.join(absent)}."
        if 2 * len(absent) >= len(space):
            more = " Is this the right label space, and are these the right files?"
            report.add("warning", "absent_classes", text + more)
        else:
            report.add("fact", "absent_classes", text)


def _judge_ignored(share: float, space: LabelSpace, domain: Domain | None, report: Report) -> None:
    names = domain.class_names if domain is not None else ()
    whole = all(space.place(name) is not None for name in names)
    usual = USUAL_IGNORED.get(type(domain).__name__) if whole else None
    if usual is not None and abs(share - usual) > _UNUSUAL:
        told = f"{100 * share:.0f} % of the pixels are ignored, and {100 * usual:.0f} % are usual for this data set"
    elif usual is None and share > (_MUCH if whole else _NEARLY_ALL):
        told = f"{100 * share:.0f} % of the pixels are ignored"
    else:
        return
    report.add("warning", "ignored_share", f"{told}: are the ids, and the classes that they mean, the right ones?")


def _labelled(counts: np.ndarray) -> bool:
    return bool(counts[:IGNORE].any())


def _ignored_share(counts: np.ndarray) -> float:
    """Share 0..1 of ignored pixels."""
    total = int(counts.sum())
    return float(counts[IGNORE] / total) if total else 0.0
