"""Do images and labels belong together? Borders of a right label lie on edges of its image.

Measured with 64 images each of CARLA, CamVid, Cityscapes at 256x128 and the street world: the right label agrees by
0.27 to 0.65, a mirrored one by 0.06 to 0.22, upside down -0.04 to 0.17, that of another image 0.08 to 0.19; the
right one is ahead in 94 % of images or more, and by more than 12 standard errors, of the next frame of a drive by 4.
"""

from collections.abc import Iterator

import numpy as np

from da_toolkit.check.look import ImageLook, SplitLook
from da_toolkit.check.outlines import agreement, agreement_by_shift
from da_toolkit.check.report import Report, few

LEAST = 4
"""Images below which nothing is said."""
LEAST_OF_OTHERS = 12
"""Images below which "fits no better than another's" may be chance."""
_SURE, _UNSURE = 3.0, 2.0  # standard errors of the mean difference
_MOST = 0.75  # share of the images that must prefer the other pairing
_OTHERS = 8
_BEATEN = 3  # of those others, from which a label is a misfit: 6 % of the right ones at most, 8 in 10 of wrong ones
_ASTRAY = 0.12  # share of misfits from which they are more than odd images
_RIGHT = (0.25, 0.7)  # agreement of the right labels of five data sets
_STILL = 1  # pixels of the small outline that a label may be off without being called shifted


def judge_fit(look: SplitLook, report: Report) -> None:
    """Add what the agreement of outlines says about a labelled split."""
    own = [image for image in look.sampled() if _has(image)]
    if len(own) < LEAST:
        return
    found = np.array([agreement(_outline(image), _borders(image)) for image in own])
    report.add(
        "fact",
        "fit",
        f"borders of labels agree with edges of images by {found.mean():.2f} (right: {_RIGHT[0]} to {_RIGHT[1]})",
    )
    better = [*_turned(own, found), *_shifted(own, found), *_next(look)]
    if better:
        agreed, how = max(better)
        text = f"labels fit their images by {found.mean():.2f}, and by {agreed:.2f} if {how}"
    elif _no_better_than_others(own, found):
        text = "labels fit their images no better than labels of other images do: they are shuffled, or of other images"
    else:
        _single_misfits(own, found, report)
        return
    report.add("problem", "fit", f"{text}. Pair the files anew, and look with --picture FILE.png.")


def _has(image: ImageLook) -> bool:
    return (
        image.outline is not None
        and image.borders is not None
        and image.outline.shape == image.borders.shape
        and bool(image.outline.any())
        and bool(image.borders.any())
    )


def _outline(image: ImageLook) -> np.ndarray:
    assert image.outline is not None
    return image.outline


def _borders(image: ImageLook) -> np.ndarray:
    assert image.borders is not None
    return image.borders


def _ahead(other: np.ndarray, own: np.ndarray) -> float:
    """By how many standard errors the other pairing agrees better, over the same images."""
    difference = other - own
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return float(difference.mean() / max(error, 1e-6))


def _better(other: np.ndarray, own: np.ndarray) -> bool:
    return len(own) >= LEAST and _ahead(other, own) > _SURE and bool((other > own).mean() >= _MOST)


def _turned(images: list[ImageLook], own: np.ndarray) -> Iterator[tuple[float, str]]:
    """Better agreements, and how they come about."""
    for axes, how in (
        ((1,), "mirrored left to right"),
        ((0,), "turned upside down"),
        ((0, 1), "turned by 180 degrees"),
    ):
        other = np.array([agreement(_outline(image), np.flip(_borders(image), axes)) for image in images])
        if _better(other, own):
            yield float(other.mean()), f"they are {how}"


def _shifted(images: list[ImageLook], own: np.ndarray) -> Iterator[tuple[float, str]]:
    shape = _outline(images[0]).shape
    alike = [number for number, image in enumerate(images) if _outline(image).shape == shape]
    maps = np.stack([agreement_by_shift(_outline(images[number]), _borders(images[number])) for number in alike])
    peak = np.unravel_index(maps.mean(0).argmax(), shape)
    down, right = (int(at) - (length if at > length // 2 else 0) for at, length in zip(peak, shape, strict=True))
    other = maps[:, peak[0], peak[1]]
    if max(abs(down), abs(right)) > _STILL and _better(other, own[alike]):
        x, y = 100 * right / shape[1], 100 * down / shape[0]
        how = f"they are moved by {x:+.0f} % of the width and {y:+.0f} % of the height (cropped otherwise?)"
        yield float(other.mean()), how


def _next(look: SplitLook) -> Iterator[tuple[float, str]]:
    for step, whose in ((1, "next"), (-1, "previous")):
        pairs = [
            (look.images[index], look.images[index + step])
            for index in look.sample
            if 0 <= index + step < len(look.images)
            and _has(look.images[index])
            and look.images[index + step].borders is not None
        ]
        own = np.array([agreement(_outline(image), _borders(image)) for image, _ in pairs])
        other = np.array([agreement(_outline(image), _borders(near)) for image, near in pairs])
        if _better(other, own):
            yield float(other.mean()), f"each image has the label of the {whose} one: the numbering is off by one"


def _others(images: list[ImageLook]) -> np.ndarray:
    """[images, others]: agreement with labels of other images, far off in the split first."""
    count = len(images)
    steps = [1 + (count - 1) * number // (_OTHERS + 1) for number in range(1, _OTHERS + 1)]
    return np.array(
        [
            [agreement(_outline(image), _borders(images[(n + step) % count])) for step in steps]
            for n, image in enumerate(images)
        ]
    )


def _no_better_than_others(images: list[ImageLook], own: np.ndarray) -> bool:
    """Never where they agree as right ones do: of a camera that stands still all labels are alike."""
    enough = len(images) >= LEAST_OF_OTHERS and float(own.mean()) < _RIGHT[0]
    return enough and _ahead(own, _others(images).mean(1)) <= _UNSURE


def _single_misfits(images: list[ImageLook], own: np.ndarray, report: Report) -> None:
    if len(images) < LEAST_OF_OTHERS:
        return
    beaten = (_others(images) > own[:, None]).sum(1) >= _BEATEN
    if not beaten.any():
        return
    names = [images[number].key for number in np.argsort(own) if beaten[number]]
    text = f"{len(names)} of {len(images)} sampled labels fit their image worse than several others do: {few(names)}"
    report.add("warning" if beaten.mean() > _ASTRAY else "fact", "single_misfits", f"{text}.")
