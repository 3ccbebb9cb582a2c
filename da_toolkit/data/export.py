"""Writes a domain in the official layouts of GTA5, SYNTHIA and Cityscapes, so that their loaders can be tested."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from da_toolkit.data.domain import DomainData
from da_toolkit.data.encodings import CITYSCAPES_ID_TO_TRAIN, SYNTHIA_ID_TO_TRAIN
from da_toolkit.data.labels import CITYSCAPES19, IGNORE
from da_toolkit.data.transforms import resized_label
from da_toolkit.errors import UserError

Size = tuple[int, int] | None


def _to_ids(id_to_train: dict[int, int]) -> np.ndarray:
    """uint8 [256]: train id -> raw id; everything ignored becomes 0, "unlabeled" in all three data sets."""
    table = np.zeros(256, dtype=np.uint8)
    for raw, train_id in id_to_train.items():
        table[train_id] = raw
    return table


def frames(data: DomainData, size: Size) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(index, uint8 RGB image [H,W,3], uint8 train ids [H,W]) of each frame, at `size` if there is one."""
    if data.label_space.classes != CITYSCAPES19.classes:
        raise UserError(
            f"Only domains labelled in cityscapes19 can be exported; {data.name} is in {data.label_space.name}."
        )
    for index in range(len(data)):
        image, label = data.image(index), data.label(index)
        if size is not None:
            image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC)
            label = resized_label(label, size)
        yield index, image, label


def _make(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)


def export_gta5(data: DomainData, root: Path, size: Size = None) -> None:
    """`images/%05d.png` and palette PNG `labels/%05d.png` whose index is the Cityscapes id, from 00001.

    Args:
        data: a labelled domain in cityscapes19.
        root: the folder that `GTA5(root=...)` will name.
        size: (height, width) to write at; by default the domain's own.
    """
    _make(root / "images", root / "labels")
    ids = _to_ids(CITYSCAPES_ID_TO_TRAIN)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for raw, train_id in CITYSCAPES_ID_TO_TRAIN.items():
        palette[raw] = CITYSCAPES19.palette[train_id]
    for index, image, label in frames(data, size):
        Image.fromarray(image).save(root / "images" / f"{index + 1:05d}.png")
        picture = Image.fromarray(ids[label])
        picture.putpalette(palette.tobytes())
        picture.save(root / "labels" / f"{index + 1:05d}.png")


def export_synthia(data: DomainData, root: Path, size: Size = None) -> None:
    """`RGB/%07d.png` and 16-bit `GT/LABELS/%07d.png`: the class id in red, a region number as instance in green."""
    _make(root / "RGB", root / "GT" / "LABELS")
    ids = _to_ids(SYNTHIA_ID_TO_TRAIN)
    for index, image, label in frames(data, size):
        Image.fromarray(image).save(root / "RGB" / f"{index:07d}.png")
        instances = cv2.connectedComponents((label != IGNORE).astype(np.uint8))[1]
        stored = np.stack([np.zeros_like(instances), instances, ids[label]], axis=-1)  # OpenCV writes BGR
        cv2.imwrite(str(root / "GT" / "LABELS" / f"{index:07d}.png"), stored.astype(np.uint16))


def export_cityscapes(data: DomainData, root: Path, split: str, size: Size = None, city: str = "streets") -> None:
    """`leftImg8bit/<split>/<city>/` and `gtFine/<split>/<city>/` with label ids, under the official names."""
    images, labels = root / "leftImg8bit" / split / city, root / "gtFine" / split / city
    _make(images, labels)
    ids = _to_ids(CITYSCAPES_ID_TO_TRAIN)
    for index, image, label in frames(data, size):
        stem = f"{city}_{index:06d}_000019"
        Image.fromarray(image).save(images / f"{stem}_leftImg8bit.png")
        Image.fromarray(ids[label]).save(labels / f"{stem}_gtFine_labelIds.png")
