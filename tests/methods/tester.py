"""The checks that every registered method passes; a method's own test adds its formula."""

import copy

import torch

import da_toolkit.methods  # noqa: F401 - registers them
from da_toolkit.data.batch import Batch
from da_toolkit.data.labels import IGNORE
from da_toolkit.registry import METHODS
from da_toolkit.terms.step import Step

METHOD_NAMES = METHODS.names()
TAUGHT = [name for name in METHOD_NAMES if not METHODS[name].build().starts_trained]
"""Methods with labels to learn from, and so a loss "seg"."""


def batch(data, indices=(0, 1)):
    """Images and labels of a toy domain, unaugmented."""
    image = torch.stack([torch.from_numpy(data.image(i)).permute(2, 0, 1) / 255 for i in indices])
    label = torch.stack([torch.from_numpy(data._label(i)).long() for i in indices])
    return Batch(image, label, torch.tensor(indices))


def step_of(trainer, change_label=lambda label: label, target_labels=False):
    """One step of a trainer's network on toy batches."""
    source, target = batch(trainer.images.source), batch(trainer.images.target)
    source = Batch(source.image, change_label(source.label), source.index)
    target = Batch(target.image, change_label(target.label) if target_labels else None, target.index)
    return Step(trainer.network, source, target)


def losses_of(trainer, **kwargs):
    """All losses of all terms on one step."""
    step = step_of(trainer, target_labels=trainer.images.reads.target_labels, **kwargs)
    found = {}
    for term in trainer.terms:
        found |= term.losses(step)
    return found


def weights(trainer):
    """A copy of every tensor and value the run owns, by name."""
    return dict(_leaves(copy.deepcopy({**trainer.model.state_dict(), **trainer.players.state_dict(prefix="term.")})))


def _leaves(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def same(expected, found):
    """Equal to the last bit."""
    return torch.equal(expected, found) if isinstance(expected, torch.Tensor) else expected == found


def with_ignored_corner(label):
    label = label.clone()
    label[:, :16, :16] = IGNORE
    return label
