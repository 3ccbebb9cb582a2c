"""Transformer networks: shapes, training, weights by path, and the head against plain computation."""

import copy
import subprocess
import sys
from dataclasses import replace

import pytest
import timm
import torch
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.methods import Adversarial, MeanTeacher, SourceOnly
from da_toolkit.models.daformer import DAFormer, DAFormerHead
from da_toolkit.models.vision_transformer import VisionTransformer
from da_toolkit.recipe import Recipe
from da_toolkit.regularizers import RPT, Cluster, Patch, SpatialLogic, Superpixels

MIT = DAFormer("mit_test", weights="none", width=8)
VIT = VisionTransformer("test_vit", output_stride=16, weights="none", blocks=2, width=8)
PYRAMID = DAFormer("test_resnet", weights="none", width=8)
NETWORKS = {"mit": MIT, "vit": VIT, "timm pyramid": PYRAMID}


@pytest.fixture(params=NETWORKS)
def settings(request):
    if request.param == "mit":
        pytest.importorskip("transformers", reason="transformers is not installed")
    return NETWORKS[request.param]


def test_odd_sizes_give_logits_that_fit_and_gradients_everywhere(settings):
    network = settings.build(5)
    images = torch.rand(2, 3, 70, 90)
    output = network(images)
    assert output.logits.shape[:2] == (2, 5) and output.features.shape[1] == network.feature_channels
    F.interpolate(output.logits, size=(70, 90)).square().mean().backward()
    without = {name for name, p in network.named_parameters() if p.grad is None}
    assert all("norm" in name or "token" in name for name in without), without  # those that no feature map reads
    moved = [name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    for part in ("backbone", "head"):
        whole = [name for name, _ in network.named_parameters() if name.startswith(part)]
        assert len([name for name in moved if name.startswith(part)]) > 0.5 * len(whole)  # residual branches start at 0
    groups = network.parameter_groups(1e-3, 10)
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in network.parameters() if p.requires_grad}
    assert len({id(p) for p in grouped}) == len(grouped) and groups[1]["lr"] == 1e-2


def test_the_finest_logits_have_stride_4_or_the_patch():
    pytest.importorskip("transformers")
    assert MIT.build(5)(torch.rand(1, 3, 64, 96)).logits.shape == (1, 5, 16, 24)
    assert VIT.build(5)(torch.rand(1, 3, 64, 96)).logits.shape == (1, 5, 4, 6)


def test_the_head_equals_its_description():
    """Embedded, resized, stacked; a 1x1 branch and dilated separable ones; fused and classified."""
    torch.manual_seed(0)
    head = DAFormerHead([3, 4], 5, width=6, dilations=(1, 2), dropout=0.0).eval()
    fine, coarse = torch.rand(1, 3, 8, 10), torch.rand(1, 4, 4, 5)

    def block(layers, x):
        convolution, norm, _ = layers
        return F.relu(F.batch_norm(convolution(x), norm.running_mean, norm.running_var, norm.weight, norm.bias))

    embedded = [F.conv2d(x, embed.weight, embed.bias) for embed, x in zip(head.embed, (fine, coarse), strict=True)]
    stack = torch.cat([embedded[0], F.interpolate(embedded[1], size=(8, 10), mode="bilinear")], 1)
    depthwise, pointwise = head.branches[1]
    assert depthwise[0].groups == 12 and depthwise[0].dilation == (2, 2)
    branches = torch.cat([block(head.branches[0], stack), block(pointwise, block(depthwise, stack))], 1)
    expected = head.classify[1](block(head.fuse, branches))
    torch.testing.assert_close(head([fine, coarse]), expected)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", "folder"])
