"""LoRA through peft: only adapters learn; copies, checkpoints, files and starts of such runs are the same network."""

import copy
import json
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_transformers import PATCHES

from da_toolkit.errors import UserError
from da_toolkit.methods import FeatureDistance, MeanTeacher, SourceOnly
from da_toolkit.models import EoMT, LoRA, VisionTransformer
from da_toolkit.models.adapters import merged
from da_toolkit.models.teacher import Teacher
from da_toolkit.models.weights import read_tables
from da_toolkit.recipe import AdamW
from da_toolkit.recipe.recipe import classes_of
from da_toolkit.runs.checkpoint import Checkpoints
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session
from da_toolkit.runs.trained import TrainedRun
from da_toolkit.training.groups import parameter_groups
from da_toolkit.training.state import load_state, state_of

pytest.importorskip("peft", reason="peft is not installed")

V2, REG, V3, QKVB = PATCHES
MODELS = {
    "light": VisionTransformer(V2, 14, "none", adapt="lora", lora=LoRA(rank=4, alpha=6), blocks=2, width=8),
    "eomt": EoMT(QKVB, 16, "none", adapt="lora", lora=LoRA(rank=4, alpha=6), queries=6, joint_blocks=2),
}


@pytest.fixture(params=MODELS)
def settings(request):
    return MODELS[request.param]


def stirred(network):
    """The network with adapters that change it: their second factor begins at 0."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.5)
    return network.eval()


IMAGES = torch.rand(1, 3, 70, 90, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", PATCHES)
def test_it_starts_as_the_network_without_adapters_and_they_alone_learn(name):
    model = EoMT(name, PATCHES[name], "none", queries=6, joint_blocks=2, adapt="lora")
    torch.manual_seed(0)
    plain = replace(model, adapt="all").build(5).eval()
    network = model.build(5).eval()
    network.load_state_dict({key: value for key, value in plain.state_dict().items() if "head" in key}, strict=False)
    state = {key.replace("attn.qkv.", "attn.qkv.base_layer."): value for key, value in plain.state_dict().items()}
    state = {key.replace("attn.proj.", "attn.proj.base_layer."): value for key, value in state.items()}
    missing, extra = network.load_state_dict(state, strict=False)
    assert not extra and all("lora" in key for key in missing)
    torch.testing.assert_close(network(IMAGES).logits, plain(IMAGES).logits)
    learns = {key for key, value in network.named_parameters() if value.requires_grad and key.startswith("backbone.")}
    places = [f"backbone.network.blocks.{block}.attn.{layer}" for block in range(4) for layer in ("qkv", "proj")]
    assert learns == {f"{place}.lora_{part}.default.weight" for place in places for part in "AB"}
    stirred(network)(IMAGES).logits.square().mean().backward()
    assert all(value.grad.abs().sum() > 0 for key, value in network.named_parameters() if key in learns)


def test_adapters_act_as_their_formula_says(settings):
    """In attention, whose joint projection some networks borrow the weight of."""
    network = stirred(settings.build(5))
    state = network.state_dict()
    for name, weight in list(state.items()):
        if ".base_layer.weight" in name:
            layer = name.removesuffix(".base_layer.weight")
            factors = [state[f"{layer}.lora_{part}.default.weight"] for part in "BA"]
            expected = weight + 6 / 4 * factors[0] @ factors[1]
            torch.testing.assert_close(merged(state)[f"{layer}.weight"], expected)
    plain = replace(settings, adapt="all").build(5).eval()
    plain.load_state_dict(merged(state))
    torch.testing.assert_close(plain(IMAGES).logits, network(IMAGES).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("adapt", "suffix"), [("all", ".safetensors"), ("lora", ".pth"), ("frozen", "checkpoint")])
def test_a_run_starts_from_one_with_adapters_as_the_network_that_it_was(settings, adapt, suffix, tmp_path, tiny_recipe):
    network = stirred(settings.build(19))
    recipe = tiny_recipe(SourceOnly(), model=settings, aux=False)
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_json()))
    file = tmp_path / f"model{suffix}"
    if suffix == "checkpoint":
        teacher = Teacher(settings.build(19))
        file = tmp_path / "checkpoints" / "step_00000002-0.pt"
        file.parent.mkdir()
        torch.save({"model": network.state_dict(), "terms": torch.nn.ModuleList([teacher]).state_dict()}, file)
    elif suffix == ".pth":
        torch.save({"state_dict": network.state_dict()}, file)
    else:
        save_file(network.state_dict(), file)
    start = replace(settings, weights=str(file), adapt=adapt, lora=LoRA(rank=2, targets=("mlp.fc1",)))
    now = start.build(19)
    start.warm_start(now, recipe.source.label_space.classes, classes_of)
    torch.testing.assert_close(now.eval()(IMAGES).logits, network(IMAGES).logits, rtol=1e-4, atol=1e-4)
    frozen = start.pretrained()(IMAGES)[0]  # what feature distance keeps the run near to
    images = (IMAGES - network.mean) / network.std
    if isinstance(start, VisionTransformer):
        torch.testing.assert_close(frozen, network.backbone(images)[-1], rtol=1e-4, atol=1e-4)


def test_teachers_checkpoints_and_the_optimiser(tiny_trainer, tmp_path):
    """A resumed run is the same run, bit by bit; the teacher's copy follows the adapters; the rest never moves."""
    method = SourceOnly(regularizers=(MeanTeacher(momentum=0.5), FeatureDistance()))
    first, second = (tiny_trainer(method, model=MODELS["eomt"], aux=False) for _ in range(2))
    base = {name: tensor.clone() for name, tensor in first.model.state_dict().items() if name.startswith("backbone.")}
    held = {id(parameter) for group in first.optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in first.model.parameters() if parameter.requires_grad}
    first.images.open()
    first.step()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state_of(first))
    first.step()
    load_state(second, checkpoints.load(torch.device("cpu")))
    second.images.open()
    second.step()
    for mine, its in zip(state_of(first)["model"].items(), state_of(second)["model"].items(), strict=True):
        assert mine[0] == its[0] and torch.equal(mine[1], its[1])
    teacher = first.terms[1].teacher.network
    for name, tensor in teacher.state_dict().items():
        if name.startswith("backbone."):
            assert torch.equal(tensor, base[name]) == (".default." not in name), name  # an adapter's factor
    first.images.close()
    second.images.close()


