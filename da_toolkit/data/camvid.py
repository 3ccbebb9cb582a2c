"""CamVid (Brostow et al., 2009) in the SegNet split: 11 classes, `<split>` and `<split>annot` folders."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import CAMVID_IDS
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.listing import images_in, paired
from da_toolkit.errors import unknown_name
from da_toolkit.registry import DOMAINS


@DOMAINS.register(family="real", paper="Brostow et al., Pattern Recognition Letters 2009")
@dataclass(frozen=True)
class CamVid(Domain):
    """CamVid: `train/`, `val/`, `test/` with single-channel ids in `trainannot/` and so on."""

    size: tuple[int, int] = (360, 480)
    labels: str = "camvid11"
    folder: ClassVar[str] = "camvid"

    def build(self, split: str, data_root: Path | None = None) -> FileDomainData:
        if split not in ("train", "val", "test"):
            raise unknown_name("split of CamVid", split, ("train", "val", "test"))
        root = self.locate(data_root)
        images = images_in(root / split, f"CamVid {split}")
        found = paired(images, root / split, root / f"{split}annot", f"CamVid {split}", needed=split != "train")
        return FileDomainData("CamVid", split, found.pairs, CAMVID_IDS, self.label_space, unlabelled=found.unlabelled)
