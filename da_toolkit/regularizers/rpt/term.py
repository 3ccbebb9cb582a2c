"""The RPT term: frozen region labels and a logic model regularise target predictions."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from da_toolkit.data.figures import prediction_grid
from da_toolkit.data.labels import IGNORE
from da_toolkit.data.superpixels import Superpixels
from da_toolkit.errors import UserError
from da_toolkit.files import cache_folder
from da_toolkit.notices import Notice
from da_toolkit.ranks.parallel import broadcast_state, from_main
from da_toolkit.registry import REGULARIZERS
from da_toolkit.regularizers.rpt.cluster import (
    Cluster,
    assign_clusters,
    cluster_key,
    load_assignment,
    save_assignment,
    shared_feature_pass,
)
from da_toolkit.regularizers.rpt.figures import contact_sheet, crop_of, heat_map, one_of_each, with_borders
from da_toolkit.regularizers.rpt.logic import (
    LogicModel,
    SpatialLogic,
    logic_loss,
    logic_plausibility,
    source_columns,
    train_logic,
)
from da_toolkit.regularizers.rpt.patch import Patch, region_loss
from da_toolkit.regularizers.rpt.regions import RegionRows, RegionTable, selected_share
from da_toolkit.regularizers.rpt.trust import believed_labels, cluster_agreement, label_prior, logit_adjusted
from da_toolkit.settings.schedule import Stage
from da_toolkit.terms.categories import Categories, Level
from da_toolkit.terms.stages import StageContext
from da_toolkit.terms.step import Step, View
from da_toolkit.terms.term import BuildContext, DomainName, Reads, Regularizer, Term


def _digest(network: nn.Module) -> str:
    """A hash of all of its weights."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in network.state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def _picture(image: Tensor) -> np.ndarray:
    """float [3,H,W] 0..1 -> uint8 [H,W,3]."""
    return (image * 255).round().byte().permute(1, 2, 0).cpu().numpy()


@REGULARIZERS.register("rpt", family="regularizer", paper="Zhang et al., CVPR 2020 (arXiv 2006.06570)")
@dataclass(frozen=True)
class RPT(Regularizer):
    """Patch, cluster and spatial-logic constraints on target predictions. A reconstruction.

    A constraint of weight 0 is off; any subset works. Clusters are also made for `trust`; with both at 0 they cost
    nothing. Region labels are balanced by how frequent they are (`balance`).
    """

    patch: Patch = field(default_factory=Patch)
    cluster: Cluster = field(default_factory=Cluster)
    logic: SpatialLogic = field(default_factory=SpatialLogic)
    regions: Superpixels = field(default_factory=Superpixels)
    """How target images are cut into regions."""
    level: Level = "category"
    """What a region's label names: one of Cityscapes' categories (flat, construction, object, nature, sky, human,
    vehicle), which leaves it to the other terms which of its classes is meant, or a class, as recalled of the paper.
    Road and sidewalk look alike, and rounds of class labels turn one into the other."""
    trust: float = 0.3
    """A category's labels are believed where at least this share of what looks like it is called the same, 0..1
    (`cluster_agreement`). Those of the others are not used, and no label speaks against them. 0 = all are believed."""
    balance: float = 1.0
    """Strength of the logit adjustment by the labels' frequency (`logit_adjusted`), at least 0: large sure regions then
    drown less of what is rare. 0 = every label counts alike, as recalled of the paper."""

    def __post_init__(self) -> None:
        if not 0 <= self.trust <= 1:
            raise UserError(f"rpt.trust lies in 0..1, got {self.trust}.")
        if not 0 <= self.balance < float("inf"):
            raise UserError(f"rpt.balance must be at least 0, got {self.balance}.")

    @property
    def clustered(self) -> bool:
        """Whether regions are grouped into clusters."""
        return bool(self.cluster.weight) or bool(self.patch.weight and self.trust)

    @property
    def superpixels(self) -> Superpixels | None:
        return self.regions if self.patch.weight or self.cluster.weight else None

    def check(self, stages: Sequence[Stage], reads: Reads) -> None:
        if not (self.patch.weight or self.cluster.weight or self.logic.weight):
            warnings.warn(
                "RPT does nothing: patch.weight, cluster.weight and logic.weight are all 0. Set one of them to 1.",
                category=Notice,
                stacklevel=2,
            )
        if self.logic.weight and not reads.source:
            raise UserError(
                "RPT learns its spatial logic from source labels, and this method reads none: set logic.weight to 0."
            )
        if not any(stage.round for stage in stages):
            raise UserError(
                "RPT works in rounds, but no stage of the schedule is one: add `*rounds(3, steps=...)` to its stages."
            )

    def build(self, context: BuildContext) -> "RPTTerm":
        return RPTTerm(self, context)


