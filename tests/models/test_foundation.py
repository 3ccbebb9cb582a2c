"""Foundation backbones: EoMT and the simple pyramid against plain computation, any size, files, what learns."""

import copy
from dataclasses import replace

import pytest
import timm
import tiny_transformers
import torch
from safetensors.torch import save_file
from tiny_transformers import PATCHES
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.methods import Adversarial, Masking, MeanTeacher, SourceOnly
from da_toolkit.models import EoMT, VisionTransformer
from da_toolkit.models.eomt import joined
from da_toolkit.models.plain_transformer import vision_transformer
from da_toolkit.models.trial import Pass, check_passes
from da_toolkit.models.vision_transformer import SimplePyramid
from da_toolkit.recipe import Recipe
from da_toolkit.regularizers import RPT, Cluster, Patch, SpatialLogic, Superpixels

V2, REG, V3, QKVB = PATCHES


def eomt(name, **changes):
    return EoMT(name, PATCHES[name], "none", **(dict(queries=6, joint_blocks=2) | changes))


def pyramid(name, **changes):
    return VisionTransformer(
        name, PATCHES[name], "none", **(dict(head="daformer", width=8, dilations=(1, 2)) | changes)
    )


def light(name, **changes):
    return VisionTransformer(name, PATCHES[name], "none", **(dict(blocks=2, width=8) | changes))


@pytest.mark.parametrize("name", [REG, QKVB])
@pytest.mark.parametrize("kind", [eomt, pyramid, light])
def test_images_of_any_size_are_brought_to_whole_patches_and_all_parts_learn(kind, name):
    torch.manual_seed(0)
    network, patch = kind(name, aux=True).build(5).train(), PATCHES[name]
    finer = 1 if kind is light else 4
    for height, width in ((70, 90), (112, 56), (5, 33)):
        rows, columns = max(1, round(height / patch)), max(1, round(width / patch))
        output = network(torch.rand(2, 3, height, width))
        assert output.logits.shape == (2, 5, finer * rows, finer * columns)
        assert output.features.shape == (2, 32, rows, columns) and output.aux_logits.shape == (2, 5, rows, columns)
    (output.logits.square().mean() + output.aux_logits.square().mean()).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []
    network.eval()
    images = torch.rand(1, 3, 5 * patch + 3, 3 * patch - 5)
    whole = F.interpolate(images, size=(5 * patch, 3 * patch), mode="bilinear", antialias=True)
    torch.testing.assert_close(network(images).logits, network(whole).logits)
    check_passes(network, [Pass(size, 2, True, "source.size") for size in ((1, 1), (63, 126))])
    assert network.to("meta")(torch.rand(2, 3, 70, 90, device="meta")).logits.shape[:2] == (2, 5)


@pytest.mark.parametrize("name", [V2, REG])
def test_position_embeddings_are_resampled_as_timm_resamples_them_for_a_network_of_that_size(name):
    ours = light(name).build_backbone().eval()
    state = {key.removeprefix("network.model."): tensor for key, tensor in ours.state_dict().items()}
    images = torch.rand(1, 3, 42, 98)
    theirs = timm.create_model(name, img_size=(42, 98), num_classes=0).eval()
    convert = timm.models.vision_transformer.checkpoint_filter_fn
    missing, _ = theirs.load_state_dict(convert(dict(state), theirs), strict=False)
    assert missing == ["norm.weight", "norm.bias"]  # no map of a block reads them
    expected = theirs.forward_intermediates(images, indices=[1, 3], intermediates_only=True)
    torch.testing.assert_close(ours(images), expected)


