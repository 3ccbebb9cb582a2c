"""The setting `labels` of a domain: a label space by its name, by a JSON table, or as an object in a recipe."""

from pathlib import Path
from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

from da_toolkit.data.label_table import read_table
from da_toolkit.data.labels import LABEL_SPACES, LabelSpace, label_space
from da_toolkit.errors import UserError


def space_of(labels: Any) -> LabelSpace:
    """The label space that a setting means: a name, a JSON table's path, or the space itself.

    Raises:
        UserError: an unknown name, a table that cannot be used, or something else altogether.
    """
    if isinstance(labels, LabelSpace):
        space = labels
    elif not isinstance(labels, str | Path):
        raise UserError(f"labels is {labels!r}: it must be a label space's name, a JSON table or a LabelSpace(...).")
    elif is_table(labels):
        table = read_table(Path(labels))
        if table.space is None:
            raise UserError(f'The label table {labels} has no "classes", so it names no label space. Add them.')
        space = table.space
    elif labels in LABEL_SPACES:
        return LABEL_SPACES[str(labels)]
    else:
        try:
            return label_space(str(labels))
        except UserError as error:
            raise UserError(f"{error} A label space of your own is a JSON table: labels='my/classes.json'.") from None
    known = LABEL_SPACES.get(space.name)
    if known is not None and known.classes != space.classes:
        raise UserError(
            f"The label space {space.name} ({', '.join(space.classes)}) has the name of a built-in one with other "
            "classes, and scores would be taken for those. Give it, or its JSON file, another name."
        )
    return space


def is_table(labels: Any) -> bool:
    """Whether the setting names a JSON table rather than a built-in space."""
    return isinstance(labels, Path) or (isinstance(labels, str) and labels.lower().endswith(".json"))


# On the command line it is one word, although a recipe may hold an object.
_WORD: Any = PrimitiveConstructorSpec(
    nargs=1,
    metavar="NAME|FILE.json",
    instance_from_str=lambda words: words[0],
    is_instance=lambda value: isinstance(value, str | LabelSpace),
    str_from_instance=lambda value: [value.name if isinstance(value, LabelSpace) else value],
)
Labels = Annotated[str | LabelSpace, _WORD]
"""What a recipe may write for `labels`."""
