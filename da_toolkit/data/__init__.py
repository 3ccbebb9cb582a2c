"""Domains, label spaces, transforms and the loader; importing this package registers every domain."""

from da_toolkit.data.camvid import CamVid
from da_toolkit.data.carla import Carla
from da_toolkit.data.cityscapes import Cityscapes
from da_toolkit.data.cityscapes_small import CityscapesSmall
from da_toolkit.data.domain import Domain, DomainData
from da_toolkit.data.folder import Folder
from da_toolkit.data.gta5 import GTA5
from da_toolkit.data.labels import LabelSpace
from da_toolkit.data.rare_classes import RareClasses
from da_toolkit.data.streets import Streets
from da_toolkit.data.synthia import Synthia
from da_toolkit.data.transforms import Augmentation
from da_toolkit.registry import DOMAINS

__all__ = [
    "DOMAINS",
    "GTA5",
    "Augmentation",
    "CamVid",
    "Carla",
    "Cityscapes",
    "CityscapesSmall",
    "Domain",
    "DomainData",
    "Folder",
    "LabelSpace",
    "RareClasses",
    "Streets",
    "Synthia",
]
