"""A flag that no command knows: which ones were probably meant, and the paragraph that says so."""

import difflib
import math
from collections.abc import Iterable

from da_toolkit.errors import UserError

MOST = 3
"""Flags that are offered at most."""
_NEAR = 0.6
"""Likeness 0..1 from which a part of a dotted flag is near another."""
_APART = 0.1
"""How much less alike than the nearest a flag may be to be offered with it."""


def unknown_flag(flag: str, valid: Iterable[str], prog: str) -> UserError:
    """The error for a flag that `prog` does not know: the nearest of the valid ones, and where all are shown."""
    names = sorted(set(valid))
    near = near_flags(flag, names)
    group = "" if near else _group(flag, names)
    inside = [name for name in names if name.startswith(f"{group}.")] if group else []
    if group and len(inside) <= MOST:
        near, inside = inside, []
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    shown = f"`{prog} --help` shows {f'those that begin with {group}.' if inside else 'all'}"
    return UserError(f"Unknown flag {flag}.{hint} {shown}{'' if inside else '.'}")


def near_flags(flag: str, valid: Iterable[str]) -> list[str]:
    """The valid flags that are like a misspelt one, the nearest first, at most `MOST`; none if none is near.

    Dotted flags are compared part by part, so that one wrong part is not outweighed by those that two flags have in
    common; what stands in front may be left out, as in `--lr` for `--optimizer.lr`. One that has other signs between
    its words, as `--optimizer_lr`, is near none but that.
    """
    wanted = _parts(flag)
    valid = list(valid)
    if same := [name for name in valid if "-".join(_parts(name)) == "-".join(wanted)]:
        return same
    alike = {name: _likeness(wanted, _parts(name)) for name in valid}
    whole = {name: likeness for name, (likeness, is_whole) in alike.items() if is_whole}
    found = whole if any(whole.values()) else {name: likeness for name, (likeness, _) in alike.items()}
    best = max(found.values(), default=0.0)
    near = [name for name, likeness in found.items() if likeness > 0 and likeness >= best - _APART]
    return sorted(near, key=lambda name: (-found[name], name))[:MOST]


def _parts(flag: str) -> list[str]:
    return flag.lstrip("-").partition("=")[0].replace("_", "-").lower().split(".")


def _likeness(wanted: list[str], parts: list[str]) -> tuple[float, bool]:
    """How alike a flag is, 0 = not near; and whether it has as many parts, not more."""
    if len(parts) < len(wanted):
        return 0.0, False
    each = [_alike(*pair) for pair in zip(wanted, parts[-len(wanted) :], strict=True)]
    return (math.prod(each) if min(each) >= _NEAR else 0.0), len(parts) == len(wanted)


def _alike(one: str, other: str) -> float:
    if one.isdigit() and other.isdigit():  # places in a tuple
        return 1.0 if one == other else _NEAR
    return difflib.SequenceMatcher(None, one, other).ratio()


def _group(flag: str, valid: list[str]) -> str:
    """The longest beginning of valid flags, of whole parts, that is near that of a flag of which the rest is not."""
    wanted = _parts(flag)
    for length in range(len(wanted) - 1, 0, -1):
        begins = {"--" + ".".join(_parts(name)[:length]) for name in valid if len(_parts(name)) > length}
        if near := near_flags(".".join(wanted[:length]), [name for name in begins if name.count(".") == length - 1]):
            return near[0]
    return ""
