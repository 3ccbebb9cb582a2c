"""da-toolkit view RUNS...: a page on this machine that shows runs while they train."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from da_toolkit.commands.parsing import parsed
from da_toolkit.viewing.server import address_of, listening, make_server
from da_toolkit.viewing.watch import Watch


@dataclass(frozen=True)
class Command:
    """Serve a page that shows runs and follows them while they train: curves, stages, classes, confusions, pictures,
    warnings, settings. It reads their folders alone and can be opened from this machine only. Ctrl-C ends it."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs"),)
    """Folders of runs, such as runs/adaptseg_gta/0, or folders that hold runs at any depth; runs that begin later are
    found too."""
    port: int | None = None
    """Port of 127.0.0.1; by default 8770, or a free one where that is in use."""


def main(words: Sequence[str], prog: str) -> None:
    """Serve the page until Ctrl-C."""
    command = parsed(Command, words, prog)
    watch = Watch(command.runs)
    with listening(command.port) as opened:
        found = len(watch.runs())
        seen = f"{found} run{'s' if found > 1 else ''}" if found else "no run yet; those that begin appear"
        print(f"{address_of(opened)} shows {', '.join(map(str, command.runs))} ({seen}). Ctrl-C ends it.", flush=True)
        try:
            make_server(watch).run(sockets=[opened])
        except KeyboardInterrupt:  # the way it is meant to end
            return
