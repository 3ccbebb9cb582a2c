"""Do label files hold the ids that the data set defines? Train ids, masks and ids from 1 are told by what occurs."""

from collections import Counter

from da_toolkit.check.look import SplitLook
from da_toolkit.check.report import Report, few
from da_toolkit.data.encodings import CITYSCAPES_IDS, RawClasses
from da_toolkit.data.labels import CITYSCAPES19, IGNORE, LabelSpace

_VOID = 0.25
"""Share of ids that the data set ignores from which it is odd; in Cityscapes and GTA5 it is about a tenth."""
_SOME = 0.1
"""Share of label files from which it is no odd one."""


def judge_ids(look: SplitLook, classes: RawClasses, space: LabelSpace, report: Report) -> None:
    """Add what the ids in the sampled label files say.

    Args:
        classes: the meaning of ids that the domain expects.
    """
    files = {image.key: image.raw for image in look.sampled() if image.raw}
    if not files:
        return
    seen: Counter[int] = Counter()
    for raw in files.values():
        seen.update(raw)
    trained = [key for key, raw in files.items() if _are_train_ids(raw, classes)]
    if len(trained) >= max(1, _SOME * len(files)):
        report.add(
            "problem",
            "train_ids",
            f"{len(trained)} of {len(files)} sampled label files hold train ids where label ids are expected: nothing "
            f"but ids 0 to 18 and 255, many of which mean nothing there ({few(trained)}). Use the data set's own label "
            "ids (Cityscapes: *_gtFine_labelIds.png as published), or read train ids with Folder(ids='cityscapes19').",
        )
    if _are_a_mask(seen, classes, space):
        report.add(
            "problem",
            "mask",
            "label files hold 0 and 255 alone: a mask saved as a black and white picture, not class ids. Save ids 0, "
            "1, ... instead, or say in a table what 255 means.",
        )
    _judge_unknown(seen, classes, report)


def _are_train_ids(raw: dict[int, int], classes: RawClasses) -> bool:
    """Whether one file holds Cityscapes' train ids though larger ids have a meaning, and those below often none."""
    ids, last = set(raw) - {IGNORE}, len(CITYSCAPES19)
    meant = [number for number, name in classes.items() if name is not None and number != IGNORE]
    if not ids or max(ids) >= last or max(meant, default=0) < last:
        return False
    void = sum(count for number, count in raw.items() if number in ids and classes.get(number) is None)
    return void > _VOID * sum(raw[number] for number in ids)


def _are_a_mask(seen: Counter[int], classes: RawClasses, space: LabelSpace) -> bool:
    return set(seen) == {0, IGNORE} and len(space) > 1 and classes.get(IGNORE) is None


def _judge_unknown(seen: Counter[int], classes: RawClasses, report: Report) -> None:
    """Say what ids look like that are not defined; each such file is a problem of its own already."""
    unknown = sorted(set(seen) - set(classes))
    last = max((number for number in classes if number != IGNORE), default=0)
    meant = max((number for number, name in classes.items() if name is not None), default=0)
    plain = sorted(number for number in classes if number != IGNORE) == list(range(last + 1))
    if not unknown or not plain:
        return
    if unknown == [last + 1]:
        report.add(
            "problem", "ids_from_one", f"ids run up to {last + 1}, one too far: they seem to count from 1, not 0."
        )
    elif meant < len(CITYSCAPES19) and set(seen) <= set(CITYSCAPES_IDS) and len(unknown) > 1:
        report.add(
            "problem",
            "label_ids",
            f"ids such as {few([str(number) for number in unknown])} look like Cityscapes' label ids where train ids "
            f"0 to {meant} are expected. Give Folder a table of ids, or use the files with train ids.",
        )
