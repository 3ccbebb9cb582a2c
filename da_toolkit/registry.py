"""The registry: a plain dictionary per kind and one decorator."""

import fnmatch
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from da_toolkit.errors import unknown_name

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """One registered name: `build` is the settings class, or a function that returns settings."""

    name: str
    build: Callable[..., Any]
    family: str
    paper: str
    use: str = ""
    """When to choose it, for people who do."""
    missing: str = ""
    """Of a method: in what its recipe falls short of the published row, or why there is none to compare it with."""
    recipe: str = ""
    """Of a method: the recipe whose `reported` is that row; by default NAME_gta."""

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (self.build.__doc__ or "").strip().splitlines()[0]


class Registry:
    """Names of one kind, for example "method"."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def register(
        self, name: str = "", *, family: str = "", paper: str = "", use: str = "", missing: str = "", recipe: str = ""
    ) -> Callable[[T], T]:
        """Decorator; the key is `name`, by default the object's own.

        Raises ValueError for a second registration or a missing docstring.
        """

        def add(build: T) -> T:
            key = name or build.__name__
            if key in self._entries:
                raise ValueError(f"{self.kind} {key!r} is registered twice")
            if not build.__doc__:
                raise ValueError(f"{self.kind} {key!r} has no docstring")
            self._entries[key] = Entry(key, build, family, paper, use, missing, recipe)
            return build

        return add

    def __getitem__(self, name: str) -> Entry:
        """Raises `UserError` that lists the valid names and the nearest one."""
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return self._entries[name]

    def names(self, pattern: str = "*", family: str = "*") -> list[str]:
        """Sorted names that match a shell pattern, such as `*ent*`."""
        return sorted(
            name
            for name, entry in self._entries.items()
            if fnmatch.fnmatch(name, pattern) and fnmatch.fnmatch(entry.family, family)
        )

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries[name] for name in self.names())


METHODS = Registry("method")
MODELS = Registry("model")
DOMAINS = Registry("domain")
REGULARIZERS = Registry("regularizer")