def test_a_copy_has_its_own_adapters(settings):
    network = stirred(settings.build(5))
    before, teacher = network(IMAGES).logits.detach(), copy.deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.5)
    torch.testing.assert_close(teacher(IMAGES).logits, before)


def test_a_finished_run_predicts_exports_and_is_read_back(settings, tiny_recipe, tmp_path):
    recipe = tiny_recipe(SourceOnly(), 2, model=settings, aux=False)
    session = Session("mine", recipe, Runtime(runs=tmp_path, workers=0, tracking="none"))
    session.run()
    run = TrainedRun(session.folder)
    saved = load_file(session.folder / "model.safetensors")
    assert {name for name in saved if ".lora_" in name} and "backbone.lora_scale" in saved
    assert all(torch.equal(run.network.state_dict()[name], tensor) for name, tensor in saved.items())
    assert run.predict((IMAGES[0].permute(1, 2, 0) * 255).byte().numpy()).mask().shape == (70, 90, 3)
    network = run.network.cpu().eval()
    exported = torch.export.export(network, (IMAGES,)).module()
    torch.testing.assert_close(exported(IMAGES).logits, network(IMAGES).logits)


def test_shapes_alone_suffice_and_groups_hold_adapters_by_layer(settings):
    with torch.device("meta"):
        network = settings.build(5)
    assert all(parameter.is_meta for parameter in network.parameters())
    groups = parameter_groups(network, AdamW(lr=1.0, head_multiplier=1, layer_decay=0.5))
    assert sorted({group["lr"] for group in groups}) == [0.125, 0.25, 0.5, 1.0]  # none of the embeddings


@pytest.mark.parametrize(
    ("lora", "told"),
    [
        (lambda: LoRA(rank=0), r"model\.lora\.rank must be at least 1, got 0"),
        (lambda: LoRA(alpha=0), r"model\.lora\.alpha must be at least 1, got 0"),
        (lambda: LoRA(targets=()), r"model\.lora\.targets names no layer"),
        (
            lambda: LoRA(targets=("attn.qkw",)),
            r"Unknown layer in model\.lora\.targets 'attn\.qkw'.*'attn\.qkv'.*mlp\.fc1",
        ),
        (lambda: LoRA(targets=("proj",)), r"Unknown layer .*'proj'.*attn\.proj"),
    ],
)
def test_settings_that_adapt_nothing_are_refused(lora, told):
    with pytest.raises(UserError, match=told):
        replace(MODELS["light"], lora=lora()).build(5)


def test_without_the_library_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"pip install 'da_toolkit\[lora\]'; or set model\.adapt to all or frozen"):
        MODELS["light"].build(5)
    assert replace(MODELS["light"], adapt="frozen").build(5)


@pytest.mark.parametrize(
    ("left_out", "lacks"),
    [("lora_scale", "its scale"), ("lora_B", "its other factor"), ("base_layer", "the weight that it adapts")],
)
def test_adapters_that_cannot_be_merged_are_told(left_out, lacks, tmp_path):
    state = MODELS["light"].build(5).state_dict()
    save_file({name: tensor for name, tensor in state.items() if left_out not in name}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=f"the file lacks {lacks}"):
        read_tables(tmp_path / "w.safetensors")
