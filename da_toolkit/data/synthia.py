"""SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016): 16-bit labels, the class in the red channel."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import SYNTHIA_IDS
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.listing import images_in, paired
from da_toolkit.data.pixels import checked_png, file_bytes
from da_toolkit.errors import UserError
from da_toolkit.registry import DOMAINS


def read_synthia_ids(path: Path) -> np.ndarray:
    """Class ids uint16 [H,W]. PIL reads these files as zeros, so OpenCV does (BGR: red is channel 2).

    Raises:
        UserError: unreadable, or not a 16-bit file of three channels.
    """
    content = checked_png(path, file_bytes(path))
    try:
        label = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # of an empty file, or of absurd size
        label = None
    if label is None:
        raise UserError(
            f"The label {path} cannot be read: it is truncated or damaged. Copy it again from the data set."
        )
    if label.dtype != np.uint16 or label.ndim != 3:
        raise UserError(
            f"The label {path} is {label.dtype} with {1 if label.ndim == 2 else label.shape[2]} channel(s); SYNTHIA's "
            "GT/LABELS are 16-bit PNG with 3 channels. Some tool has converted it: unpack the original again."
        )
    return label[..., 2]


@DOMAINS.register(family="synthetic", paper="Ros et al., CVPR 2016")
@dataclass(frozen=True)
class Synthia(Domain):
    """SYNTHIA-RAND-CITYSCAPES: `RGB/` and `GT/LABELS/`; every frame is a training frame."""

    size: tuple[int, int] = (760, 1280)
    labels: str = "synthia16"
    folder: ClassVar[str] = "RAND_CITYSCAPES"

    def build(self, split: str, data_root: Path | None = None) -> FileDomainData:
        if split != "train":
            raise UserError(f"Synthia is a source: it has the split 'train' only, not {split!r}.")
        root = self.locate(data_root)
        images = images_in(root / "RGB", "Synthia")
        found = paired(images, root / "RGB", root / "GT" / "LABELS", "Synthia")
        ids, space = SYNTHIA_IDS, self.label_space
        return FileDomainData("Synthia", split, found.pairs, ids, space, read_synthia_ids, unlabelled=found.unlabelled)
