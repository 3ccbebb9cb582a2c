"""Stops a run before it starts if the labels that it would learn from, or be scored by, are all ignored."""

import numpy as np

from da_toolkit.data.domain import DomainData
from da_toolkit.data.labels import IGNORE
from da_toolkit.errors import UserError

LOOKED_AT = 50
"""Labels, evenly spread, of which one must have a labelled pixel; in right data the first has, so it costs one."""


def require_labelled(data: DomainData, purpose: str, first: int | None = None) -> None:
    """Raises `UserError` if a split's labels are ignored everywhere. Labels that cannot be read are left to the loader.

    Args:
        purpose: what the labels are for, such as "to train on".
        first: only so many images of the split are used.
    """
    used = min(len(data), first) if first else len(data)
    looked = 0
    for index in np.unique(np.linspace(0, used - 1, min(LOOKED_AT, used)).astype(int)).tolist():
        try:
            label = data.label(index)
        except UserError:
            continue
        if (label != IGNORE).any():
            return
        looked += 1
    if looked:
        raise UserError(
            f"{data.name} {data.split}: in {looked} of {used} labels, evenly spread, every pixel is ignored, so there "
            f"is nothing {purpose}. Set the domain's `root` to the right label files, or mend `labels` or its table; "
            "`python -m da_toolkit.prepare check RECIPE` shows what the files hold."
        )