def test_weights_by_path_are_what_was_saved(settings, suffix, tmp_path):
    from safetensors.torch import save_file

    backbone = settings.build_backbone()
    if suffix == "folder":
        if settings is not MIT:
            pytest.skip("only transformers' networks are saved in folders")
        place = tmp_path / "mit"
        backbone.encoder.save_pretrained(place)
    else:
        inner = getattr(backbone, "encoder", getattr(backbone, "network", backbone))
        state = {key.removeprefix("model."): value.contiguous() for key, value in inner.state_dict().items()}
        place = tmp_path / f"weights{suffix}"
        torch.save(state, place) if suffix == ".pth" else save_file(state, place)
    torch.manual_seed(1)  # so that a network that kept its own start would differ
    loaded = replace(settings, weights=str(place)).build_backbone()
    images = torch.rand(1, 3, 64, 64)
    for ours, theirs in zip(loaded.eval()(images), backbone.eval()(images), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_frozen_features_for_rpt_and_feature_distance(settings):
    levels = settings.pretrained(2)(torch.rand(1, 3, 64, 96))
    assert len(levels) == 2 and not any(level.requires_grad for level in levels)


RPT_SMALL = RPT(
    Patch(0.1), Cluster(clusters=8, components=4), SpatialLogic(weight=1.0, steps=5, width=8), Superpixels(12)
)


@pytest.mark.parametrize(
    "method",
    [Adversarial(), SourceOnly(regularizers=(MeanTeacher(),)), SourceOnly(regularizers=(RPT_SMALL,))],
    ids=["adversarial", "mean teacher", "rpt"],
)
def test_it_trains_with_terms_and_its_recipe_survives_json(settings, method, tiny_trainer):
    trainer = tiny_trainer(method, steps=3, rounds=True, model=settings)
    reports = []
    trainer.fit(lambda step, losses, rate: reports.append(losses), log_every=1)
    assert all(torch.isfinite(torch.tensor(list(losses.values()))).all() for losses in reports)
    assert Recipe.from_json(trainer.recipe.to_json()) == trainer.recipe


def test_bad_names_sizes_and_weights_are_the_users_to_mend(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    with pytest.raises(UserError, match=r"Unknown backbone 'mit_b9'.*mit_b5"):
        DAFormer("mit_b9", weights="none").build(5)
    with pytest.raises(UserError, match="output_stride"):
        DAFormer("mit_b0", output_stride=8)
    with pytest.raises(UserError, match="blocks=99 is more than"):
        VisionTransformer("test_vit", 16, "none", blocks=99).build(5)
    with pytest.raises(UserError, match="patch of test_vit, 16, got 14"):
        VisionTransformer("test_vit", 14, "none").build(5)
    with pytest.raises(UserError, match="not a plain vision transformer"):
        VisionTransformer("test_resnet", 16, "none").build(5)
    torch.save({"other": torch.zeros(1)}, tmp_path / "bad.pth")
    with pytest.raises(UserError, match="does not fit backbone 'mit_test'"):
        DAFormer("mit_test", weights=str(tmp_path / "bad.pth")).build(5)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"--model\.weights FOLDER"):
        DAFormer("mit_b0", weights=str(tmp_path)).build(5)


def test_importing_models_loads_neither_library():
    code = "import sys, da_toolkit.models.daformer, da_toolkit.models.vision_transformer; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "transformers" not in loaded and "timm" not in loaded


def test_both_stand_in_the_registry_without_a_recipe_that_uses_them():
    code = "import da_toolkit.recipe; from da_toolkit.registry import MODELS; print(*MODELS.names())"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"DAFormer", "DeepLabV2", "LightDeepLabV3Plus", "VisionTransformer"} <= set(names)


@pytest.mark.parametrize("layout", ["saved", "in memory", "classifier"])
def test_a_file_may_have_any_layout_of_names_that_the_library_writes(layout, tmp_path):
    """`save_pretrained` and the hub's files name tensors otherwise than the network in memory does."""
    transformers = pytest.importorskip("transformers")
    from safetensors.torch import load_file

    backbone = MIT.build_backbone()
    source, file = backbone.encoder, tmp_path / "model.safetensors"
    if layout == "classifier":
        source = transformers.SegformerForImageClassification(backbone.encoder.config)
        backbone.encoder.load_state_dict(source.segformer.state_dict())
    if layout == "in memory":
        file = tmp_path / "model.pth"
        torch.save(source.state_dict(), file)
    else:
        source.save_pretrained(tmp_path)
        assert not load_file(file).keys() & source.state_dict().keys() or layout == "classifier"
    loaded = replace(MIT, weights=str(file)).build_backbone()
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_a_folder_that_lacks_tensors_is_refused_not_filled_at_random(tmp_path):
    pytest.importorskip("transformers")
    from safetensors.torch import load_file, save_file

    MIT.build_backbone().encoder.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(file).items() if "encoder.block.3." not in name}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"does not fit backbone 'mit_test': 18 tensors"):
        replace(MIT, weights=str(tmp_path)).build_backbone()


