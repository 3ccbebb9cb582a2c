"""All questions about a recipe's data: source train, target train and target val, and the three together."""

from pathlib import Path

from da_toolkit.check.between import judge_classes, judge_copies, judge_domains
from da_toolkit.check.look import SplitLook, look_at
from da_toolkit.check.picture import save_look
from da_toolkit.check.report import Report
from da_toolkit.check.split import report_of
from da_toolkit.data.domain import DomainData
from da_toolkit.data.files import FileDomainData
from da_toolkit.errors import UserError
from da_toolkit.recipe.recipe import Recipe


def check_recipe(recipe: Recipe, data_root: Path | None, picture: Path | None = None) -> list[Report]:
    """A report of each split and one of what they are to each other; a source that no run opens is left out.

    Labels of a split are opened only if a run reads them; those of target training images are the oracle's alone.

    Args:
        picture: a PNG file to write, with one random image of each split under its label.

    Raises:
        UserError: the picture cannot be written.
    """
    reads = recipe.method.reads
    splits = (
        ("source train", recipe.source, "train", reads.source),
        ("target train", recipe.target, "train", reads.target_labels),
        ("target val", recipe.target, "val", True),
    )[0 if recipe.method.opens_source else 1 :]
    reports: list[Report] = []
    looks: dict[str, SplitLook] = {}
    opened: dict[str, tuple[DomainData, bool]] = {}
    for role, domain, split, reads_labels in splits:
        try:
            data = domain.build(split, data_root)
        except UserError as error:  # so that the other splits are looked at too
            reports.append(Report(f"{type(domain).__name__} {split}: not opened"))
            reports[-1].add("problem", "not_opened", str(error))
            continue
        opens = reads_labels and data.has_labels
        opened[role] = data, opens
        looks[role] = look_at(data, opens)
        reports.append(report_of(data, looks[role], domain))
        if reads_labels and not data.has_labels:
            partly = isinstance(data, FileDomainData) and any(pair.label is not None for pair in data.pairs)
            needs = "not all labels" if partly else "no labels"
            needs += ", and a run needs them" + " to be scored" * (split == "val")
            kind = "missing_labels" if partly else "no_labels"
            reports[-1].add("problem", kind, f"{needs}; {data.unlabelled}" if data.unlabelled else needs)
    together = Report("source and target together" if recipe.method.opens_source else "target train and val together")
    if {"source train", "target train"} <= looks.keys():
        judge_domains(looks["source train"], looks["target train"], together)
    if {"target train", "target val"} <= looks.keys():
        judge_copies(looks["target train"], looks["target val"], together)
    if {"source train", "target val"} <= looks.keys():
        judge_classes(looks["source train"], looks["target val"], recipe.target.label_space, together)
    if picture is not None:
        save_look(picture, opened, looks, together)
    return [*reports, together]
