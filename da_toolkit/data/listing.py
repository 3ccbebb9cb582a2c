"""Which files of a folder are images, and which label belongs to each; told by what is there, not by names expected."""

import os
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from da_toolkit.errors import UserError, meant
from da_toolkit.notices import Notice

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
"""Of images and labels, in upper or lower case."""
IMAGE_ENDINGS = ("_leftImg8bit", "_image", "_img", "_rgb")
LABEL_ENDINGS = (
    *("_labelIds", "_gtFine_labelIds", "_labelTrainIds", "_gtFine_labelTrainIds"),
    *("_label", "_labels", "_mask", "_gt", "_seg"),
)
"""What may follow the name that an image and its label share."""
NOT_DATA = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found")
"""What systems put into folders, besides names that begin with a dot."""

PREDICTED = "predictions.json"
"""What `predict` leaves in its folder of outputs."""
_SHOWN = 3


@dataclass(frozen=True)
class Pair:
    """One image and its label file, where it has one."""

    key: str
    image: Path
    label: Path | None


@dataclass(frozen=True)
class Pairs:
    """The images of a split."""

    pairs: Sequence[Pair]
    unlabelled: str = ""
    """Which images have no label, where labels were looked for and what is there; nothing if all have one."""


Names = Callable[[str], Sequence[Sequence[str]]]
"""An image's stem -> the stems that its label may have, the surest first; of equally sure ones only one may exist."""


def own_names(stem: str) -> Sequence[Sequence[str]]:
    """The image's name; or what is left of it without a known ending, with one that labels have."""
    bases = [stem, *(stem.removesuffix(end) for end in IMAGE_ENDINGS if stem.endswith(end))]
    return [stem], [base + end for base in bases for end in ("", *LABEL_ENDINGS) if base + end != stem]


def images_in(folder: Path, setting: str, part: str = "") -> list[Path]:
    """Sorted image files of a folder and the folders in it, whose names hold `part`.

    Raises:
        UserError: the folder is missing or holds none, or two differ in nothing but the kind of file.
    """
    if not os.path.isdir(folder):  # unlike `Path.is_dir`, false where nobody may look
        raise UserError(
            f"{setting}: the folder {folder} does not exist{_instead(folder)}.{_nearest(folder)} Set the domain's "
            "`root` or --data-root to it."
        )
    there = files_below(folder, setting)
    found = [file for file in there if _is_picture(file) and part in file.stem]
    if not found:
        what = f"images called *{part}*" if part else "images"
        raise UserError(
            f"{setting}: the folder {folder} holds no {what} ({', '.join(SUFFIXES)}); {_described(there, folder)}. "
            "Put the data set's there."
        )
    if twins := _twins(found):
        raise UserError(
            f"{setting}: in {folder} {len(twins)} names stand for several images, such as "
            f"{_shown(twins[0], folder)}. Keep one of each, or rename them."
        )
    return found


def first_folder(root: Path, *places: str) -> Path:
    """The first of several places below `root` that is a folder, since archives are unpacked in more than one way; the
    first of all where none is, for the message that follows."""
    return next((root / place for place in places if os.path.isdir(root / place)), root / places[0])


def unlabelled(
    images: Sequence[Path],
    folder: Path,
    key: Callable[[Path], str] | None = None,
    why: str = "Its labels are not public.",
) -> Pairs:
    """The images of a split without labels, such as a test split whose labels are with its benchmark's server.

    Args:
        key: as of `paired`.
        why: a sentence that says why there are none.
    """
    key = key or (lambda image: image.relative_to(folder).with_suffix("").as_posix())
    return Pairs([Pair(key(image), image, None) for image in images], why)


def together(found: Iterable[Pairs]) -> Pairs:
    """The images of several folders as one split."""
    parts = list(found)
    why = " ".join(part.unlabelled for part in parts if part.unlabelled)
    return Pairs([pair for part in parts for pair in part.pairs], why)


def paired(
    images: Sequence[Path],
    folder: Path,
    labels: Path,
    setting: str,
    names: Names = own_names,
    needed: bool = False,
    key: Callable[[Path], str] | None = None,
    part: str = "",
) -> Pairs:
    """Each image with its label, which lies in the same place below `labels`, or in another if no name occurs twice.

    Args:
        images: files below `folder`.
        names: what a label may be called.
        needed: whether a split of which some labels are missing is of no use.
        key: an image's name in the split; by default its path below `folder`, without the kind of file.
        part: what all labels' names hold; other files beside them are nothing to tell.

    Raises:
        UserError: labels are `needed` and there are some, or at least a folder for them, but not for all.
    """
    places = [image.relative_to(folder) for image in images]
    keys = [
        key(i) if key is not None else place.with_suffix("").as_posix() for i, place in zip(images, places, strict=True)
    ]
    if not os.path.isdir(labels):
        why = f"{setting}: the folder of the labels, {labels}, does not exist{_instead(labels)}."
        return Pairs([Pair(k, image, None) for k, image in zip(keys, images, strict=True)], why)
    try:
        there = files_below(labels, setting)
    except UserError as error:
        if needed:
            raise
        return Pairs([Pair(k, image, None) for k, image in zip(keys, images, strict=True)], str(error))
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for file in there:
        if _is_picture(file) and part in file.stem and os.path.exists(file):  # a link may lead nowhere
            by_stem[_spelt(file.stem)].append(file)
    often = Counter(image.stem for image in images)
    claims = [
        _labels_of(image, labels / place.parent, by_stem, names, alone=often[image.stem] == 1)
        for image, place in zip(images, places, strict=True)
    ]
    surest: dict[Path, int] = {}
    for doubt, found in claims:
        surest.update({file: min(doubt, surest.get(file, doubt)) for file in found})
    pairs, missing, unclear = [], [], []
    for name, image, place, (doubt, found) in zip(keys, images, places, claims, strict=True):
        own = [file for file in found if surest[file] == doubt]  # or another image is called just as the label
        if not own:
            missing.append(labels / place.parent / f"{names(image.stem)[0][0]}.png")
        elif len(own) > 1:
            unclear.append(own)
        pairs.append(Pair(name, image, own[0] if len(own) == 1 else None))
    why = _without_label(setting, len(pairs), missing, unclear, labels, there)
    if why and needed:
        raise UserError(f"{why} Restore those files or remove their images.")
    if not unclear:
        _tell_left_over(setting, labels, by_stem, pairs)
    return Pairs(pairs, why)


