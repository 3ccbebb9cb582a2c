"""TENT: target entropy, lowered by batch norms alone, GTA5 -> Cityscapes, without a source."""

from da_toolkit.data import GTA5, Cityscapes
from da_toolkit.methods import Entropy, SourceFree
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import AdamW, LearningRate, Recipe, Reported, Schedule, Stage

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
    method=SourceFree(trains="norms", regularizers=(Entropy(weight=1.0, aux_weight=0.1),)),
    schedule=Schedule((Stage("train", steps=30_000),)),
    optimizer=AdamW(lr=1e-4, head_multiplier=1, weight_decay=0.0),
    learning_rate=LearningRate("constant"),
    batch_size=1,
    reported=Reported(
        miou=35.8,
        paper="Wang et al., ICLR 2021",
        note="recalled; HRNet-W18, adapted online; not reproduced here",
        network="HRNet-W18",
        start="the source",
    ),
)
