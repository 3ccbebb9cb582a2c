"""Methods: importing this package registers them all."""

from da_toolkit.methods.adversarial import Adversarial, FeatureSpace, OutputSpace
from da_toolkit.methods.class_adversarial import ClassWise
from da_toolkit.methods.class_colours import ClassColours
from da_toolkit.methods.continual import ContinualTeacher
from da_toolkit.methods.copy_paste import CopyPaste
from da_toolkit.methods.entropy import Entropy, MaxSquares, SelfInformation
from da_toolkit.methods.feature_distance import FeatureDistance
from da_toolkit.methods.information_maximisation import CentroidLabels, InformationMaximisation
from da_toolkit.methods.input_space import FourierTransfer, LabTransfer
from da_toolkit.methods.mean_teacher import ClassMix, Masking, MeanTeacher
from da_toolkit.methods.prototypes import Prototypes
from da_toolkit.methods.pseudo_labels import PseudoLabels
from da_toolkit.methods.source_free import SourceFree
from da_toolkit.methods.supervised import Oracle, SourceOnly, Supervised
from da_toolkit.methods.target_bn import TargetBN
from da_toolkit.methods.thresholds import ClassBalanced, InstanceAdaptive
from da_toolkit.registry import METHODS
from da_toolkit.terms.term import BuildContext, Method, Reads, Regularizer, Term

__all__ = [
    "METHODS",
    "Adversarial",
    "BuildContext",
    "CentroidLabels",
    "ClassBalanced",
    "ClassColours",
    "ClassMix",
    "ClassWise",
    "ContinualTeacher",
    "CopyPaste",
    "Entropy",
    "FeatureDistance",
    "FeatureSpace",
    "FourierTransfer",
    "InformationMaximisation",
    "InstanceAdaptive",
    "LabTransfer",
    "Masking",
    "MaxSquares",
    "MeanTeacher",
    "Method",
    "Oracle",
    "OutputSpace",
    "Prototypes",
    "PseudoLabels",
    "Reads",
    "Regularizer",
    "SelfInformation",
    "SourceFree",
    "SourceOnly",
    "Supervised",
    "TargetBN",
    "Term",
]
