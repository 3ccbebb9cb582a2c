"""Domains, label spaces, transforms and the loader; importing this package registers every domain."""

from da_toolkit.data.camvid import CamVid
from da_toolkit.data.carla import Carla
from da_toolkit.data.cityscapes import Cityscapes
from da_toolkit.data.folder import Folder
from da_toolkit.data.gta5 import GTA5
from da_toolkit.data.streets import Streets
from da_toolkit.data.synthia import Synthia

__all__ = ["GTA5", "CamVid", "Carla", "Cityscapes", "Folder", "Streets", "Synthia"]
