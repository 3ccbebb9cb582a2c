"""Settings that name some of a few things, such as the weathers of a data set."""

from collections.abc import Sequence

from da_toolkit.errors import UserError, unknown_name


def check_choices(setting: str, chosen: Sequence[str], valid: Sequence[str]) -> None:
    """Raises `UserError` where nothing is chosen, something twice, or something that is not there."""
    if isinstance(chosen, str):
        raise UserError(f"{setting} is {chosen!r}: write a tuple of names, such as ({chosen!r},).")
    for name in chosen:
        if name not in valid:
            raise unknown_name(f"name in {setting}", str(name), valid)
    if not chosen or len(set(chosen)) < len(chosen):
        raise UserError(f"{setting} is {tuple(chosen)}: name at least one of {', '.join(valid)}, and each once.")
