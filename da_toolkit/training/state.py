"""All of a trainer that a resumed run goes on from."""

import dataclasses
from typing import Any

import torch

from da_toolkit.terms.stages import RegionIndex
from da_toolkit.terms.term import DomainName
from da_toolkit.training.trainer import Trainer


def state_of(trainer: Trainer) -> dict[str, Any]:
    """Everything a resumed run needs, as tensors and plain values: the same on every rank."""
    regions = trainer.images.known_regions
    return {
        "done": trainer.done,
        "images": trainer.images.seen,
        "model": trainer.model.state_dict(),
        "terms": trainer.players.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "term_optimizers": {number: o.state_dict() for number, o in trainer.term_optimizers.items()},
        "precision": trainer.fabric.strategy.precision.state_dict(),
        "skipped": trainer.skipped,
        "meter": trainer.meter.state(),
        "decided": trainer.decisions.counts,
        "region_index": dataclasses.asdict(regions) if regions is not None else None,
        **random_state(trainer.fabric.device),
    }


def random_state(device: torch.device) -> dict[str, Any]:
    """Of the generators that training draws from."""
    on_gpu = device.type == "cuda"
    return {"rng": torch.get_rng_state(), "cuda_rng": torch.cuda.get_rng_state(device) if on_gpu else None}


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Go on from what `random_state` found, on any device."""
    torch.set_rng_state(state["rng"].cpu())
    if state["cuda_rng"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda_rng"].cpu(), device)


def load_state(trainer: Trainer, state: dict[str, Any]) -> None:
    """Continue from `state`, which may be that of a run with another number of ranks.

    Then the next step takes the images that follow those already seen; a step is of `batch_size` images a rank, so
    it has more or fewer of them than before.
    """
    trainer.done, trainer.images.seen = state["done"], state["images"]
    trainer.model.load_state_dict(state["model"])
    trainer.players.load_state_dict(state["terms"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    for number, optimizer in trainer.term_optimizers.items():
        optimizer.load_state_dict(state["term_optimizers"][number])
    trainer.fabric.strategy.precision.load_state_dict(state["precision"])
    trainer.skipped = state["skipped"]
    trainer.meter.load_state(state["meter"])
    trainer.decisions.counts.copy_(state["decided"])
    if state["region_index"] is not None:  # of the images that frozen knowledge was made on, not of today's
        trainer.images.known_regions = RegionIndex(**state["region_index"])
    set_random_state(state, trainer.fabric.device)


def remembers(trainer: Trainer) -> dict[DomainName, list[str]]:
    """By domain, who now keeps knowledge of single images by their index, so that other images cannot stand in."""
    found: dict[DomainName, list[str]] = {}
    for term in trainer.terms:
        for domain in term.remembers():
            found.setdefault(domain, []).append(type(term).__name__)
    if trainer.images.known_regions is not None:
        found.setdefault("target", []).append("the list of superpixels")
    return found
