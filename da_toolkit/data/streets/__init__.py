"""The embedded street world: two looks of one procedural street, so that nothing has to be downloaded."""

from da_toolkit.data.streets.domain import Streets
from da_toolkit.data.streets.scene import WORLD_VERSION, render

__all__ = ["WORLD_VERSION", "Streets", "render"]
