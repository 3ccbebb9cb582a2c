"""DINOv2's and DINOv3's vision transformers at tiny size, with random weights, and files as their authors name them."""

from functools import partial

import torch
from timm.models import generate_default_cfgs, register_model
from timm.models.eva import _create_eva
from timm.models.vision_transformer import _create_vision_transformer
from torch import nn

SIZES = {"embed_dim": 32, "depth": 4, "num_heads": 2}
V2 = {"patch_size": 14, "img_size": 70, "init_values": 1e-1, **SIZES}
V3 = {
    "patch_size": 16,
    "img_size": 64,
    "dynamic_img_size": True,
    "rope_type": "dinov3",
    "rope_temperature": 100,
    "rope_rotate_half": True,
    "use_rot_pos_emb": True,
    "use_abs_pos_emb": False,
    "num_reg_tokens": 4,
    "use_fc_norm": False,
    "init_values": 1e-1,
    "norm_layer": partial(nn.LayerNorm, eps=1e-5),
    **SIZES,
}
PATCHES = {
    "vit_tinytest_patch14_dinov2": 14,
    "vit_tinytest_patch14_reg4_dinov2": 14,
    "vit_tinytest_patch16_dinov3": 16,
    "vit_tinytest_patch16_dinov3_qkvb": 16,
}
default_cfgs = generate_default_cfgs({name: {} for name in PATCHES})  # timm looks for them where it registers


@register_model
def vit_tinytest_patch14_dinov2(pretrained=False, **more):
    return _create_vision_transformer("vit_tinytest_patch14_dinov2", pretrained, **(V2 | more))


@register_model
def vit_tinytest_patch14_reg4_dinov2(pretrained=False, **more):
    settings = {**V2, "reg_tokens": 4, "no_embed_class": True} | more
    return _create_vision_transformer("vit_tinytest_patch14_reg4_dinov2", pretrained, **settings)


@register_model
def vit_tinytest_patch16_dinov3(pretrained=False, **more):
    return _create_eva("vit_tinytest_patch16_dinov3", pretrained, **({**V3, "qkv_bias": False} | more))


@register_model
def vit_tinytest_patch16_dinov3_qkvb(pretrained=False, **more):
    return _create_eva("vit_tinytest_patch16_dinov3_qkvb", pretrained, **({**V3, "qkv_bias": True} | more))


def authors_names(network, state):
    """timm's tensors of one of these networks under the names that the authors' releases have."""
    state = dict(state)
    if "dinov2" in network:
        named = {"mask_token": torch.zeros(1, 32)}
        if "reg4" in network:
            place = torch.randn(1, 1, 32)  # theirs has a position for the class token; timm adds it to the token
            named["register_tokens"] = state.pop("reg_token")
            named["cls_token"] = state.pop("cls_token") - place
            named["pos_embed"] = torch.cat([place, state.pop("pos_embed")], 1)
        return named | state
    named = {"mask_token": torch.zeros(1, 32), "rope_embed.periods": torch.ones(4)}
    for block in range(SIZES["depth"]):  # theirs has a bias in all, which is 0 where timm has none
        parts = [state.pop(f"blocks.{block}.attn.{part}_bias", torch.zeros(32)) for part in "qv"]
        named[f"blocks.{block}.attn.qkv.bias"] = torch.cat([parts[0], torch.zeros(32), parts[1]])
        named[f"blocks.{block}.attn.qkv.bias_mask"] = torch.ones(96)
    for name, tensor in state.items():
        name = name.replace("reg_token", "storage_tokens").replace("gamma_1", "ls1.gamma")
        named[name.replace("gamma_2", "ls2.gamma")] = tensor
    return named