def _labels_of(
    image: Path, beside: Path, by_stem: dict[str, list[Path]], names: Names, alone: bool
) -> tuple[int, list[Path]]:
    """The label files that an image may mean, none, the one or several; and how far from sure its names are."""
    for doubt, equally_sure in enumerate(names(image.stem)):
        found = [file for stem in dict.fromkeys(equally_sure) for file in by_stem.get(_spelt(stem), ())]
        near = [file for file in found if file.parent == beside]
        if near or (found and alone):
            return doubt, near or found
    return 0, []


def _without_label(
    setting: str, count: int, missing: list[Path], unclear: list[list[Path]], labels: Path, there: list[Path]
) -> str:
    said = []
    if missing:
        names = ", ".join(f"{file}{_broken_link(file)}" for file in missing[:_SHOWN])
        said.append(
            f"{len(missing)} of {count} images have no label; missing: {names}"
            f"{', ...' if len(missing) > _SHOWN else ''}; {_described(there, labels)}"
        )
    if unclear:
        said.append(
            f"{len(unclear)} of {count} images have several labels, such as {_shown(unclear[0], labels)} in {labels}, "
            "of which one is to be kept"
        )
    return f"{setting}: {'; '.join(said)}." if said else ""


def _tell_left_over(setting: str, labels: Path, by_stem: dict[str, list[Path]], pairs: list[Pair]) -> None:
    used = {pair.label for pair in pairs}
    left = sorted(file for files in by_stem.values() for file in files if file not in used)
    if used != {None} and left:
        warnings.warn(
            f"{setting}: {len(left)} files in {labels} are no image's label and are left out, such as "
            f"{_shown(left, labels)}",
            category=Notice,
            stacklevel=3,
        )


def files_below(folder: Path, setting: str, above: frozenset[Path] = frozenset()) -> list[Path]:
    """Sorted files of a folder and the folders in it, also behind links; no hidden ones, devices or pipes, and nothing
    of a folder in it that `predict` has filled."""
    here = folder.resolve()
    above |= {here, *here.parents}
    found = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"{setting}: the folder {folder} cannot be listed ({error.strerror}). Mend its permissions."
        ) from error
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith(".") or entry.name in NOT_DATA:
            continue
        if _is(entry.is_dir):
            circle = path.resolve() in above  # a link to a folder that it lies in
            if not circle and not os.path.exists(path / PREDICTED):
                found += files_below(path, setting, above)
        elif _is(entry.is_file) or (entry.is_symlink() and not os.path.exists(path)):
            found.append(path)
    return sorted(found)


def _is(kind: Callable[[], bool]) -> bool:
    """What cannot even be looked at, such as a link in a circle, is of no kind."""
    try:
        return kind()
    except OSError:
        return False


def _spelt(name: str) -> str:
    """With accents as one character; macOS writes two."""
    return unicodedata.normalize("NFC", name)


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


def _twins(files: Iterable[Path]) -> list[list[Path]]:
    named = defaultdict(list)
    for file in files:
        named[file.with_suffix("")].append(file)
    return [same for same in named.values() if len(same) > 1]


def _broken_link(file: Path) -> str:
    return f" (a link to {file.readlink()}, which does not exist)" if file.is_symlink() else ""


def _shown(files: Sequence[Path], folder: Path) -> str:
    names = [file.relative_to(folder).as_posix() for file in files[:_SHOWN]]
    return ", ".join(names) + (", ..." if len(files) > _SHOWN else "")


def _described(files: Sequence[Path], folder: Path) -> str:
    """What a folder holds, as a clause."""
    if files:
        return f"there are {len(files)} files: {_shown(files, folder)}"
    hidden = sorted(entry.name for entry in folder.iterdir()) if os.access(folder, os.R_OK) else []
    return f"there are only {', '.join(hidden[:_SHOWN])}" if hidden else "it is empty"


def _around(folder: Path) -> tuple[Path, list[Path]]:
    """The nearest folder above that is there, and what lies in it as far as one may look, by name."""
    parent = next(above for above in folder.parents if os.path.isdir(above))
    there = parent.iterdir() if os.access(parent, os.R_OK) else ()
    return parent, sorted(entry for entry in there if entry.name not in NOT_DATA)


def _instead(folder: Path) -> str:
    """What lies where a missing folder should, as an addition."""
    parent, there = _around(folder)
    more = ", ..." if len(there) > 8 else ""
    return (
        f" ({parent} holds {', '.join(entry.name for entry in there[:8])}{more})" if there else f" ({parent} is empty)"
    )


def _nearest(folder: Path) -> str:
    """ " Did you mean 'x'?" of the folders that lie where a missing one should, or nothing."""
    parent, there = _around(folder)
    return meant(folder.relative_to(parent).parts[0], [entry.name for entry in there if entry.is_dir()])
