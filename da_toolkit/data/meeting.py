"""Where the classes of source and target meet: by name, in one label space for both."""

import difflib
import json
import warnings

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import told
from da_toolkit.data.labels import LABEL_SPACES, LabelSpace
from da_toolkit.errors import UserError
from da_toolkit.notices import Notice


def meet(source: Domain, target: Domain) -> tuple[Domain, Domain]:
    """The two domains in one label space; what they hold on disk is remapped by class name.

    The same classes in the same order stay as they are. In another order, a built-in space's order wins, else the
    target's. Where all classes of one side are among the other's, both take that smaller space: the rest cannot be
    taught, or is not asked for, and is ignored; a warning says so.

    Raises:
        UserError: each side has classes that the other has not. It lists them and what to write.
    """
    ours, theirs = source.label_space, target.label_space
    if ours.classes != theirs.classes:
        space = _common(ours, theirs)
        if space is None:
            raise UserError(_apart(source, target))
        both = source, target
        source = _brought(source, space, both)
        target = _brought(target, space, both)
    _tell_untaught(source)
    return source, target


def _common(ours: LabelSpace, theirs: LabelSpace) -> LabelSpace | None:
    """The space to meet in, if there is one."""
    if set(ours.classes) == set(theirs.classes):
        return ours if _built_in(ours) and not _built_in(theirs) else theirs
    for space, other in ((theirs, ours), (ours, theirs)):
        # What a built-in space includes is for those who name it; what an own one includes was written for this.
        names = other.classes if not _built_in(space) else set(other.classes) & set(space.classes)
        if space.reached(names) == space.classes:
            return space
    return None


def _built_in(space: LabelSpace) -> bool:
    return LABEL_SPACES.get(space.name) == space


def _brought(domain: Domain, space: LabelSpace, both: tuple[Domain, Domain]) -> Domain:
    """The domain in `space`, and a warning of what is ignored or merged there."""
    before = domain.label_space
    if before.classes == space.classes:
        return domain
    if not domain.class_names:  # a class of a recipe file: whether it maps its labels by name is not known
        kind = type(domain).__name__
        raise UserError(
            f"{kind} does not say what its classes are called, so its labels cannot be brought from {before.name} to "
            f"{space.name}. Give {kind} a property `class_names`, or make both domains' `labels` the same."
        )
    moved = domain.in_space(space.name if _built_in(space) else space)
    if moved.label_space.classes != space.classes:
        raise UserError(
            f"{type(domain).__name__} stays in {before.name}, whatever its `labels` says, and the other domain has "
            f"{space.name}. Let its `label_space` follow `labels`."
        )
    ignored = [name for name in before.classes if space.place(name) is None]
    merged = {name: dict(space.includes)[name] for name in before.classes if name in dict(space.includes)}
    parts = [f"{', '.join(ignored)} ignored"] if ignored else []
    parts += [", ".join(f"{name} as {into}" for name, into in merged.items())] if merged else []
    if parts:
        warnings.warn(
            f"{type(domain).__name__} ({before.name}) is used in the {len(space)} classes of {space.name}, which are "
            f"all that source and target share: {'; '.join(parts)}.",
            category=Notice,
            stacklevel=2,  # a place in this file, so that a recipe that is built again does not tell it again
        )
    return moved


def _tell_untaught(source: Domain) -> None:
    """Warn of classes of the user's own space that the source's data set has no name for."""
    space, names = source.label_space, source.class_names
    untaught = [name for name in space.classes if name not in space.reached(names)] if names else []
    if untaught and not _built_in(space):
        warnings.warn(
            f"{type(source).__name__} has nothing called {', '.join(untaught)}, so nothing teaches that. Its own "
            f"classes are {told(names)}; say in the label space what belongs where, such as "
            f'"includes": {{"{names[0]}": "{untaught[0]}"}}.',
            category=Notice,
            stacklevel=2,  # a place in this file, so that a recipe that is built again does not tell it again
        )


def _apart(source: Domain, target: Domain) -> str:
    """The message for classes that do not meet."""
    ours, theirs = source.label_space, target.label_space
    shared = [name for name in theirs.classes if name in ours.classes]
    ways = []
    if known := [f'labels="{name}"' for name, space in LABEL_SPACES.items() if _fits(space, source, target)]:
        ways.append(f"write {' or '.join(known)} in both")
    if shared:
        table = json.dumps({"classes": shared}, ensure_ascii=False)
        ways.append(f'write labels="common.json" in both, a file with {table}, which ignores the others')
    mine, other = _only(ours, theirs), _only(theirs, ours)
    same = json.dumps(dict([_likeliest(mine, other)]), ensure_ascii=False)
    ways.append(
        'where two names mean the same, give them one name in your tables, or write labels="mine.json" in both, a file '
        f'with "classes" and what belongs to them, such as "includes": {same}'
    )
    return (
        f"source and target have different classes. Only the source {type(source).__name__} ({ours.name}) has: "
        f"{', '.join(mine)}. Only the target {type(target).__name__} ({theirs.name}) has: "
        f"{', '.join(other)}. Both have: {', '.join(shared) or 'none'}. "
        f"Remedy: {'; or '.join(ways)}."
    )


def _likeliest(mine: list[str], other: list[str]) -> tuple[str, str]:
    """Two names that may mean the same class."""
    pairs = [(name, there) for name in mine for there in other]
    return max(pairs, key=lambda pair: difflib.SequenceMatcher(None, pair[0].lower(), pair[1].lower()).ratio())


def _only(space: LabelSpace, other: LabelSpace) -> list[str]:
    return [name for name in space.classes if name not in other.classes]


def _fits(space: LabelSpace, source: Domain, target: Domain) -> bool:
    """Whether both data sets can be labelled in a built-in space, the target wholly and the source nearly."""
    ours, theirs = space.reached(source.class_names), space.reached(target.class_names)
    return theirs == space.classes and len(space) - len(ours) <= 1
