"""All questions about one split."""

from da_toolkit.check.fit import judge_fit
from da_toolkit.check.ids import judge_ids
from da_toolkit.check.images import judge_images
from da_toolkit.check.labels import judge_labels
from da_toolkit.check.look import SplitLook, look_at
from da_toolkit.check.report import Report
from da_toolkit.data.domain import Domain, DomainData
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.labels import IGNORE


def check_split(data: DomainData, with_labels: bool = True) -> Report:
    """Read every image and, if `with_labels` and there are any, every label; problems are collected, not raised."""
    return report_of(data, look_at(data, data.has_labels and with_labels))


def report_of(data: DomainData, look: SplitLook, domain: Domain | None = None) -> Report:
    """What one look at a split says; `domain`, its settings, lets shapes and ignored shares be judged too."""
    report = Report(f"{data.name} {data.split}", len(data), data.has_labels, data.unlabelled)
    for image in look.images:
        if image.size is not None:
            report.sizes[image.size] += 1
        for error in image.errors:
            report.add("problem", "unreadable", error)
    judge_images(look, domain, report)
    if look.labelled:
        space, counts = data.label_space, look.counts
        report.pixels = {name: int(counts[number]) for number, name in enumerate(space.classes)}
        report.pixels["ignore"] = int(counts[IGNORE])
        if isinstance(data, FileDomainData):
            judge_ids(look, data.classes, space, report)
        judge_labels(look, space, domain, report)
        judge_fit(look, report)
    return report
