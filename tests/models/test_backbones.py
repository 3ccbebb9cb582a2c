"""timm's networks as pyramids: fixed sizes, axes, strides, names, and how each is refused."""

import pytest
import torch

from da_toolkit.errors import UserError
from da_toolkit.models import DAFormer, DeepLabV2, LightDeepLabV3Plus, VisionTransformer
from da_toolkit.models.backbones import build_backbone
from da_toolkit.models.trial import Pass, check_passes


@pytest.mark.parametrize(
    ("name", "stride"),
    [
        ("resnet10t", 8),
        ("tf_efficientnet_lite0", 16),
        ("swin_tiny_patch4_window7_224", 32),  # [B,h,w,C]; a fixed size unless told otherwise
        ("mambaout_femto", 32),  # [B,h,w,C]
        ("vit_tiny_patch16_224", 16),  # a fixed size unless told otherwise
        ("vgg11", 32),
        ("pvt_v2_b0", 32),
        ("convnext_atto", 8),
        ("xcit_nano_12_p8_224", 8),
    ],
)
def test_maps_are_channels_first_at_the_stride_asked_for_and_train(name, stride):
    network = DeepLabV2(name, stride, "none").build(5)
    check_passes(network, [Pass((64, 96), 2, True, "source.size"), Pass((96, 64), 1, False, "target.size")])
    pyramid = network.backbone(torch.rand(2, 3, 64, 96))
    channels, strides = network.backbone.feature_info.channels(), network.backbone.feature_info.reduction()
    assert strides[-1] == stride
    assert [tuple(level.shape) for level in pyramid] == [
        (2, count, -(-64 // step), -(-96 // step)) for count, step in zip(channels, strides, strict=True)
    ]
    network.train()(torch.rand(2, 3, 64, 96)).logits.square().mean().backward()
    assert any(
        parameter.grad.abs().sum() > 0 for parameter in network.backbone.parameters() if parameter.grad is not None
    )


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            DeepLabV2("vgg11", 16, "none"),
            r"'vgg11' cannot be dilated to .* is 32\. Set model\.output_stride to 32",
        ),
        (DeepLabV2("vit_tiny_patch16_224", 32, "none"), r"is 16\. Set model\.output_stride to 16"),
        (DeepLabV2("convmixer_768_32", 8, "none"), r"is 7\. Choose another backbone"),
        (DeepLabV2("levit_128s", 32, "none"), r"is 64\. Choose another backbone"),
        (DeepLabV2("mixnet_nope", 32, "none"), r"Unknown backbone 'mixnet_nope'\. Did you mean 'mixnet_\w+'"),
        (DeepLabV2("resnet18.my_tag", 32, "none"), r"Unknown backbone 'resnet18\.my_tag'.*resnet18\.tv_in1k"),
        (DeepLabV2("hf-hub:timm/resnet18", 32, "none"), "Unknown backbone 'hf-hub:timm/resnet18'"),
        (LightDeepLabV3Plus("pit_ti_224", 32, "none"), "'pit_ti_224' has no stride-4 level; use DeepLabV2"),
        (DAFormer("csatv2", weights="none"), "'csatv2' has no stride-4 level"),
        (VisionTransformer("vit_tiny_patch16_224", 14, "none"), "is the patch of vit_tiny_patch16_224, 16, got 14"),
        (VisionTransformer("xcit_nano_12_p8_224", 16, "none"), "is the patch of xcit_nano_12_p8_224, 8, got 16"),
        (VisionTransformer("vit_tini_patch16_224", 16, "none"), "Did you mean 'vit_tiny_patch16_224'"),
        (VisionTransformer("pit_ti_224", 16, "none"), "'pit_ti_224' is not a plain vision transformer"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(settings, told):
    with pytest.raises(UserError, match=told):
        settings.build(5)


def test_a_network_that_timm_cannot_cut_into_levels_is_refused(monkeypatch):
    import timm

    create = timm.create_model

    def refuses(name, **settings):
        if settings.get("features_only"):
            raise RuntimeError("features_only not implemented for Own.")
        return create(name, **settings)

    monkeypatch.setattr(timm, "create_model", refuses)
    with pytest.raises(UserError, match=r"no feature maps of backbone 'test_resnet' \(.*not implemented for Own"):
        build_backbone("test_resnet", 16, "none")


def test_a_tag_is_the_same_network():
    tagged = build_backbone("resnet10t.c3_in1k", 16, "none").state_dict()
    plain = build_backbone("resnet10t", 16, "none").state_dict()
    assert [(name, tensor.shape) for name, tensor in tagged.items()] == [(n, t.shape) for n, t in plain.items()]


@pytest.mark.filterwarnings("ignore:Mapping deprecated model name")
def test_a_name_that_timm_has_changed_still_works():
    """`jx_nest_tiny` is `nest_tiny_jx` now, and timm knows nothing else under the old name."""
    with pytest.raises(UserError, match=r"Set model\.output_stride to 16"):
        build_backbone("jx_nest_tiny", 32, "none")
    assert build_backbone("vit_tiny_patch16_224_in21k", 16, "none")(torch.rand(1, 3, 32, 48))[-1].shape[2:] == (2, 3)


def test_looking_for_the_settings_draws_no_random_numbers():
    import timm

    torch.manual_seed(3)
    ours = build_backbone("test_resnet", 8, "none").state_dict()
    torch.manual_seed(3)
    plain = timm.create_model("test_resnet", features_only=True, output_stride=8).state_dict()
    assert all(torch.equal(tensor, plain[name]) for name, tensor in ours.items())


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_patch16_224"])
def test_images_that_patches_do_not_divide(name):
    """VisionTransformer brings them to the nearest multiple; DeepLabV2 refuses them and names one."""
    network = VisionTransformer(name, 16, "none", blocks=2, width=8).build(3)
    check_passes(network, [Pass((50, 70), 2, True, "source.size")])
    assert network(torch.rand(1, 3, 50, 70)).logits.shape == (1, 3, 3, 4)
    with pytest.raises(UserError, match="It can take 64x80"):
        check_passes(DeepLabV2(name, 16, "none").build(3), [Pass((50, 70), 2, True, "source.size")])
