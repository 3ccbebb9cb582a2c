"""RPT: patch, cluster and spatial-logic regularisation (Zhang et al., CVPR 2020). A reconstruction."""

from da_toolkit.data.superpixels import Superpixels
from da_toolkit.regularizers.rpt.cluster import Cluster
from da_toolkit.regularizers.rpt.logic import SpatialLogic
from da_toolkit.regularizers.rpt.patch import Patch
from da_toolkit.regularizers.rpt.term import RPT

__all__ = ["RPT", "Cluster", "Patch", "SpatialLogic", "Superpixels"]
