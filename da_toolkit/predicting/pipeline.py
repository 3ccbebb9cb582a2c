"""The way of many images: some threads read ahead, the network decides batches, other threads write behind.

Memory does not grow with their number: what waits is bounded in images and in bytes.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from da_toolkit.data.pixels import read_image
from da_toolkit.data.transforms import resized
from da_toolkit.errors import UserError
from da_toolkit.evaluation.inference import Inference
from da_toolkit.evaluation.predict import Decision, at_own_size, decide
from da_toolkit.models.segmenter import Segmenter
from da_toolkit.models.trial import Pass, check_passes
from da_toolkit.predicting.inputs import Input
from da_toolkit.predicting.outputs import Kind, Outputs
from da_toolkit.predicting.video import Video

_READERS, _WRITERS = 4, 4
_WAITING = 2**28  # bytes of images that are read and not yet predicted, besides those that readers are at

_NARROWEST = 64  # pixels a side of a window that is chosen where memory is too small


@dataclass(frozen=True)
class Network:
    """A network, and how it is shown images."""

    model: Segmenter
    device: torch.device
    settings: Inference
    size: tuple[int, int]
    """Height and width that images are brought to."""
    own_size: bool = False
    """Show it images at their own resolution instead, larger ones through a window of `size`."""


@dataclass
class Tally:
    """How many images came to what."""

    done: int = 0
    kept: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class _Job:
    name: str
    wanted: dict[Kind, Path]
    image: Future[np.ndarray | None]


class Pipeline:
    """Predicts images into files.

    Args:
        share: (rank, world): this process takes every `world`-th image and frame from `rank` on.
        tell: is given a sentence for each thing that is left out.
        count: is called for each image when it is done, kept or left out.
        expect: is given the frames that a video has more than the one image that it was counted as.
    """

    def __init__(
        self,
        network: Network,
        outputs: Outputs,
        share: tuple[int, int] = (0, 1),
        tell: Callable[[str], None] = lambda sentence: None,
        count: Callable[[], None] = lambda: None,
        expect: Callable[[int], None] = lambda more: None,
    ) -> None:
        self.network, self.outputs = network, outputs
        self.tell, self.count, self.expect = tell, count, expect
        self.rank, self.world = share
        self.tally = Tally()
        self.settings = at_own_size(network.settings, network.size) if network.own_size else network.settings
        self._writes: deque[Future[None]] = deque()
        self._sizes: set[tuple[int, int]] = set()

    def run(self, inputs: Sequence[Input]) -> Tally:
        """Predict them all. Raises `UserError` if the disk refuses."""
        readers, writers = ThreadPoolExecutor(_READERS), ThreadPoolExecutor(_WRITERS)
        video_reader = ThreadPoolExecutor(1)
        try:
            for batch in self._batches(self._jobs(inputs, readers, video_reader)):
                for (job, image), decision in zip(batch, self._decide([image for _, image in batch]), strict=True):
                    if decision is None:
                        continue
                    self._writes.append(writers.submit(self.outputs.write, job.wanted, image, decision))
                    self._settle(2 * _WRITERS)
                    self._done()
            self._settle(0)
        finally:
            for pool in (readers, video_reader, writers):
                pool.shutdown(wait=False, cancel_futures=True)  # a file that hangs must not hold up who breaks this off
        return self.tally

    def _settle(self, most: int) -> None:
        """Wait until no more than `most` images are being written."""
        while len(self._writes) > most:
            self._writes.popleft().result()

    def _jobs(self, inputs: Sequence[Input], readers: ThreadPoolExecutor, video: ThreadPoolExecutor) -> Iterator[_Job]:
        for number, one in enumerate(inputs):
            if one.is_video:
                yield from self._frames(one, video)
            elif number % self.world == self.rank:
                if wanted := self.outputs.wanted(one.name):
                    yield _Job(one.name, wanted, readers.submit(read_image, one.file))
                else:
                    self._kept()

    def _frames(self, one: Input, reader: ThreadPoolExecutor) -> Iterator[_Job]:
        """The frames are read by one thread, in their order; where they end is known once they are."""
        try:
            video = Video(one.file)
        except UserError as error:
            if self.rank == 0:
                self._left_out(str(error))
            return
        self.expect(video.count // self.world - 1)
        passed: deque[tuple[bool, Future[bool]]] = deque()
        number = -1
        while not video.ended:
            number += 1
            name = f"{one.name}/{number:06d}"
            mine = number % self.world == self.rank
            if mine and (wanted := self.outputs.wanted(name)):
                yield _Job(name, wanted, reader.submit(video.read))
            else:
                passed.append((mine, reader.submit(video.skip)))
                self._pass(passed, _READERS)
        self._pass(passed, 0)
        try:
            reader.submit(video.close).result()
        except UserError as error:
            if self.rank == 0:
                self._left_out(str(error))

    def _pass(self, passed: deque[tuple[bool, Future[bool]]], most: int) -> None:
        """Wait until no more than `most` frames are being passed over; those of this process are kept ones."""
        while len(passed) > most:
            mine, was_there = passed.popleft()
            if was_there.result() and mine:
                self._kept()

    def _batches(self, jobs: Iterator[_Job]) -> Iterator[list[tuple[_Job, np.ndarray]]]:
        """Read images, as many as go through the network at once."""
        batch: list[tuple[_Job, np.ndarray]] = []
        for job, image in self._in_order(jobs):
            if batch and self._view_size(image) != self._view_size(batch[0][1]):
                yield batch
                batch = []
            batch.append((job, image))
            if len(batch) == self.settings.batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _in_order(self, jobs: Iterator[_Job]) -> Iterator[tuple[_Job, np.ndarray]]:
        waiting: deque[_Job] = deque()
        for job in jobs:
            waiting.append(job)
            while len(waiting) > self.settings.batch_size + _READERS or (waiting and _bytes(waiting) > _WAITING):
                yield from self._image(waiting.popleft())
        while waiting:
            yield from self._image(waiting.popleft())

    def _image(self, job: _Job) -> Iterator[tuple[_Job, np.ndarray]]:
        try:
            image = job.image.result()
        except UserError as error:
            self._left_out(str(error))
            return
        if image is not None:
            yield job, image

    def _view_size(self, image: np.ndarray) -> tuple[int, int]:
        return (image.shape[0], image.shape[1]) if self.network.own_size else self.network.size

    def _decide(self, images: list[np.ndarray]) -> list[Decision | None]:
        """None for an image that the network cannot take."""
        size = self._view_size(images[0])
        if self.network.own_size and size not in self._sizes:
            seen = [Pass(view, 1, False, "--own-size") for view in self.settings.view_sizes(size)]
            try:
                check_passes(self.network.model, seen)
            except UserError as error:
                self._left_out(f"An image of {size[0]}x{size[1]} pixels. {error}")
                return [None] * len(images)
            self._sizes.add(size)
        views = [resized(image, size) for image in images]
        return [*self._decided(views, [(image.shape[0], image.shape[1]) for image in images])]

    def _decided(self, views: list[np.ndarray], sizes: list[tuple[int, int]]) -> list[Decision]:
        """In fewer images at once, and at last through a window, where the GPU's memory is too small."""
        network, half = self.network, len(views) // 2
        try:
            return decide(network.model, views, self.settings, sizes, network.device, self.outputs.certainty)
        except torch.OutOfMemoryError as error:
            if not half:
                self._narrow(views[0], sizes[0], error)
        torch.cuda.empty_cache()  # outside of the handler, which holds on to what was computed
        if half:
            return [*self._decided(views[:half], sizes[:half]), *self._decided(views[half:], sizes[half:])]
        return self._decided(views, sizes)

    def _narrow(self, view: np.ndarray, size: tuple[int, int], error: Exception) -> None:
        """Halve the sides of the window from now on, and say so."""
        seen = self.settings.window or (view.shape[0], view.shape[1])
        window = (seen[0] // 2, seen[1] // 2)
        if min(window) < _NARROWEST:
            raise UserError(
                f"The GPU's memory is too small for an image of {size[0]}x{size[1]} pixels, even through a window of "
                f"{seen[0]}x{seen[1]}. Set --size to a smaller one, or hide the GPU (CUDA_VISIBLE_DEVICES=) to predict "
                "on the CPU."
            ) from error
        self.tell(f"The GPU's memory asks for a window of {window[0]}x{window[1]} (--window sets one).")
        self.settings = replace(self.settings, window=window, stride=None, batch_size=1)

    def _done(self) -> None:
        self.tally.done += 1
        self.count()

    def _kept(self) -> None:
        self.tally.kept += 1
        self.count()

    def _left_out(self, why: str) -> None:
        self.tally.left_out += 1
        self.tell(f"left out: {why}")
        self.count()


def _bytes(waiting: deque[_Job]) -> int:
    """Of the images that are read."""
    total = 0
    for job in waiting:
        if job.image.done() and job.image.exception() is None and (image := job.image.result()) is not None:
            total += image.nbytes
    return total
