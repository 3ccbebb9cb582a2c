"""Images that cannot be used: each told once, counted over all ranks, and too many end the run on all of them."""

import sys
from collections.abc import Callable, Iterable

from da_toolkit.data.batch import Fault
from da_toolkit.data.domain import DomainData
from da_toolkit.errors import UserError
from da_toolkit.ranks.parallel import gathered, is_main


class Faults:
    """The unusable images of a run's domains.

    Ranks see other images each. What one of them has found is `pending` until all of them `settle` it, at a point that
    all reach: so none of them waits for ranks that have ended.

    Args:
        domains: the images that are counted, each domain on its own.
        allowed: share 0..1 of a domain's images that may be unusable.
    """

    def __init__(self, domains: Iterable[DomainData], allowed: float) -> None:
        self.domains, self.allowed = list(domains), allowed
        self.known: list[dict[int, str]] = [{} for _ in self.domains]
        self.new: list[tuple[int, Fault]] = []
        self.warn: Callable[[str], None] = lambda text: print(text, file=sys.stderr)

    @property
    def pending(self) -> int:
        """Images that this rank has found and the others do not know of."""
        return len(self.new)

    def notice(self, faults: Iterable[Fault], data: DomainData) -> None:
        """Tell of each image of `data`, one of the domains, that was not known."""
        number = next(number for number, domain in enumerate(self.domains) if domain is data)
        for index, why in faults:
            if index not in self.known[number]:
                self.known[number][index] = why
                self.new.append((number, (index, why)))
                self.warn(f"warning: {data.name} {data.split}: {why} Another image takes its place.")

    def settle(self) -> None:
        """Share what is pending; all ranks must call it together. Raises `UserError` on all when there are too many."""
        for number, (index, why) in (found for rank in gathered(self.new) for found in rank):
            self.known[number].setdefault(index, why)
        self.new = []
        for data, known in zip(self.domains, self.known, strict=True):
            if len(known) > self.allowed * len(data):
                raise UserError(
                    f"{len(known)} of {len(data)} images of {data.name} {data.split} cannot be used, more than "
                    f"--bad-files {self.allowed:g} allows. The last: {list(known.values())[-1]}"
                    if is_main()
                    else ""  # one telling is enough
                )
