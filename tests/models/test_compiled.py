"""Blocks that are compiled each by itself."""

import copy
import os
import tempfile
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from torch._dynamo.utils import counters

from da_toolkit.methods import Adversarial
from da_toolkit.models import DeepLabV2
from da_toolkit.models.compiled import compile_blocks
from da_toolkit.models.recompute import blocks_of
from da_toolkit.models.trial import output_shapes
from da_toolkit.notices import Notice
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session
from da_toolkit.training.trainer import Trainer


@pytest.fixture
def network(monkeypatch, tmp_path):
    """A small one, in double precision; programs are made by PyTorch alone, without a compiler."""
    monkeypatch.setenv("DA_TOOLKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "named"))
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    counters.clear()
    torch.manual_seed(0)
    yield DeepLabV2("test_resnet", 16, "none", dilations=(1, 2)).build(3).double().train()
    torch._dynamo.reset()


def gradients(network, images):
    network.zero_grad()
    (network(images).logits ** 2).mean().backward()
    return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]


def test_outputs_gradients_and_names_stay_what_they_are(network):
    plain, images = copy.deepcopy(network), torch.rand(2, 3, 33, 41, dtype=torch.float64)
    compile_blocks(network)
    for own, expected in zip(gradients(network, images), gradients(plain, images), strict=True):
        torch.testing.assert_close(own, expected)
    for (name, own), (other, expected) in zip(network.state_dict().items(), plain.state_dict().items(), strict=True):
        assert name == other
        torch.testing.assert_close(own, expected)  # statistics of batch norms, too


def test_blocks_alike_share_a_program_and_copies_have_none(network):
    deep = DeepLabV2("resnet50", 8, "none").build(3).train()
    compile_blocks(deep)
    deep(torch.rand(2, 3, 33, 41))
    made = counters["stats"]["unique_graphs"] - 1  # the first, small one tells whether it works at all
    assert len(list(blocks_of(deep.backbone))) == 16 and made == 8  # of each of 4 stages the first, and the others
    copy.deepcopy(deep)(torch.rand(2, 3, 17, 25))
    assert counters["stats"]["unique_graphs"] - 1 == made


@pytest.mark.parametrize(
    ("named", "kept"),
    [
        (None, True),
        (Path(tempfile.gettempdir(), "torchinductor_me"), True),  # as PyTorch sets it by itself
        (Path("/scratch/torchinductor_me"), False),
        (Path("/scratch/programs"), False),
    ],
)
def test_programs_are_kept_where_other_caches_are_unless_a_folder_was_named(
    network, monkeypatch, tmp_path, named, kept
):
    if named is None:
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    else:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(named))
    compile_blocks(network)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled" if kept else named)


def test_trying_sizes_compiles_nothing(network):
    compile_blocks(network)
    before = counters["stats"]["unique_graphs"]
    assert output_shapes(network, (33, 41), 2, trains=True).logits.shape[:2] == (2, 3)
    assert counters["stats"]["unique_graphs"] == before


def test_a_machine_that_cannot_compile_goes_on_with_a_warning(network, monkeypatch):
    def refused(*_, **__):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", refused)
    with pytest.warns(Notice, match=r"--compile: this machine cannot compile for cpu \(No working C\+\+ compiler"):
        compile_blocks(network)
    assert gradients(network, torch.rand(2, 3, 33, 41, dtype=torch.float64))


def test_a_training_step_with_it_is_the_step_without(network, tiny_recipe, toy):
    recipe = tiny_recipe(Adversarial(), steps=2)
    plain, compiled = (
        Trainer(recipe, Fabric(accelerator="cpu", devices=1), toy(), toy(seed=1), compile=way) for way in (False, True)
    )
    for _ in range(2):
        losses, expected = compiled.step(), plain.step()
        assert losses.keys() == expected.keys()
        for name, loss in losses.items():
            torch.testing.assert_close(loss, expected[name], rtol=1e-4, atol=1e-6)
    assert counters["stats"]["unique_graphs"] > 1


def test_scoring_compiles_nothing(network, tiny_recipe, tmp_path):
    session = Session(
        "tiny", tiny_recipe(Adversarial(), steps=1), Runtime(runs=tmp_path, tracking="none", compile=True)
    )
    session.run()
    assert counters["stats"]["unique_graphs"] == 1 + len(list(blocks_of(session.build()[0].model.backbone)))