@pytest.mark.parametrize("weights", ["timm", "packaged", "nowhere.pth"])
def test_words_for_weights_that_a_network_does_not_know(weights):
    pytest.importorskip("transformers")
    with pytest.raises(UserError, match=rf"of mit_b0 is 'hub', 'none', or the path .*'{weights}'"):
        DAFormer("mit_b0", weights=weights).build(5)
    with pytest.raises(UserError, match="for test_resnet set 'timm'"):
        DAFormer("test_resnet").build(5)


def test_the_hub_offline_and_the_missing_library_name_the_remedy(monkeypatch):
    transformers = pytest.importorskip("transformers")

    def offline(*_, **__):
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # or the hub would be asked
    monkeypatch.setattr(transformers.SegformerModel, "from_pretrained", offline)
    with pytest.raises(UserError, match=r"nvidia/mit-b0 could not be loaded .*--model\.weights FOLDER"):
        DAFormer("mit_b0", weights="hub").build(5)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'da_toolkit\[transformers\]'"):
        MIT.build(5)


def test_the_head_starts_at_stride_4_whatever_finer_levels_the_pyramid_has():
    network = PYRAMID.build(5)
    assert network.backbone.feature_info.reduction() == [2, 4, 8, 16, 32]
    assert len(network.head.embed) == 4 and network(torch.rand(2, 3, 64, 96)).logits.shape == (2, 5, 16, 24)
    transformer = DAFormer("pvt_v2_b0", weights="none", width=8).build(5).eval()
    assert transformer(torch.rand(1, 3, 64, 96)).logits.shape == (1, 5, 16, 24)
    with pytest.raises(UserError, match="cannot be dilated"):
        DAFormer("pvt_v2_b0", output_stride=16, weights="none").build(5)
    with pytest.raises(UserError, match="no stride-4 level"):
        DAFormer("test_vit", weights="none").build(5)


def test_a_teacher_copied_after_a_forward_has_its_own_weights():
    """The library collects feature maps with hooks, which must not tie a copy to the network it was made from."""
    pytest.importorskip("transformers")
    network = MIT.build(5).eval()
    images = torch.rand(1, 3, 64, 96)
    before = network(images).logits.detach()
    teacher = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    torch.testing.assert_close(teacher(images).logits, before)
    assert not network(images).logits.any()


def test_rpt_keeps_the_clusters_of_other_blocks_apart(tiny_trainer, tmp_path, monkeypatch):
    """The same weights give other feature maps with other `blocks`, so cached clusters must not be shared."""
    monkeypatch.setenv("DA_TOOLKIT_CACHE", str(tmp_path / "cache"))
    weights = tmp_path / "vit.pth"
    torch.save(timm.create_model("test_vit", pretrained=False).state_dict(), weights)
    for number, blocks in enumerate((2, 3), 1):
        model = replace(VIT, weights=str(weights), blocks=blocks)
        trainer = tiny_trainer(SourceOnly(regularizers=(RPT_SMALL,)), steps=2, rounds=True, model=model)
        trainer.fit(lambda *_: None, log_every=1)
        assert len(list((tmp_path / "cache").rglob("clusters/*.npz"))) == number


def test_daformer_with_mit_b5_has_the_published_number_of_parameters():
    """85.15 M; built without memory for them."""
    pytest.importorskip("transformers")
    with torch.device("meta"):
        network = DAFormer("mit_b5", weights="none").build(19)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count // 10_000 == 8_515 and all(parameter.is_meta for parameter in network.parameters())
