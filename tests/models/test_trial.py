"""The trial of sizes: it is right about what a network can take, names what works, and leaves no trace."""

import copy
import random
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import UserError
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.methods import Adversarial, SourceOnly
from da_toolkit.models import DAFormer, DeepLabV2, LightDeepLabV3Plus, VisionTransformer
from da_toolkit.models.segmenter import Output, Segmenter
from da_toolkit.models.trial import Pass, check_passes
from da_toolkit.recipe.passes import evaluation_passes, run_passes

NETWORKS = {
    "cnn": LightDeepLabV3Plus("test_resnet", weights="none", width=8),
    "patches of 16": DeepLabV2("test_vit", 16, "none"),
    "sums that need even sizes": DeepLabV2("dla46x_c", 32, "none"),
    "any size": VisionTransformer("test_vit", 16, "none", blocks=2, width=8),
}


@pytest.fixture(scope="module")
def built():
    return {name: network.build(4) for name, network in NETWORKS.items()}


def works(network, size, batch, trains):
    """Whether a copy computes the pass, the plain way."""
    network = copy.deepcopy(network).train(trains)
    try:
        with torch.no_grad():
            return 0 not in network(torch.rand(batch, 3, *size)).logits.shape
    except (RuntimeError, ValueError, AssertionError):
        return False


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(sorted(NETWORKS)),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    batch=st.integers(1, 2),
    trains=st.booleans(),
)
def test_it_refuses_what_fails_and_nothing_else(built, name, size, batch, trains):
    one = Pass(size, batch, trains, "source.size")
    if works(built[name], size, batch, trains):
        check_passes(built[name], [one])
    else:
        with pytest.raises(UserError, match=rf"source\.size: the network cannot take images of {size[0]}x{size[1]} "):
            check_passes(built[name], [one])


def everything(network):
    return {
        "state": {name: tensor.clone() for name, tensor in network.state_dict().items()},
        "modes": [module.training for module in network.modules()],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].copy(),
        "python": random.getstate(),
    }


@pytest.mark.parametrize("size", [(64, 96), (16, 16)], ids=["works", "is refused"])
def test_it_leaves_no_trace(size):
    network = LightDeepLabV3Plus("test_resnet", weights="none", width=8, dropout=0.5, batch_norm="frozen").build(4)
    network.train()
    before = everything(network)
    passes = [Pass(size, 1, True, "source.size"), Pass((48, 48), 3, False, "target.size")]
    if size == (16, 16):
        with pytest.raises(UserError, match="Expected more than 1 value per channel"):
            check_passes(network, passes)
    else:
        check_passes(network, passes)
    after = everything(network)
    assert all(torch.equal(tensor, after["state"][name]) for name, tensor in before["state"].items())
    assert torch.equal(before["torch"], after["torch"]) and (before["numpy"] == after["numpy"]).all()
    assert before["modes"] == after["modes"] and before["python"] == after["python"]


def test_a_run_is_the_same_to_the_bit_with_and_without_it(tiny_trainer, with_dropout):
    ends = []
    for tried in (False, True):
        trainer = tiny_trainer(SourceOnly(), steps=2, model=with_dropout)
        if tried:
            check_passes(trainer.model, run_passes(trainer.recipe))
        trainer.fit(lambda *_: None)
        ends.append([*trainer.model.state_dict().values(), *trainer.players.state_dict().values()])
    assert all(torch.equal(one, two) for one, two in zip(*ends, strict=True))


@pytest.mark.parametrize(
    ("model", "one", "remedies"),
    [
        (NETWORKS["cnn"], Pass((16, 16), 1, True, "source.size"), ["batch_size to 2 or more", "source.size to give"]),
        (NETWORKS["cnn"], Pass((12, 15), 1, True, "target_augmentation.crop"), ["batch_size 1 in training"]),
        (DeepLabV2("resnest14d", 32, "none"), Pass((64, 64), 1, True, "source.size"), ["Set batch_size to 2 or more."]),
        (NETWORKS["patches of 16"], Pass((40, 50), 1, False, "target.size"), ["take 48x64", "at evaluation"]),
        (DeepLabV2("gcvit_xxtiny", 32, "none"), Pass((64, 96), 2, False, "source.size"), ["It can take 224x"]),
        (DeepLabV2("convit_tiny", 16, "none"), Pass((64, 96), 1, True, "source.size"), ["224x224 alone", "crop of"]),
    ],
)
def test_the_remedy_it_names_works(model, one, remedies):
    network = model.build(4)
    with pytest.raises(UserError) as refused:
        check_passes(network, [one])
    for remedy in remedies:
        assert remedy in str(refused.value)
    if size := re.search(r"(?:give|can take) (\d+)x(\d+)", str(refused.value)):
        assert works(network, (int(size[1]), int(size[2])), one.batch, one.trains)
    else:
        assert works(network, one.size, 2, one.trains)


def test_what_the_meta_device_does_not_know_is_computed():
    """A network that looks at its numbers cannot run without them."""

    class Looks(Segmenter):
        def __init__(self, largest):
            super().__init__()
            self.layer, self.largest = torch.nn.Conv2d(3, 2, 1), largest

        def forward(self, images):
            if images.sum().item() < 0 or images.shape[3] > self.largest:
                raise ValueError("no")
            return Output(self.layer(images), None, images)

    check_passes(Looks(20), [Pass((10, 20), 1, True, "source.size")])
    with pytest.raises(UserError, match=r"10x21 .*: no\. Choose another backbone or size"):
        check_passes(Looks(20), [Pass((10, 21), 1, True, "source.size")])


def test_the_passes_of_a_recipe(tiny_recipe):
    evaluation = Evaluation(scales=(0.5, 1.0), window=(40, 200), validators=0, batch_size=3)
    recipe = tiny_recipe(Adversarial(), target_augmentation=Augmentation(crop=(32, 48)), evaluation=evaluation)
    assert [(one.size, one.batch, one.trains, one.setting) for one in run_passes(recipe)] == [
        ((64, 96), 2, True, "source.size"),
        ((32, 48), 2, True, "target_augmentation.crop"),
        ((32, 48), 3, False, "evaluation.window at evaluation.scales 0.5"),
        ((40, 96), 3, False, "evaluation.window"),
    ]
    whole = run_passes(tiny_recipe(SourceOnly(), evaluation=Evaluation(size=(50, 70))))
    assert [(one.size, one.batch, one.trains) for one in whole] == [
        ((64, 96), 2, True),
        ((50, 70), 4, False),
        ((64, 96), 1, False),
        ((50, 70), 1, False),
    ]
    assert whole[1].setting == "evaluation.size"


def test_the_views_of_an_evaluation_are_those_that_the_network_sees():
    seen = []

    class Notes(Segmenter):
        def forward(self, images):
            seen.append(tuple(images.shape[2:]))
            return Output(torch.zeros(len(images), 2, 2, 2), None, images)

    from da_toolkit.evaluation.inference import predict

    inference = Evaluation(scales=(0.6, 1.3), window=(30, 45), flip=True)
    predict(Notes(), torch.rand(1, 3, 37, 61), inference, (37, 61))
    assert set(seen) == {one.size for one in evaluation_passes(inference, (37, 61))} == {(22, 37), (30, 45)}


def test_a_pyramid_of_one_level_has_no_auxiliary_one():
    with pytest.raises(UserError, match=r"model\.aux needs a second level"):
        VisionTransformer("test_vit", 16, "none", blocks=1, aux=True).build(4)
    assert DAFormer("test_resnet", weights="none", width=8, aux=True).build(4).aux is not None
