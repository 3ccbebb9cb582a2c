"""One training step as terms see it: both domains' batches, each network pass computed at most once."""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor

from da_toolkit.data.batch import Batch
from da_toolkit.errors import UserError
from da_toolkit.models.grid import at_least_single, summarized
from da_toolkit.models.segmenter import Output

Level = Literal["main", "aux"]


class View:
    """One domain's half of a step. Nothing is computed before a term asks for it.

    Args:
        at_head: `supervised` compares logits with labels at the head's positions rather than at pixels.
    """

    def __init__(self, network: Callable[[Tensor], Output], batch: Batch, at_head: bool = False) -> None:
        self.batch, self.at_head = batch, at_head
        self._network = network
        self._output: Output | None = None
        self._logits: dict[Level, Tensor] = {}
        self._log_probabilities: dict[Level, Tensor] = {}
        self._probabilities: dict[Level, Tensor] = {}

    @property
    def output(self) -> Output:
        """The forward pass at the heads' own resolution."""
        if self._output is None:
            self._output = self._network(self.batch.image)
        return self._output

    @property
    def computed(self) -> bool:
        """Whether the forward pass has been made."""
        return self._output is not None

    @property
    def features(self) -> Tensor:
        """[B,D,h,w] of the backbone's last stage."""
        return self.output.features

    @property
    def label(self) -> Tensor:
        """int64 [B,H,W]. Raises `UserError` where the method did not ask for this domain's labels."""
        if self.batch.label is None:
            raise UserError(
                "A term asks for labels of images that have none: a domain's come with `own_reads` of the method, and "
                "images that a term has made have those it gives them."
            )
        return self.batch.label

    def coarse(self, level: Level = "main") -> Tensor:
        """[B,C,h,w], logits at the head's own resolution. Raises `UserError` for a level the network lacks."""
        found = self.output.logits if level == "main" else self.output.aux_logits
        if found is None:
            raise UserError("A term asks for the network's auxiliary level, and it has none: set model.aux.")
        return found

    def logits(self, level: Level = "main") -> Tensor:
        """float32 [B,C,H,W] at the image's resolution. Raises `UserError` for a level the network lacks."""
        if level not in self._logits:
            self._logits[level] = self.output.enlarged(self.coarse(level), self.batch.image.shape[2:])
        return self._logits[level]

    def probabilities(self, level: Level = "main") -> Tensor:
        """float32 [B,C,H,W], the softmax of `logits`."""
        if level not in self._probabilities:
            self._probabilities[level] = self.logits(level).softmax(1)
        return self._probabilities[level]

    def log_probabilities(self, level: Level = "main") -> Tensor:
        """float32 [B,C,H,W], the log-softmax of `logits`."""
        if level not in self._log_probabilities:
            self._log_probabilities[level] = self.logits(level).log_softmax(1)
        return self._log_probabilities[level]

    def supervised(self, loss: Callable[..., Tensor], *maps: Tensor, level: Level = "main") -> Tensor:
        """`loss(logits, *maps)` of a level, at the image's resolution; or, for a method with `labels_at` "head", at the
        head's own, where the maps are `summarized`.

        Where the network has also looked at a crop of each image (HRDA), the mean of that and of the same loss on the
        crops, weighted as the network says (Hoyer et al., ECCV 2022, section 3.2).

        Args:
            loss: takes logits [B,C,H,W] and `maps`, and returns a scalar.
            maps: [B,H,W], labels (int64) and weights (float) of the image's pixels.
        """
        shown = self._at_head(self.coarse(level), maps, self.output.align_corners) or (self.logits(level), *maps)
        whole = loss(*shown)
        if (detail := self.output.detail) is None or level != "main":
            return whole
        cuts = [detail.cut(found) for found in maps]
        close = loss(*(self._at_head(detail.logits, cuts, align_corners=False) or (detail.enlarged(), *cuts)))
        return (1 - detail.weight) * whole + detail.weight * close

    def _at_head(self, logits: Tensor, maps: Sequence[Tensor], align_corners: bool) -> tuple[Tensor, ...] | None:
        """The logits [B,C,h,w] and what their positions stand for of the maps, if labels are compared there."""
        if not self.at_head:
            return None
        size, classes = logits.shape[2:], logits.shape[1]
        return at_least_single(logits), *(summarized(found, size, align_corners, classes) for found in maps)

    @property
    def regions(self) -> Tensor:
        """int32 [B,H,W] numbers within each image, -1 = none. Raises `UserError` where no regularizer reads them."""
        if self.batch.regions is None:
            raise UserError(
                "A term asks for regions: only target images have them, where a regularizer's `superpixels` names them."
            )
        return self.batch.regions


class Step:
    """What a term's `losses` and `update` are given.

    Args:
        network: the segmentation network, in the run's precision.
        source, target: the step's batches; none for a domain that the method does not read.
        index: optimiser steps done before this one.
        total: optimiser steps of the whole run.
        at_head: views compare logits with labels at the head's positions.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Output],
        source: Batch | None,
        target: Batch | None,
        index: int = 0,
        total: int = 1,
        at_head: bool = False,
    ) -> None:
        self.index, self.total, self.at_head = index, total, at_head
        self._network = network
        self.batches = source, target
        self._source = self._view(source, "source") if source is not None else None
        self._target = self._view(target, "target") if target is not None else None

    def view(self, batch: Batch) -> View:
        """Another pass of the network, on images that a term has made."""
        return self._view(batch, None)

    def _view(self, batch: Batch, domain: Literal["source", "target"] | None) -> View:
        return View(self._network, batch, self.at_head)

    @property
    def source(self) -> View:
        if self._source is None:
            raise _not_read("source")
        return self._source

    @property
    def target(self) -> View:
        if self._target is None:
            raise _not_read("target")
        return self._target

    @property
    def target_logits(self) -> Tensor | None:
        """[B,C,h,w] at the head's own resolution, if a term has asked for anything of the target; else none."""
        return self._target.output.logits if self._target is not None and self._target.computed else None


def _not_read(domain: str) -> UserError:
    told = f"A term asks for the {domain}, which the method does not read: its `own_reads` must name it"
    return UserError(told + (", or the regularizer set `needs_source = True`." if domain == "source" else "."))
