"""What every setting of a recipe must be: of its annotated type, finite, and no negative weight."""

import dataclasses
import math
from typing import Any, get_origin, get_type_hints

from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from da_toolkit.errors import UserError


def check_values(settings: Any, where: str = "") -> None:
    """Raises `UserError` for the first setting, also of the settings within, that is not of its annotated type, is
    not a finite number, or is a negative weight.

    Args:
        settings: an object of a dataclass.
        where: what comes before a setting's name in the error, such as "method.".
    """
    hints = get_type_hints(type(settings))
    for name in (entry.name for entry in dataclasses.fields(settings)):
        value, place = getattr(settings, name), f"{where}{name}"
        if what := _mismatch(value, hints[name]):
            remedy = ""
            if get_origin(hints[name]) is tuple and isinstance(value, list):
                remedy = " Write ( ) for [ ]."
            elif not _mismatch((value,), hints[name]):
                remedy = " A tuple of one needs a comma: (this,)."
            raise UserError(f"{place} is {value!r}: {what}.{remedy}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{place} is {value}: it must be a finite number.")
        if name == "weight" and isinstance(value, int | float) and value < 0:
            raise UserError(f"{place} is {value}: below 0 it would turn its loss round. 0 turns it off.")
        for number, item in enumerate(value if isinstance(value, tuple) else (value,)):
            if dataclasses.is_dataclass(item) and not isinstance(item, type):
                check_values(item, f"{place}.{number}." if isinstance(value, tuple) else f"{place}.")


def _mismatch(value: Any, annotation: Any) -> str:
    """In what a value differs from its annotation; nothing if it does not."""
    try:
        check_type(value, annotation, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
    except TypeCheckError as error:
        return " ".join(str(error).split())
    return ""
