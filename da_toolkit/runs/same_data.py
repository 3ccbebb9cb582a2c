"""Whether a run's images are those that it was begun with; they are listed in the `data.json` of its folder."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from da_toolkit.data.identity import Identity, differences
from da_toolkit.errors import UserError
from da_toolkit.files import write_whole

_FILE = "data.json"
_RESTORE = "Restore them (is --data-root the same?), or start anew with --overwrite"


def settle_data(
    folder: Path, now: Identity, state: dict[str, Any] | None, remembers: Mapping[Any, Sequence[str]], accept: bool
) -> str:
    """Write `data.json` and give the data's digest, once it is clear that the run may go on with them.

    Args:
        folder: the run's.
        now: the images as they are.
        state: the checkpoint that the run goes on from; none for a run that begins.
        remembers: by domain, who keeps knowledge of single images by their index; the checkpoint is loaded already.
        accept: whether changed data are used, where no such knowledge is of them.

    Raises:
        UserError: they have changed, and that is not accepted or cannot be.
    """
    if state is not None and (what := changes(folder, now, state, remembers)):
        if not accept:
            raise UserError(f"{what} {_RESTORE}, or go on with those that are there now by --accept-changed-data.")
        print(
            f"warning: {what} The run goes on with those that are there now (--accept-changed-data): its result is of "
            "both, and no other run will repeat it.",
            file=sys.stderr,
        )
    write_whole(folder / _FILE, (json.dumps(now.to_json()) + "\n").encode())
    return now.digest


def changes(folder: Path, now: Identity, state: dict[str, Any], remembers: Mapping[Any, Sequence[str]]) -> str:
    """In what the images are not those of the checkpoint; nothing if they are, or, with a warning, if it is not known.

    Raises `UserError` if knowledge of single images is of others.
    """
    kept, begun = read_data(folder), state.get("data")
    # An accepted change stands in the file at once, and in a checkpoint only when the next one is written.
    known = {begun, kept.digest if kept is not None else None} - {None}
    if not known:
        told = f"does not list the images that it was begun with ({_FILE}): whether they have changed is not known"
        print(f"warning: {folder} {told}.", file=sys.stderr)
    if not known or now.digest in known:
        return ""
    changed = differences(kept, now) if kept is not None else {}
    told = _told(changed) if changed else f"in what cannot be told, for its {_FILE} is gone or damaged"
    what = f"The images are not those that {folder} was begun with: {told}."
    frozen = {domain: names for domain, names in remembers.items() if domain in changed or not changed}
    if frozen:
        who = "; ".join(f"{', '.join(names)} of {domain} images" for domain, names in frozen.items())
        raise UserError(
            f"{what} The run keeps knowledge of single images by their number ({who}), which would be taken for that "
            f"of others: not even --accept-changed-data helps here. {_RESTORE}."
        )
    return what


def tell_of_other_data(run: Path, now: Identity) -> None:
    """Warn a repetition of `run` that its images are not those of `run`."""
    kept = read_data(run)
    if kept is None:
        print(
            f"warning: {run} does not list its images ({_FILE}): whether these are the same is not known.",
            file=sys.stderr,
        )
    elif changed := differences(kept, now):
        print(
            f"warning: the images are not those of {run}, so its bits need not repeat: {_told(changed)}.",
            file=sys.stderr,
        )


def read_data(folder: Path) -> Identity | None:
    """The images that a run was begun with; none where an older version has not kept them, or the file is damaged."""
    try:
        return Identity.from_json(json.loads((folder / _FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return None


def _told(changed: dict[str, str]) -> str:
    return ". ".join(f"{part}: {how}" for part, how in changed.items())
