"""SHOT: information maximisation and centroid labels, GTA5 -> Cityscapes, without a source."""

from da_toolkit.data import GTA5, Cityscapes
from da_toolkit.methods import CentroidLabels, InformationMaximisation, SourceFree
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import SGD, LearningRate, Recipe, Schedule, rounds

recipe = Recipe(
    source=GTA5(size=(720, 1280)),  # never opened: it says which classes the start weights were taught
    target=Cityscapes(size=(512, 1024)),
    model=DeepLabV2(
        backbone="resnet101_caffe",
        output_stride=8,
        batch_norm="train",
        aux=False,
        weights="runs/source_only_gta/0",  # the whole network: run source_only_gta before
        dilations=(6, 12),
    ),
    method=SourceFree(trains="encoder", regularizers=(InformationMaximisation(), CentroidLabels())),
    schedule=Schedule(rounds(5, steps=6_000)),
    optimizer=SGD(lr=2.5e-4, momentum=0.9, weight_decay=5e-4),
    learning_rate=LearningRate("poly", power=0.9),
    batch_size=1,
)
