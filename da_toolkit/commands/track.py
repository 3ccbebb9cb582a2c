"""da-toolkit track sync RUN: send MLflow what a run could not send while it trained."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from da_toolkit.commands.parsing import parsed
from da_toolkit.errors import UserError
from da_toolkit.runs.lock import locked
from da_toolkit.tracking.address import address_of, without_password
from da_toolkit.tracking.sender import POLL, Sender
from da_toolkit.tracking.spool import Spool, Unreachable

SENDER_WAIT = 90.0
"""Seconds: a sender outlives its run by a few calls at most, each without an answer for 30 s."""


@dataclass(frozen=True)
class Command:
    """Send MLflow what is kept in a run's folder; a second time sends nothing."""

    verb: Annotated[Literal["sync"], tyro.conf.Positional]
    """What to do."""
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run's folder, such as runs/adaptseg_gta/0."""
    tracking: str | None = None
    """"mlflow" or an address, by default the run's own; another gets the whole run."""


def main(words: Sequence[str], prog: str) -> None:
    """`track sync RUN`."""
    command = parsed(Command, words, prog)
    sent = sync(command.run, command.tracking)
    print(f"{sent} events sent" if sent else "nothing was left to send")


def sync(folder: Path, place: str | None = None) -> int:
    """Send the rest of the run in `folder` and return how many events that was.

    A run that ended without a word, because it was killed, is marked KILLED in MLflow.

    Args:
        folder: RUNS/RECIPE/SEED.
        place: a value of `--tracking`; by default where the run was tracked.

    Raises:
        UserError: no such run, one that is still training, or MLflow did not take everything.
    """
    spool = Spool(folder)
    if not spool.path.is_file():
        raise UserError(
            f"{folder} has no tracking.jsonl: it is not the folder of a run that was tracked. Name one such as "
            "runs/adaptseg_gta/0; runs with --tracking none have nothing to send."
        )
    if place == "none":
        raise UserError("--tracking none sends nothing. Leave it out, or give 'mlflow' or an address.")
    with locked(folder):
        start = spool.mend()
        address = address_of(place or start.get("place", "mlflow"), folder.resolve().parent.parent)
        with Sender(folder.resolve(), address, lambda line: print(line, file=sys.stderr)) as sender:
            _wait_for(sender, folder)
            return _send(sender, folder, without_password(address))


def _wait_for(sender: Sender, folder: Path) -> None:
    if sender.acquire():
        return
    print(f"waiting for the process that still sends what is kept in {folder}", file=sys.stderr)
    until = time.monotonic() + SENDER_WAIT
    while not sender.acquire():
        if time.monotonic() > until:
            raise UserError(f"Another process still sends what is kept in {folder}. Try again when it has ended.")
        time.sleep(POLL)


def _send(sender: Sender, folder: Path, shown: str) -> int:
    before = sender.sent.kept(sender.spool)
    try:
        while sender.send_next():
            pass
        sender.retry_aside()
        sender.close("KILLED")  # does nothing after a finish
    except Unreachable as error:
        raise UserError(
            f"MLflow at {shown} cannot be used ({error}). {sender.sent.kept(sender.spool)} events are still kept in "
            f"{folder}. Check the address and that the server runs, then give the command again; if the server lost "
            f"the run, delete {folder / 'tracking.sent'} first, and all is sent anew."
        ) from error
    count = before - sender.sent.kept(sender.spool)
    if sender.sent.aside:
        raise UserError(
            f"MLflow at {shown} took {count} events and refused {len(sender.sent.aside)} ({sender.refusal}), which are "
            f"kept in {folder}. Mend the reason there and give the command again."
        )
    return count
