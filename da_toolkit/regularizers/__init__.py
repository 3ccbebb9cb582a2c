"""Terms that can join any method."""

from da_toolkit.regularizers.rpt import RPT, Cluster, Patch, SpatialLogic, Superpixels

__all__ = ["RPT", "Cluster", "Patch", "SpatialLogic", "Superpixels"]
