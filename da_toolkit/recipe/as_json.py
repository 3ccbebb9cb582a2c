"""Settings as plain JSON values and back, each object with the public name of its class."""

import dataclasses
import hashlib
import importlib
import json
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from da_toolkit import own_code
from da_toolkit.errors import UserError
from da_toolkit.notices import Notice

PLACES = ("data", "models", "methods", "regularizers", "recipe")
"""The packages of da_toolkit that offer settings classes to recipes; no two offer classes of one name."""


@cache
def _offered() -> dict[str, type]:
    """The settings classes that recipes are made of, by public name."""
    found = {}
    for place in PLACES:
        module = importlib.import_module(f"da_toolkit.{place}")
        for name in module.__all__:
            kind = getattr(module, name)
            if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                found[f"{module.__name__}.{name}"] = kind
    return found


def public_name(name: Any) -> Any:
    """Where recipes import a class of da_toolkit from, whatever file it stands in or stood in; others stay as named."""
    if not isinstance(name, str) or not name.startswith("da_toolkit."):  # a damaged file may hold anything
        return name
    short = name.rpartition(".")[2]
    return next((public for public in _offered() if public.rpartition(".")[2] == short), name)


def plain(value: Any) -> Any:
    """Settings objects as dictionaries with the public name of their "class", tuples as lists, paths as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        module = type(value).__module__
        code = {"code": _digest(module)} if module.startswith(own_code.PREFIX) else {}
        of_files = getattr(value, "content_digest", str)()
        content = {"content": of_files} if of_files else {}
        return {"class": public_name(f"{module}.{type(value).__name__}"), **code, **content, **fields}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def rebuilt(value: Any) -> Any:
    """What `plain` was given. Raises `UserError`, KeyError, TypeError, AttributeError or ValueError for other trees."""
    if isinstance(value, list):
        return tuple(rebuilt(item) for item in value)
    if not isinstance(value, dict):
        return value
    kind = _class_of(value)
    hints = get_type_hints(kind)
    names = (key for key in value if key not in ("class", "code", "content"))
    return kind(**{name: _as_annotated(rebuilt(value[name]), hints.get(name)) for name in names})


def _class_of(value: dict[str, Any]) -> type:
    module, _, name = value["class"].rpartition(".")
    if not module.startswith(own_code.PREFIX):
        known = _offered().get(public_name(value["class"]))
        if known is None:
            raise ValueError(f"{value['class']} is not one of da_toolkit's settings classes")
        return known
    file = f"{module.removeprefix(own_code.PREFIX)}.py"
    if module not in sys.modules:
        raise UserError(
            f"{name} is a class of the recipe file {file}: name that file too, so that it is known (--recipe {file}; "
            f"in Python load_run(..., recipe={file!r}))."
        )
    kind = getattr(sys.modules[module], name)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise TypeError(f"{value['class']} is not a settings class")
    if value.get("code") != _digest(module):
        warnings.warn(
            f"{file} has changed since this run; {name} may mean something else now.", category=Notice, stacklevel=2
        )
    return kind


def _as_annotated(value: Any, hint: Any) -> Any:
    """What JSON does not tell apart: lists from tuples, and paths from text."""
    kinds = {get_origin(part) or part for part in (hint, *get_args(hint))}
    if isinstance(value, tuple) and list in kinds:
        return list(value)
    return Path(value) if isinstance(value, str) and Path in kinds else value


def _digest(module: str) -> str:
    """A hash of a recipe file, so that a run knows when the code of its own classes changes."""
    return hashlib.sha256(Path(str(sys.modules[module].__file__)).read_bytes()).hexdigest()[:16]


def flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and leaf values of `plain`'s tree, for tracking and for showing differences.

    Classes have their public names, also in trees that were written while they stood in another file.
    """
    if isinstance(tree, dict):
        items = [(key, public_name(item) if key == "class" else item) for key, item in tree.items()]
    elif isinstance(tree, list) and any(isinstance(item, dict | list) for item in tree):
        items = [(str(number), item) for number, item in enumerate(tree)]
    else:
        yield prefix, json.dumps(tree) if isinstance(tree, list) else tree
        return
    for key, item in items:
        yield from flatten(item, f"{prefix}.{key}" if prefix else key)
