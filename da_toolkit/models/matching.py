"""Which of a file's tensors are a network's: names behind prefixes and wrappings, shapes, and what is left over."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from da_toolkit.errors import UserError
from da_toolkit.models.weights import Tables

_AVERAGED = ("ema", "teacher")  # of two networks in a file, these are the ones to use, as timm has it too


@dataclass(frozen=True)
class Match:
    """A network's tensors as a file has them."""

    place: str
    """Where in the file, such as "['model']"."""
    prefix: str
    """What the names begin with there, such as "module."."""
    found: dict[str, Tensor]
    """By the network's names; shapes may differ."""
    rest: tuple[str, ...]
    """Names in that place that are none of the network's."""

    def missing(self, wanted: Mapping[str, Tensor]) -> list[str]:
        """Names that the network needs and the file lacks; a count of batches is not needed."""
        return [name for name in wanted if name not in self.found and not name.endswith("num_batches_tracked")]

    def unfit(self, wanted: Mapping[str, Tensor]) -> list[str]:
        """Names whose tensors have another shape in the file."""
        return [name for name, tensor in self.found.items() if tensor.shape != wanted[name].shape]


def match(tables: Tables, wanted: Mapping[str, Tensor]) -> Match:
    """The place in a file, and the prefix there, that hold most of a network's tensors.

    Args:
        wanted: the network's `state_dict`. What all its names begin with is a wrapper's and counts for nothing;
            a dot counts as an underscore, for timm's pyramids rename `layer1.0` to `layer1_0`.
    """
    wrapper = _common(wanted)
    flat = {_flat(name.removeprefix(wrapper)): name for name in wanted}
    best, most = Match("", "", {}, ()), (-1, -1, False, 0)
    for place, table in tables.items():
        prefixes = Counter(prefix for name in table for prefix, rest in _splits(name) if _flat(rest) in flat)
        for prefix, count in prefixes.most_common(8) or [("", 0)]:
            found, rest = {}, []
            for name, tensor in table.items():
                own = flat.get(_flat(name.removeprefix(prefix))) if name.startswith(prefix) else None
                if own is None:
                    rest.append(name)
                else:
                    found[own] = tensor
            fits = sum(tensor.shape == wanted[name].shape for name, tensor in found.items())
            rank = (fits, count, any(word in place for word in _AVERAGED), -len(prefix))
            if rank > most:
                best, most = Match(place, prefix, found, tuple(rest)), rank
    return best


def check(found: Match, wanted: Mapping[str, Tensor], file: object, network: str) -> None:
    """Raises `UserError` unless every tensor of the network is there, in its shape, and finite."""
    missing, unfit = found.missing(wanted), found.unfit(wanted)
    if missing or unfit:
        what = []
        if missing:
            what.append(f"{len(missing)} of its {len(wanted)} tensors are missing ({some(missing)})")
        if unfit:
            shapes = (f"{name} is {_shape(found.found[name])}, not {_shape(wanted[name])}" for name in unfit)
            what.append(f"{len(unfit)} have another shape ({some(shapes)})")
        if found.rest:
            what.append(f"{len(found.rest)} tensors there are none of its ({some(found.rest)})")
        begin = f", whose names begin with {found.prefix!r}" if found.prefix else ""
        raise UserError(
            f"model.weights: {file}{found.place}{begin}, does not fit backbone {network!r}: {'; '.join(what)}. Use "
            "weights saved from the same model, or set model.backbone to the one that the file is of."
        )
    if broken := [name for name, tensor in found.found.items() if not finite(tensor)]:
        raise UserError(
            f"model.weights: {file} holds numbers that are not finite ({some(broken)}). Use weights from before that."
        )


def finite(tensor: Tensor) -> bool:
    """Whether no number in it is NaN or infinite."""
    return bool(torch.isfinite(tensor).all()) if tensor.is_floating_point() else True


def load(network: torch.nn.Module, found: Match) -> None:
    """Copy the tensors of a checked match into a network."""
    network.load_state_dict(found.found, strict=False)  # all but counts of batches are known to be there


def converted(tables: Tables, wanted: Mapping[str, Tensor], convert: Callable[[dict[str, Tensor]], dict]) -> Match:
    """The same as `match`, of tensors that the network's library renames and reshapes first, prefix removed."""
    first = match(tables, wanted)
    table = {name.removeprefix(first.prefix): tensor for name, tensor in tables[first.place].items()}
    return match({first.place: convert(table)}, wanted)


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _splits(name: str) -> Iterable[tuple[str, str]]:
    """A dotted name cut behind each of its dots, and before its begin."""
    yield "", name
    for place, letter in enumerate(name):
        if letter == ".":
            yield name[: place + 1], name[place + 1 :]


def _common(names: Iterable[str]) -> str:
    """The dotted parts that all names begin with."""
    parts = [name.split(".")[:-1] for name in names]
    same = 0
    while parts and all(len(part) > same and part[same] == parts[0][same] for part in parts):
        same += 1
    return "".join(f"{part}." for part in parts[0][:same]) if parts else ""


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