class RPTTerm(Term):
    """Losses "rpt_patch", "rpt_cluster" and "rpt_logic" from the first round on; nothing in the warm-up."""

    looks_at = ("target",)

    def __init__(self, settings: RPT, context: BuildContext) -> None:
        super().__init__()
        self.settings, self.context = settings, context
        self.num_classes = len(context.label_space)
        self.logic = LogicModel(self.num_classes, settings.logic.width).eval().requires_grad_(False)
        self.logic_trained = False
        self.reported: dict[str, float] = {}
        self.rows: RegionRows | None = None
        self.assignment: Tensor | None = None
        self.labels: dict[str, Tensor] = {}
        self.categories = Categories(context.label_space, settings.level)
        self.priors: dict[str, Tensor] = {}
        """Float [categories]: how frequent each one's labels are, for each constraint that has some."""

    def begin_stage(self, stage: StageContext) -> None:
        if stage.stage.round == 0:
            return
        if self.settings.logic.weight and not self.logic_trained:
            self._train_logic(self.settings.logic, stage)
        if self.settings.superpixels is None:
            return
        assert stage.regions is not None
        self.rows = RegionRows(stage.regions.counts, stage.device)
        if self.settings.clustered and self.assignment is None:
            self.assignment = self._assign(self.settings.cluster, stage)
        table = RegionTable(self.rows, len(self.categories))

        def see(view: View) -> None:
            table.add(view.batch.index, view.regions, self.categories.probabilities(view.probabilities()))

        stage.watch_target(see, lambda: self._freeze(table))

    def _freeze(self, table: RegionTable) -> None:
        """Labels for this round."""
        table.sum_over_ranks()
        settings = self.settings
        labels: dict[str, Tensor] = {}
        if settings.patch.weight:
            labels["patch"] = settings.patch.labels(table)
        if settings.cluster.weight and self.assignment is not None:
            labels["cluster"] = settings.cluster.labels(table, self.assignment)
        if settings.trust and self.assignment is not None:
            agreement = cluster_agreement(table, self.assignment)
            labels = {name: believed_labels(found, agreement >= settings.trust) for name, found in labels.items()}
            named = zip(self.categories.names, agreement.tolist(), strict=True)
            self.reported |= {f"rpt_trust_{name}": value for name, value in named}
        self._set_labels(labels, table)

    def _set_labels(self, labels: dict[str, Tensor], table: RegionTable) -> None:
        """Take these labels, uint8 [total+1] of each constraint, for this round."""
        self.labels = labels
        priors = {name: label_prior(table, found) for name, found in labels.items()}
        self.priors = {name: prior for name, prior in priors.items() if prior.any()}
        for name, found in labels.items():
            self.reported[f"rpt_{name}_share"] = selected_share(table, found)

    def numbers(self) -> dict[str, float]:
        """Shares of target pixels in selected regions, how far each category is to be believed, and the logic's quality
        on held-out source columns."""
        return dict(self.reported)

    def _train_logic(self, settings: SpatialLogic, stage: StageContext) -> None:
        columns = source_columns(stage.labels("source"), settings, self.num_classes, stage.device)
        self.logic, quality = train_logic(settings, columns, self.num_classes, stage.seed)
        broadcast_state(self.logic)  # trained alike everywhere, but a GPU's last bits are its own
        self.logic_trained = True
        self.reported |= {f"rpt_logic_{name}": value for name, value in quality.items()}

    def _assign(self, settings: Cluster, stage: StageContext) -> Tensor:
        """Clusters of all regions: read from the cache, or made and kept there."""
        assert stage.regions is not None and self.context.model is not None
        counts, model = stage.regions.counts, self.context.model
        network = model.pretrained(settings.levels).to(stage.device)
        features = f"{model} {stage.size} {_digest(network)}"
        folder = cache_folder("clusters")
        file = folder / f"{cluster_key(settings, stage.regions.keys, features, stage.seed)}.npz"
        found = from_main(lambda: load_assignment(file, sum(counts)))
        if found is None:
            if sum(counts) < settings.clusters:
                warnings.warn(
                    f"RPT: {sum(counts)} regions are fewer than cluster.clusters={settings.clusters}; "
                    f"every region becomes a cluster of its own",
                    category=Notice,
                    stacklevel=2,
                )
            made = assign_clusters(
                settings,
                lambda: shared_feature_pass(network, stage.target_pass(shared=True), counts),
                counts,
                folder,
                stage.seed,
            )
            from_main(lambda: save_assignment(file, made))
            found = made
        return torch.from_numpy(found).to(stage.device)

    def losses(self, step: Step) -> dict[str, Tensor]:
        settings, view, losses = self.settings, step.target, {}
        if self.priors and self.rows is not None:
            rows = self.rows.of(view.batch.index, view.regions)
            sure = self.categories.log_probabilities(view.log_probabilities())
            for name, prior in self.priors.items():
                found, label = logit_adjusted(sure, prior, settings.balance), self.labels[name][rows].long()
                if name == "patch":
                    losses["rpt_patch"] = settings.patch.weight * settings.patch.loss(found, label, sure)
                else:
                    losses["rpt_cluster"] = settings.cluster.weight * region_loss(found, label)
        if self.logic_trained:
            loss, _ = logic_loss(settings.logic, self.logic, view.probabilities())
            losses["rpt_logic"] = settings.logic.weight * loss
        return losses

    @torch.no_grad()
    def figures(self, stage: StageContext) -> dict[str, np.ndarray]:
        """ "rpt": images with regions, predictions, what each constraint selected, doubtful positions; "clusters"."""
        if not self.labels and not self.logic_trained:
            return {}
        batch = next(stage.target_pass())
        stage.model.eval()
        view = View(stage.model, batch)
        images = [_picture(image) for image in batch.image]
        columns: dict[str, list[np.ndarray]] = {}
        if self.labels:
            columns["regions"] = [
                with_borders(image, regions) for image, regions in zip(images, view.regions.cpu().numpy(), strict=True)
            ]
        columns["prediction"] = list(view.logits().argmax(1).byte().cpu().numpy())
        if self.labels and self.rows is not None:
            rows = self.rows.of(view.batch.index, view.regions)
            shown = {name: self.categories.shown(labels)[rows] for name, labels in self.labels.items()}
            columns |= {name: list(labels.cpu().numpy()) for name, labels in shown.items()}
        if self.logic_trained:
            doubt = logic_plausibility(self.settings.logic, self.logic, view.probabilities()).cpu().numpy()
            threshold = self.settings.logic.threshold
            columns["logic"] = [heat_map(image, found, threshold) for image, found in zip(images, doubt, strict=True)]
        figures = {"rpt": prediction_grid(images, columns, self.context.label_space, tile_width=256)}
        if self.assignment is not None and "cluster" in self.labels:
            figures["clusters"] = self._contact_sheet(stage)
        return figures

    def _contact_sheet(self, stage: StageContext, lines: int = 12, crops: int = 12) -> np.ndarray:
        """Regions, among the first images, of the largest cluster of each category voted for, then of the second."""
        assert self.assignment is not None and self.rows is not None
        votes = self._cluster_labels()
        shown = one_of_each(torch.bincount(self.assignment).tolist(), votes)[:lines]
        found: dict[int, list[np.ndarray]] = {}
        for batch in islice(stage.target_pass(), 8):
            assert batch.regions is not None
            for image, regions, index in zip(batch.image, batch.regions.cpu().numpy(), batch.index, strict=True):
                first = int(self.rows.offsets[index])
                own = self.assignment[first : first + int(regions.max()) + 1].tolist()
                for region, cluster in enumerate(own):
                    if cluster in shown and len(found.setdefault(cluster, [])) < crops and (regions == region).any():
                        found[cluster].append(crop_of(_picture(image), regions == region))
        names = dict(enumerate(self.categories.names))
        sheet = [
            (f"cluster {cluster}: {names.get(votes[cluster], 'not selected')}", found.get(cluster, []))
            for cluster in shown
        ]
        return contact_sheet(sheet)

    def _cluster_labels(self) -> list[int]:
        """What each cluster votes for this round, 255 = not selected."""
        assert self.assignment is not None
        votes = self.labels["cluster"].new_full((int(self.assignment.max()) + 1,), IGNORE)
        votes[self.assignment] = self.labels["cluster"][:-1]
        return votes.tolist()

    def remembers(self) -> set[DomainName]:
        return {"target"} if self.rows is not None else set()

    def get_extra_state(self) -> dict[str, Any]:
        return {
            "labels": self.labels,
            "priors": self.priors,
            "counts": self.rows.counts if self.rows else None,
            "assignment": self.assignment,
            "logic_trained": self.logic_trained,
            "reported": self.reported,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.labels, self.priors = state["labels"], state["priors"]
        if state["counts"] is not None:
            self.rows = RegionRows(state["counts"], next(iter(self.labels.values())).device)
        self.assignment, self.reported = state["assignment"], state["reported"]
        self.logic_trained = state["logic_trained"]
