"""Settings objects as rows of a table: how each is called, its value, and what its docstring says."""

import ast
import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any


@functools.cache
def field_docs(cls: type) -> dict[str, str]:
    """The docstring below each field of a dataclass, its bases' too, on one line; fields without one are left out."""
    found: dict[str, str] = {}
    for base in reversed([base for base in cls.__mro__ if dataclasses.is_dataclass(base)]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for field, below in zip(definition.body, definition.body[1:], strict=False):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
    return found


def rows(settings: Any, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(option, value, what it says) of each setting that is a value, through settings in settings and tuples of them.

    Args:
        settings: a dataclass instance.
        prefix: the option's name up to here, such as "regularizers.0.".
    """
    docs = field_docs(type(settings))
    for field in dataclasses.fields(settings):
        value, option = getattr(settings, field.name), f"{prefix}{field.name.replace('_', '-')}"
        parts = value if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]) else ()
        if parts:
            for place, part in enumerate(parts):
                yield from rows(part, f"{option}.{place}.")
        elif dataclasses.is_dataclass(value):
            yield from rows(value, f"{option}.")
        elif value != ():
            yield option, _shown(value), docs.get(field.name, "")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