def plain_eomt(network, head, images, joint):
    """Logits as the paper's figure has them, with queries in front of all other tokens: [B,C,4h,4w] probabilities."""
    transformer = vision_transformer(network)
    own, tokens = transformer.num_prefix_tokens, transformer.patch_embed(images)
    height, width = tokens.shape[1:3] if tokens.ndim == 4 else (len(images[0, 0]) // PATCHES[V2],) * 2
    tokens = transformer._pos_embed(tokens)
    tokens, rope = tokens if isinstance(tokens, tuple) else (tokens, None)
    place = {} if rope is None else {"rope": rope}
    for number, block in enumerate(transformer.blocks):
        if number == len(transformer.blocks) - joint:
            tokens = torch.cat([head.queries.expand(len(images), -1, -1), tokens], 1)
            own += len(head.queries)
        if rope is not None:
            block = copy.deepcopy(block)
            block.attn.num_prefix_tokens = own  # these are not turned
        tokens = block(tokens, **place)
    tokens = transformer.norm(tokens)
    queries, patches = tokens[:, : len(head.queries)], tokens[:, own:]
    maps = patches.transpose(1, 2).reshape(len(images), -1, height, width)
    masks = torch.einsum("bkd,bdhw->bkhw", head.embed(queries), head.enlarge(maps)).sigmoid()
    classes = head.classify(queries).softmax(2)
    scores = torch.zeros(len(images), classes.shape[2] - 1, 4 * height, 4 * width)
    for query in range(len(head.queries)):
        for number in range(scores.shape[1]):
            scores[:, number] += classes[:, query, number, None, None] * masks[:, query]
    return scores / scores.sum(1, keepdim=True)


@pytest.mark.parametrize("name", PATCHES)
def test_eomt_equals_its_description(name):
    torch.manual_seed(0)
    network = eomt(name).build(5).eval()
    side = 4 * PATCHES[name]
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        found = network(images)
        expected = plain_eomt(network.backbone, network.head, (images - network.mean) / network.std, 2)
    torch.testing.assert_close(found.logits.exp(), expected)
    torch.testing.assert_close(found.logits.exp().sum(1), torch.ones(2, 16, 16))  # probabilities, of all methods' kind
    alone = network.backbone((images - network.mean) / network.std)
    assert not torch.allclose(alone[-1], found.features)  # queries do take part


def test_joined_probabilities_equal_a_loop_and_stay_finite():
    generator = torch.Generator().manual_seed(0)
    classes, masks = torch.randn(2, 3, 5, generator=generator), torch.randn(2, 3, 4, 6, generator=generator)
    found = joined(classes, masks)
    for image in range(2):
        for row, column in ((0, 0), (3, 5), (2, 1)):
            scores = torch.zeros(4)
            for query in range(3):
                of_class = classes[image, query].exp() / classes[image, query].exp().sum()
                scores += of_class[:4] / (1 + (-masks[image, query, row, column]).exp())
            torch.testing.assert_close(found[image, :, row, column], (scores / scores.sum()).log())
    extreme = [torch.tensor([-500.0, 500.0, 0.0]).view(1, 3, 1, 1).repeat(1, 1, 2, 2), -500 * torch.ones(1, 3, 2, 2)]
    for mask in extreme:
        sure = torch.full((1, 3, 5), -300.0)
        sure[0, 0, 0] = sure[0, 1, 1] = sure[0, 2, 4] = 300.0
        sure.requires_grad_()
        mask = mask.requires_grad_()
        logits = joined(sure, mask)
        logits.square().sum().backward()
        assert logits.isfinite().all() and sure.grad.isfinite().all() and mask.grad.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(joined(classes, masks), found)


def test_the_simple_pyramid_has_shares_of_the_map_in_their_place():
    levels = SimplePyramid(8).eval()(torch.arange(15.0).view(1, 1, 3, 5).expand(1, 8, 3, 5))
    assert [tuple(level.shape) for level in levels] == [(1, 2, 12, 20), (1, 4, 6, 10), (1, 8, 3, 5), (1, 8, 2, 3)]
    coarse = levels[-1][0, 0]
    torch.testing.assert_close(coarse, torch.tensor([[3.0, 4.5, 6.0], [8.0, 9.5, 11.0]]))
    assert [tuple(level.shape[2:]) for level in SimplePyramid(8)(torch.rand(2, 8, 1, 1))][-1] == (1, 1)


@pytest.mark.parametrize("name", PATCHES)
@pytest.mark.parametrize(("kind", "layout"), [(eomt, "timm.safetensors"), (light, "authors.pth")])
def test_files_of_timm_and_of_the_authors_give_the_same_features(kind, name, layout, tmp_path, capsys):
    torch.manual_seed(0)
    whole = timm.create_model(name, num_classes=0, dynamic_img_size=True).eval()
    for parameter in whole.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    file = tmp_path / layout
    if layout.startswith("timm"):
        save_file(whole.state_dict(), file)
    else:
        torch.save(tiny_transformers.authors_names(name, whole.state_dict()), file)
    backbone = replace(kind(name), weights=str(file)).build_backbone().eval()
    images = torch.rand(1, 3, 2 * PATCHES[name], 3 * PATCHES[name])
    expected = whole.forward_intermediates(images, indices=[1, 3], intermediates_only=True)
    if kind is eomt:  # its last map is normalised
        expected[1] = whole.forward_intermediates(images, indices=[3], norm=True, intermediates_only=True)[0]
    torch.testing.assert_close(backbone(images)[-2:], expected, rtol=1e-4, atol=1e-4)
    assert capsys.readouterr().out == ""


RPT_SMALL = RPT(
    Patch(0.1), Cluster(clusters=8, components=4), SpatialLogic(weight=1.0, steps=5, width=8), Superpixels(12)
)
METHODS = {
    "adversarial": Adversarial(),
    "mic": SourceOnly(regularizers=(MeanTeacher(masking=Masking(block=28)),)),
    "rpt": SourceOnly(regularizers=(RPT_SMALL,)),
}


@pytest.mark.parametrize(
    ("model", "method"),
    [
        (eomt(V3), "adversarial"),
        (eomt(V3), "rpt"),
        (eomt(REG, adapt="lora"), "mic"),
        (pyramid(V2), "mic"),
        (light(V2, adapt="frozen"), "adversarial"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{type(value).__name__} {value.adapt}",
)
def test_every_method_trains_it(model, method, tiny_trainer):
    trainer = tiny_trainer(METHODS[method], steps=2, rounds=True, model=replace(model, aux=True))
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    reports = []
    trainer.fit(lambda step, losses, rate: reports.append(losses), log_every=1)
    assert len(reports) == 2
    assert all(torch.isfinite(torch.tensor(list(losses.values()))).all() for losses in reports)
    assert Recipe.from_json(trainer.recipe.to_json()) == trainer.recipe
    moved = {name for name, tensor in trainer.model.state_dict().items() if not torch.equal(tensor, before[name])}
    of_backbone = {name for name in moved if name.startswith("backbone.")}
    if model.adapt == "all":
        assert any(name.endswith("patch_embed.proj.weight") for name in of_backbone)
    assert model.adapt != "frozen" or not of_backbone
    assert model.adapt != "lora" or (of_backbone and all(".lora_" in name for name in of_backbone))
    assert any(name.startswith("head.") for name in moved)


def test_a_run_in_half_precision_stays_finite():
    network = eomt(V3, adapt="lora").build(5).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(torch.rand(2, 3, 64, 64)).logits
    assert logits.dtype == torch.float32 and logits.isfinite().all()
    logits.mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (lambda: EoMT(V2, 16, "none"), "output_stride is the patch of vit_tinytest_patch14_dinov2, 14, got 16"),
        (lambda: eomt(V2, joint_blocks=4), r"joint_blocks=4 leaves none of the 4 blocks .* set it to 3 or less"),
        (lambda: eomt(V2, queries=0), r"model\.queries must be at least 1, got 0"),
        (lambda: EoMT("test_resnet", 16, "none"), "not a plain vision transformer"),
        (lambda: EoMT("test_vit_relpos", 16, "none"), "'test_vit_relpos' cannot carry queries"),
        (
            lambda: EoMT("vit_base_patch14_dinov", 14, "none"),
            "Unknown backbone.*Did you mean 'vit_base_patch14_dinov2'",
        ),
        (lambda: EoMT(V2, 14, "timm"), f"timm has no weights of backbone '{V2}'"),
    ],
)
def test_mistakes_are_the_users_to_mend(settings, told):
    with pytest.raises(UserError, match=told) as caught:
        settings().build(5)
    assert "\n" not in str(caught.value)
