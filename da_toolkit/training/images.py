"""A trainer's images: batches of both domains, the shared pass over the target, region maps, and unusable files."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import nn

from da_toolkit.data.batch import Batch
from da_toolkit.data.domain import DomainData
from da_toolkit.data.frame_cache import FrameCache, Frames
from da_toolkit.data.loader import Loading
from da_toolkit.data.rare_classes import RareClassSampler, image_class_shares
from da_toolkit.data.samples import Samples
from da_toolkit.data.sampling import EpochSampler, Place
from da_toolkit.data.shared_memory import check_room
from da_toolkit.data.superpixels import SuperpixelCache
from da_toolkit.data.transforms import Augmentation, resized_label
from da_toolkit.errors import UserError
from da_toolkit.ranks.parallel import gathered_in_turn
from da_toolkit.recipe.recipe import Recipe
from da_toolkit.settings.schedule import Stage
from da_toolkit.terms.stages import RegionIndex, StageContext
from da_toolkit.training.faults import Faults
from da_toolkit.workers import usable_cores

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Batches = tuple[Batch | None, Batch | None]


class Images:
    """The images of a run's two domains, as far as its method reads them, on the device.

    Args:
        source, target: training images. Target labels are opened only if the method's `reads` names them; a source is
            needed only if it names that.
        seed: decides order and augmentation.
        workers: loader processes per domain; 0 loads in this one.
        bad_files: share 0..1 of a domain's images that may be unusable before the run stops.
        frame_cache: folder of decoded and resized frames; none = files are read each time.
    """

    def __init__(
        self,
        recipe: Recipe,
        fabric: "Fabric",
        source: DomainData | None,
        target: DomainData,
        seed: int,
        workers: int,
        bad_files: float,
        frame_cache: Path | None = None,
    ) -> None:
        self.recipe, self.fabric, self.seed, self.workers = recipe, fabric, seed, workers
        self.source, self.target = source, target
        self.reads = recipe.method.reads
        superpixels = recipe.method.superpixels
        self.regions = SuperpixelCache(superpixels, recipe.target.size) if superpixels is not None else None
        self.cache = FrameCache(frame_cache) if frame_cache is not None else None
        self.known_regions: RegionIndex | None = None
        self.seen = 0
        """Images of each domain that training steps have taken, by all ranks together."""
        self.streams: tuple[Loading | None, Loading | None] | None = None
        self.faults = Faults([data for data in (source, target) if data is not None], bad_files)

    @property
    def per_step(self) -> int:
        """Images of each domain that an optimiser step takes, by all ranks together."""
        return self.recipe.batch_size * self.recipe.accumulate * self.fabric.world_size

    def open(self) -> None:
        """Begin to load the batches that follow those already seen.

        Raises `UserError` where they do not fit into shared memory.
        """
        recipe = self.recipe
        source = target = None
        if self.reads.source:
            source = self._stream(self._read_source, recipe.source.size, recipe.source_augmentation, 0)
        if self.reads.target:
            target = self._stream(self.target, recipe.target.size, recipe.target_augmentation, 1)
        made = [stream[0].batch_bytes(recipe.batch_size) for stream in (source, target) if stream is not None]
        check_room(made, self.workers, recipe.batch_size)
        self.streams = (
            None if source is None else Loading(*source, self.workers),
            None if target is None else Loading(*target, self.workers),
        )

    def close(self) -> None:
        """End the loader processes."""
        for stream in self.streams or ():
            if stream is not None:
                stream.close()
        self.streams = None

    def next(self) -> Batches:
        """The next batch of source and of target; none for a domain that the method does not read."""
        if self.streams is None:
            self.open()
        assert self.streams is not None
        source, target = self.streams
        return (
            None if source is None else self._on_device(next(source), self._read_source),
            None if target is None else self._on_device(next(target), self.target),
        )

    @property
    def _read_source(self) -> DomainData:
        """The source of a method that reads one."""
        assert self.source is not None
        return self.source

    def context(self, stage: Stage, model: nn.Module) -> StageContext:
        """What terms are told as a stage of training `model` begins."""
        return StageContext(
            stage,
            model,
            self.target_pass,
            self.labels,
            self.region_index(),
            len(self.target),
            self.recipe.evaluation_size,
            self.fabric.device,
            self.seed,
        )

    def target_pass(self, shared: bool = False) -> Iterator[Batch]:
        """All target images once, in an order of the seed, at the resolution at which the network is scored.

        With `shared`, this rank's batches of those that are dealt to the ranks in turn.
        """
        size, keys = self.recipe.evaluation_size, self._region_keys()
        kept = size == self.recipe.target.size  # frames of another size would be a second copy, and have other regions
        how = self.regions, 0.0, keys, self._frames(self.target, size) if kept else None
        samples = Samples(self.target, size, Augmentation(), False, 0, *how)
        together = max(self.recipe.batch_size, 4)
        order = torch.randperm(len(self.target), generator=torch.Generator().manual_seed(self.seed)).tolist()
        places: list[list[Place]] = [
            [(0, index) for index in order[start : start + together]] for start in range(0, len(order), together)
        ]
        if shared:
            places = places[self.fabric.global_rank :: self.fabric.world_size]
        loading = Loading(samples, places, self.workers)
        try:
            for batch in loading:
                yield self._on_device(batch, self.target)
        finally:
            loading.close()

    def labels(self, domain: Literal["source", "target"]) -> Iterator[np.ndarray]:
        """A domain's label maps uint8 at training size [H,W], in an order of the seed.

        Raises `UserError` where the method's `reads` does not name them.
        """
        if not (self.reads.source if domain == "source" else self.reads.target_labels):
            raise UserError(f"A term asks for {domain} labels, and the method's `own_reads` does not name them.")
        data = self._read_source if domain == "source" else self.target
        size = (self.recipe.source if domain == "source" else self.recipe.target).size
        order = np.random.default_rng(self.seed).permutation(len(data))
        frames = self._frames(data, size)
        read = frames.label if frames is not None else lambda index: resized_label(data.label(index), size)
        return (read(index) for index in order.tolist())

    def region_index(self) -> RegionIndex | None:
        """Regions of every target image, made where they are missing, once a run; none where nothing reads them."""
        if self.regions is not None and self.known_regions is None:
            rank, world = self.fabric.global_rank, self.fabric.world_size
            cores = max(1, usable_cores() // world)
            counts, keys = self.regions.survey(self.target, cores, range(rank, len(self.target), world))
            self.known_regions = RegionIndex(gathered_in_turn(counts), gathered_in_turn(keys))
        return self.known_regions

    def _region_keys(self) -> Sequence[str] | None:
        index = self.region_index()
        return index.keys if index is not None else None

    def _stream(
        self, data: DomainData, size: tuple[int, int], augmentation: Augmentation, number: int
    ) -> tuple[Samples, Iterable[list[Place]]]:
        """A domain's samples, and their order."""
        labels = data is self.source or self.reads.target_labels
        seed = 2 * self.seed + number
        regions = self.regions if data is self.target else None
        rare = self.recipe.rare_classes if data is self.source else None
        keys = self._region_keys() if data is self.target else None
        how = regions, rare.crop_share if rare else 0.0, keys, self._frames(data, size)
        samples = Samples(data, size, augmentation, labels, seed, *how)
        place = self.recipe.batch_size, seed, self.seen, self.fabric.global_rank, self.fabric.world_size
        if rare is not None:
            return samples, RareClassSampler(rare, image_class_shares(data), *place)
        return samples, EpochSampler(len(data), *place)

    def _frames(self, data: DomainData, size: tuple[int, int]) -> Frames | None:
        domain = self.recipe.source if data is self.source else self.recipe.target
        return self.cache.frames(data, domain, size) if self.cache is not None else None

    def cache_use(self) -> str | None:
        """What the run's frames will take in the cache, in a sentence; none without a cache."""
        if self.cache is None:
            return None
        told = []
        for data, size, labels in (
            (self.source if self.reads.source else None, self.recipe.source.size, True),
            (self.target if self.reads.target else None, self.recipe.target.size, self.reads.target_labels),
        ):
            frames = self._frames(data, size) if data is not None else None
            if data is not None:
                use = f"{frames.bytes(labels) / 1e9:.2f} GB" if frames else "nothing, since they are in no files"
                told.append(f"{len(data)} frames of {data.name} {data.split} take {use}")
        return f"frame cache {self.cache.folder}: {', '.join(told)}; {self.cache.free() / 1e9:.2f} GB are free"

    def _on_device(self, batch: Batch, data: DomainData) -> Batch:
        self.faults.notice(batch.faults, data)
        if self.cache is not None and self.fabric.local_rank == 0 and (trouble := self.cache.trouble()):
            self.faults.warn(f"warning: {trouble}")
        return batch.to(self.fabric.device, channels_last=True)
