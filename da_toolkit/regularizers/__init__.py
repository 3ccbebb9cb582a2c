"""Terms that can join any method."""

from da_toolkit.registry import REGULARIZERS
from da_toolkit.regularizers.rpt import RPT, Cluster, Patch, SpatialLogic, Superpixels

__all__ = ["REGULARIZERS", "RPT", "Cluster", "Patch", "SpatialLogic", "Superpixels"]
