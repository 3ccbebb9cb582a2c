"""CoTTA: a slow teacher's averaged labels, source weights that come back, SYNTHIA -> Cityscapes, without a source."""

from da_toolkit.data import Cityscapes, Synthia
from da_toolkit.methods import ContinualTeacher, SourceFree
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import AdamW, LearningRate, Recipe, Schedule, Stage

recipe = Recipe(
    source=Synthia(size=(760, 1280)),  # never opened: it says which classes the start weights were taught
    target=Cityscapes(size=(512, 1024), labels="synthia16"),
    model=DeepLabV2(
        backbone="resnet101_caffe",
        output_stride=8,
        batch_norm="train",
        aux=False,
        weights="runs/source_only_synthia/0",  # the whole network: run source_only_synthia before
        dilations=(6, 12),
    ),
    method=SourceFree(regularizers=(ContinualTeacher(),)),
    schedule=Schedule((Stage("train", steps=30_000),)),
    optimizer=AdamW(lr=7.5e-6, head_multiplier=1, weight_decay=0.0),
    learning_rate=LearningRate("constant"),
    batch_size=1,
)
