"""What only two splits together show: copies of training images in val, and domains that differ more than in look."""

import numpy as np

from da_toolkit.check.images import brightness, is_flat
from da_toolkit.check.look import SplitLook
from da_toolkit.check.report import Report, few
from da_toolkit.data.labels import LabelSpace

_ALIKE = 0.998
"""Correlation of thumbnails above which two pictures are one, saved twice; neighbours in a drive stay below."""
_APART = 60.0  # difference of mean brightness
_TIMES = 2.2  # and ratio
_WIDER = 1.3  # ratio of shapes
_HIGHER = 0.12  # difference of the mean height of classes, in heights of the image
_COMMON = 0.02  # share of pixels from which a class has a height to speak of


def judge_copies(train: SplitLook, val: SplitLook, report: Report) -> None:
    """Add the images that stand in train and in val."""
    known = {image.digest: image.key for image in train.images if image.digest and not is_flat(image)}
    exact = [(image.key, known[image.digest]) for image in val.images if image.digest in known]
    if exact:
        told = few([f"{ours} = {theirs}" for ours, theirs in exact])
        text = f"{len(exact)} of {len(val.images)} val images are training images too ({told})"
        report.add("problem", "train_in_val", f"{text}: the score is of seen images. Remove them from one of the two.")
    near = _near(train, val, {ours for ours, _ in exact})
    if near:
        told = few([f"{ours} ~ {theirs}" for ours, theirs in near])
        report.add("warning", "nearly_train_in_val", f"{len(near)} val images look like training images ({told}).")


def _near(train: SplitLook, val: SplitLook, known: set[str]) -> list[tuple[str, str]]:
    ours = [image for image in val.images if image.thumb is not None and not is_flat(image) and image.key not in known]
    theirs = [image for image in train.images if image.thumb is not None and not is_flat(image)]
    if not ours or not theirs:
        return []
    stored = _normal(np.stack([image.thumb for image in theirs if image.thumb is not None]))
    found = []
    for image in ours:
        assert image.thumb is not None
        alike = stored @ _normal(image.thumb[None])[0]
        best = int(alike.argmax())
        if alike[best] > _ALIKE:
            found.append((image.key, theirs[best].key))
    return found


def _normal(thumbs: np.ndarray) -> np.ndarray:
    flat = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    flat = flat - flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def judge_domains(source: SplitLook, target: SplitLook, report: Report) -> None:
    """Add where the pictures of source and target differ by more than adaptation is made for."""
    ours, theirs = brightness(source)[0], brightness(target)[0]
    dark, light = sorted((ours, theirs))
    if light - dark > _APART and light > _TIMES * dark:
        report.add(
            "warning",
            "brightness",
            f"the source has a mean brightness of {ours:.0f} and the target of {theirs:.0f}: is one of them night, or "
            "saved otherwise?",
        )
    shapes = [shape for look in (source, target) if (shape := _shape(look)) is not None]
    if len(shapes) == 2 and max(shapes) > _WIDER * min(shapes):
        report.add(
            "warning",
            "shape",
            f"source images are {shapes[0]:.2f} wide for 1 high and target images {shapes[1]:.2f}: they see fields of "
            "different width. Cut the source to the target's shape, or zoom and crop in training.",
        )


def judge_classes(source: SplitLook, val: SplitLook, space: LabelSpace, report: Report) -> None:
    """Add what the labels of the source and of target val say about each other."""
    ours, theirs = source.counts[: len(space)], val.counts[: len(space)]
    if not ours.any() or not theirs.any():
        return
    untaught = [name for number, name in enumerate(space.classes) if theirs[number] and not ours[number]]
    if untaught:
        report.add(
            "warning",
            "untaught",
            f"{', '.join(untaught)}: in the labels of target val but never in the source's, so nothing teaches it and "
            "it scores 0. Leave it out of the label space, or read a protocol without it.",
        )
    shares, wanted = ours / ours.sum(), theirs / theirs.sum()
    rare = [
        f"{name} ({100 * shares[number]:.2f} % against {100 * wanted[number]:.2f} %)"
        for number, name in enumerate(space.classes)
        if 0 < 10 * shares[number] < wanted[number]
    ]
    if rare:
        report.add("fact", "rare_in_source", f"ten times rarer in the source than in target val: {', '.join(rare)}")
    _judge_heights(source, val, space, report)


def _judge_heights(source: SplitLook, val: SplitLook, space: LabelSpace, report: Report) -> None:
    """The camera's height, tilt and field of view show in where classes lie."""
    ours, theirs = _heights(source, space), _heights(val, space)
    both = [name for name in space.classes if name in ours and name in theirs]
    if not both:
        return
    far = max(both, key=lambda name: abs(ours[name] - theirs[name]))
    mean = float(np.mean([abs(ours[name] - theirs[name]) for name in both]))
    told = f"classes lie {100 * mean:.0f} % of the height apart in source and target val, {far} the most: at "
    told += f"{100 * ours[far]:.0f} % from the top against {100 * theirs[far]:.0f} %"
    if mean > _HIGHER:
        report.add("warning", "view", f"{told}: the cameras look otherwise. Crop the source so that horizons meet.")
    else:
        report.add("fact", "view", told)


def _heights(look: SplitLook, space: LabelSpace) -> dict[str, float]:
    """Class -> mean height 0 (top) to 1 of its pixels in the sample, of common classes."""
    layouts = [image.layout for image in look.sampled() if image.layout is not None]
    found = {}
    for number, name in enumerate(space.classes):
        rows = [np.nonzero(layout == number)[0] / len(layout) for layout in layouts]
        pixels = sum(len(row) for row in rows)
        if pixels > _COMMON * sum(layout.size for layout in layouts):
            found[name] = float(np.concatenate(rows).mean())
    return found


def _shape(look: SplitLook) -> float | None:
    """Median width for a height of 1; none where no image can be read."""
    sizes = [image.size for image in look.images if image.size is not None]
    return float(np.median([width / height for height, width in sizes])) if sizes else None
