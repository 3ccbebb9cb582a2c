"""Domains, label spaces, transforms and the loader; importing this package registers every domain."""

from da_toolkit.data.acdc import ACDC, DarkZurich
from da_toolkit.data.bdd100k import BDD100K
from da_toolkit.data.camvid import CamVid
from da_toolkit.data.carla import Carla
from da_toolkit.data.cityscapes import Cityscapes
from da_toolkit.data.cityscapes_small import CityscapesSmall
from da_toolkit.data.domain import Domain, DomainData
from da_toolkit.data.folder import Folder
from da_toolkit.data.gta5 import GTA5
from da_toolkit.data.idd import IDD
from da_toolkit.data.kitti import KITTI
from da_toolkit.data.labels import LabelSpace
from da_toolkit.data.mapillary import MapillaryVistas
from da_toolkit.data.photographs import Photographs
from da_toolkit.data.rare_classes import RareClasses
from da_toolkit.data.rendered import Synscapes, UrbanSyn
from da_toolkit.data.streets import Streets
from da_toolkit.data.synthia import Synthia
from da_toolkit.data.transforms import Augmentation
from da_toolkit.data.virtual_kitti import VirtualKITTI2
from da_toolkit.registry import DOMAINS

__all__ = [
    "ACDC",
    "BDD100K",
    "DOMAINS",
    "GTA5",
    "IDD",
    "KITTI",
    "Augmentation",
    "CamVid",
    "Carla",
    "Cityscapes",
    "CityscapesSmall",
    "DarkZurich",
    "Domain",
    "DomainData",
    "Folder",
    "LabelSpace",
    "MapillaryVistas",
    "Photographs",
    "RareClasses",
    "Streets",
    "Synscapes",
    "Synthia",
    "UrbanSyn",
    "VirtualKITTI2",
]
