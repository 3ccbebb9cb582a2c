"""SLIC superpixels of target images, made once and cached by what the image and the settings are."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from da_toolkit.data.domain import DomainData
from da_toolkit.data.transforms import resized, resized_label
from da_toolkit.errors import UserError
from da_toolkit.files import cache_folder, write_shared
from da_toolkit.terminal import track
from da_toolkit.waiting import abandonable, whole
from da_toolkit.workers import kill, start_worker, usable_cores

_FORMAT = 2  # raised when the maps or their file format change
_WIDE = 32  # pixels across a region, from which on SLIC works on cells of 2 x 2
_MORE = 1.15  # of the wanted number is asked for there at once, since an eighth is joined to others


@dataclass(frozen=True)
class Superpixels:
    """SLIC (Achanta et al., TPAMI 2012) on the target image at training size. Defaults are ours (reconstruction).

    Where regions are 32 pixels wide or wider, SLIC works on the means of 2 x 2 pixels, in a fifth of the time; a border
    then lies up to a pixel from where it would (`benchmarks/superpixels.py`).
    """

    count: int = 500
    """Wanted superpixels an image; there will be about as many."""
    compactness: float = 10.0
    """Weight of closeness in space against likeness in colour (CIELAB)."""
    sigma: float = 1.0
    """Gaussian smoothing before, pixels."""

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 60_000:
            raise UserError(f"superpixels.count lies in 1..60000, got {self.count}.")
        if self.compactness <= 0 or self.sigma < 0:
            raise UserError("superpixels: compactness must be positive and sigma at least 0.")

    def compute(self, image: np.ndarray) -> np.ndarray:
        """int32 [H,W] of an RGB image uint8 [H,W,3]: every pixel in one connected superpixel, numbered 0..n-1.

        An image of a single colour gives a regular grid.
        """
        height, width = image.shape[:2]
        cell, wanted = (2, round(_MORE * self.count)) if height * width >= _WIDE**2 * self.count else (1, self.count)
        small = resized(image, (-(-height // cell), -(-width // cell)))
        sigma = max(0.0, self.sigma**2 - (cell**2 - 1) / 12) ** 0.5 / cell  # the mean of a cell is smooth already
        for _ in range(3):  # SLIC joins small pieces, so a smooth image ends with too few
            regions = self._slic(small, wanted, sigma)
            found = int(regions.max()) + 1
            if abs(found - self.count) <= 0.1 * self.count or found == 1:
                break
            wanted = round(wanted * self.count / found)
        return resized_label(regions, (height, width))

    def _slic(self, image: np.ndarray, wanted: int, sigma: float) -> np.ndarray:
        from skimage.segmentation import slic

        regions = slic(image, wanted, self.compactness, sigma=sigma, start_label=0, channel_axis=-1)
        return np.unique(regions, return_inverse=True)[1].reshape(regions.shape).astype(np.int32)


class SuperpixelCache:
    """Region maps of images brought to `size`, computed when asked for and kept in `folder`.

    A file's name is the hash of the resized image and of the settings, so a map of another image, size or setting
    can never be read. Files are written whole or not at all; a damaged one is made again.
    """

    def __init__(self, settings: Superpixels, size: tuple[int, int], folder: Path | None = None) -> None:
        self.settings, self.size = settings, size
        self.folder = folder or cache_folder("superpixels")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """int32 [*size] of an RGB image uint8 [H,W,3] of any size."""
        return self.keyed(image)[1]

    def keyed(self, image: np.ndarray) -> tuple[str, np.ndarray]:
        """A hash of the image and of the settings, and the map."""
        image = resized(image, self.size)
        file = self.file(image)
        found = _read(file, self.size)
        if found is None:
            found = self.settings.compute(image)
            _write(file, found)
        return file.stem, found

    def file(self, image: np.ndarray) -> Path:
        """Where the map of an already resized image lies."""
        settings = repr((_FORMAT, image.shape, dataclasses.astuple(self.settings)))
        digest = hashlib.blake2b(settings.encode(), digest_size=16)
        digest.update(image.tobytes())
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.png"

    def survey(
        self, data: DomainData, cores: int | None = None, indices: Sequence[int] | None = None
    ) -> tuple[list[int], list[str]]:
        """The number of superpixels and the key of each image, by default of all; missing maps are made by `cores`.

        May be abandoned; the maps that are made stay. Raises `UserError` when one of the processes is killed.
        """
        indices = range(len(data)) if indices is None else indices
        cores = min(cores or usable_cores(), len(indices))
        look = partial(_look, self, data)
        with abandonable(), _spread(look, indices, cores) as found:
            told = list(track(found, f"superpixels of {data.name} {data.split}", len(indices)))
        return [count for count, _ in told], [key for _, key in told]


@contextmanager
def _spread(
    look: Callable[[int], tuple[int, str]], indices: Sequence[int], cores: int
) -> Iterator[Iterator[tuple[int, str]]]:
    """What `look` finds, in order, by `cores` processes that end with this block, whatever ends it."""
    if cores <= 1:
        yield map(look, indices)
        return
    with whole():
        pool = ProcessPoolExecutor(cores, initializer=start_worker)
        found = pool.map(look, indices, chunksize=8)  # starts them
        processes = list(pool._processes.values())  # forgotten by `shutdown`
    try:
        yield found
    except BrokenProcessPool as error:
        raise UserError(
            "A process that makes superpixels was killed, as the system does when memory runs out. What is made is "
            "kept, and the same command goes on from there; fewer processes at once need less memory "
            "(`python -m da_toolkit.prepare superpixels RECIPE --cores 1`)."
        ) from error
    except BaseException:
        kill(processes)
        raise
    finally:
        with whole():
            pool.shutdown(cancel_futures=True)


def _look(cache: SuperpixelCache, data: DomainData, index: int) -> tuple[int, str]:
    key, regions = cache.keyed(data.image(index))
    return int(regions.max()) + 1, key


def _read(file: Path, size: tuple[int, int]) -> np.ndarray | None:
    """The stored map, or none where it is missing or damaged."""
    try:
        with Image.open(file) as picture:
            regions = np.asarray(picture)
    except (OSError, SyntaxError, ValueError):  # PIL's answers to missing and damaged files
        return None
    if regions.shape != size:
        return None
    return regions.astype(np.int32)


def _write(file: Path, regions: np.ndarray) -> None:
    try:
        write_shared(file, lambda opened: Image.fromarray(regions.astype(np.uint16)).save(opened, "PNG"))
    except OSError as error:
        raise UserError(
            f"The superpixels could not be cached in {file.parent.parent}: {error.strerror or error}. "
            "Free space there, or set the environment variable DA_TOOLKIT_CACHE to another folder."
        ) from error
