"""Starts from another run's network: its decoder, and its classifier where the classes are the same."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from da_toolkit.errors import UserError
from da_toolkit.models.adapters import plain_names
from da_toolkit.models.matching import finite, match, some
from da_toolkit.models.pyramid import PyramidSegmenter
from da_toolkit.models.weights import find_file, read_tables
from da_toolkit.ranks.parallel import is_main

ClassesOf = Callable[[Path], Sequence[str]]
"""Gives the class names of the run whose `recipe.json` it is given; raises `UserError`, OSError or ValueError."""


def warm_start(
    network: PyramidSegmenter, weights: str, name: str, classes: Sequence[str], classes_of: ClassesOf
) -> list[str]:
    """Load the heads from the file that the backbone came from, where it is a whole segmentation network's.

    A head that is not the file's, and a classifier of other classes, keep their start. What was loaded and what was
    not is printed in one line on rank 0.

    Args:
        network: with its backbone's weights loaded.
        weights: path of a file or folder, as `build_backbone` takes it.
        name: the backbone's.
        classes: names of the network's classes, in their order.
        classes_of: reads those of the run that the file is of.

    Returns:
        What starts from random numbers all the same, with the reason: empty if the whole network is the file's.

    Raises:
        UserError: numbers in the file's heads that are not finite.
    """
    file = find_file(weights)
    tables = read_tables(file)
    found = match(tables, plain_names(network.backbone.state_dict()))
    outer = _outer(found.prefix)
    told = [f"{len(found.found) or 'all'} tensors of backbone {name}"]
    anew = [] if outer is not None else ["the head starts anew, for the weights are of a backbone alone"]
    taken = set(found.found)
    if outer is not None:
        table = {key.removeprefix(outer): value for key, value in tables[found.place].items() if key.startswith(outer)}
        loaded, anew = _load_heads(network, table, file, classes, classes_of)
        told += [*loaded, *anew]
    heads = tuple(f"{outer}{part}." for part in network.heads)
    left = [key for key in found.rest if outer is None or not key.startswith(heads)]
    left = [key for key in left if outer is None or key.removeprefix(outer) not in ("mean", "std")]
    if left and taken:
        told.append(f"left out: {len(left)} tensors ({some(left)})")
    begin = f", names beginning with {found.prefix!r}" if found.prefix else ""
    if is_main():
        print(f"weights: {file}{found.place}{begin}: {'; '.join(told)}")
    return anew


def _outer(prefix: str) -> str | None:
    """What a whole network's names begin with, by what its backbone's do; None if the file is no whole network's."""
    outer, backbone, _ = f".{prefix}".rpartition(".backbone.")
    return f"{outer}."[1:] if backbone else None


def _load_heads(
    network: PyramidSegmenter,
    table: Mapping[str, Tensor],
    file: Path,
    classes: Sequence[str],
    classes_of: ClassesOf,
) -> tuple[list[str], list[str]]:
    """Load the heads that fit; what is to be told of those loaded, and of those that start anew."""
    told: list[str] = []
    anew: list[str] = []
    before, why = _before(file, classes_of)
    load = {key: table[key] for key in ("mean", "std") if key in table}
    for part in network.heads:
        head = getattr(network, part)
        stored = {key: value for key, value in table.items() if key.startswith(f"{part}.")}
        if head is None:
            told += [f"left out: its {part}"] if stored else []
            continue
        own = {f"{part}.{key}": value for key, value in head.state_dict().items()}
        fresh = set() if before == tuple(classes) else _of_classifier(head, part)
        kept = {key: value for key, value in own.items() if key not in fresh}
        unfit = [key for key in kept if key not in stored or stored[key].shape != kept[key].shape]
        unfit = [key for key in unfit if not key.endswith("num_batches_tracked")]
        if unfit or not stored:
            what = f"is of another kind ({some(unfit)})" if stored else "is not there"
            anew.append(f"the {part} starts anew, for its {part} {what}")
            continue
        if broken := [key for key in kept if key in stored and not finite(stored[key])]:
            raise UserError(
                f"model.weights: {file} holds numbers that are not finite ({some(broken)}). Use weights from before "
                "that."
            )
        load |= {key: stored[key] for key in kept if key in stored}
        if kept:
            told.append(f"{len(kept)} of the {part}")
        if fresh:
            anew.append(f"the classifier of the {part} starts anew, for {why or _difference(before, classes)}")
    network.load_state_dict(load, strict=False)
    return told, anew


def _of_classifier(head: nn.Module, part: str) -> set[str]:
    """Names of a head's tensors that are a label space's own: all, where the head does not say which."""
    classifier = getattr(head, "classifier", head)
    own = {id(tensor) for tensor in cast(nn.Module, classifier).state_dict(keep_vars=True).values()}
    return {f"{part}.{key}" for key, tensor in head.state_dict(keep_vars=True).items() if id(tensor) in own}


def _before(file: Path, classes_of: ClassesOf) -> tuple[tuple[str, ...] | None, str]:
    """The names of the classes of the run that a file of weights is of, or why they are unknown."""
    run = file.parent.parent if file.parent.name == "checkpoints" else file.parent
    recipe = run / "recipe.json"
    if not recipe.is_file():
        return None, f"no recipe.json in {run} says what its classes are"
    try:
        return tuple(classes_of(recipe)), ""
    except (UserError, OSError, ValueError, RecursionError) as error:
        return None, f"{recipe} does not say what its classes are ({' '.join(str(error).split())[:200]})"


def _difference(before: Sequence[str] | None, classes: Sequence[str]) -> str:
    before = before or ()
    gone, new = [name for name in before if name not in classes], [name for name in classes if name not in before]
    if not gone and not new:
        return "its classes are in another order"
    parts = [f"not {some(gone)}"] if gone else []
    parts += [f"but {some(new)}"] if new else []
    return f"the classes are other ones now ({' '.join(parts)})"
