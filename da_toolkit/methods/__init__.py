"""Methods: importing this package registers them all."""

from da_toolkit.methods.adversarial import Adversarial, FeatureSpace, OutputSpace
from da_toolkit.methods.entropy import MaxSquare, MinEnt, SelfInformation
from da_toolkit.methods.supervised import Oracle, SourceOnly
from da_toolkit.methods.target_bn import TargetBN
from da_toolkit.methods.term import Method, Reads, Regularizer, Term

__all__ = [
    "Adversarial",
    "FeatureSpace",
    "MaxSquare",
    "Method",
    "MinEnt",
    "Oracle",
    "OutputSpace",
    "Reads",
    "Regularizer",
    "SelfInformation",
    "SourceOnly",
    "TargetBN",
    "Term",
]
