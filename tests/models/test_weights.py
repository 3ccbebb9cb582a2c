"""Weights files of every wrapping, kind and damage; warm starts from runs; downloads without a network."""

import argparse
import json
import shutil
import socket
import time
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save, save_file

from da_toolkit.errors import UserError
from da_toolkit.methods import SourceOnly
from da_toolkit.models import DAFormer, DeepLabV2, LightDeepLabV3Plus, VisionTransformer
from da_toolkit.models.backbones import build_backbone
from da_toolkit.models.matching import match
from da_toolkit.recipe.recipe import classes_of

WHOLE = {name: tensor.clone() for name, tensor in timm.create_model("test_resnet").state_dict().items()}


def prefixed(prefix, state=WHOLE):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def other(state=WHOLE):
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


WRAPPINGS = {
    "bare": WHOLE,
    "state_dict, module.": {"epoch": 3, "state_dict": prefixed("module.")},
    "model": {"model": WHOLE, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}},
    "three deep, two prefixes": {"checkpoint": {"net": {"weights": prefixed("_orig_mod.module.encoder.")}}},
    "teacher rather than student": {"student": other(), "teacher": prefixed("backbone.")},
    "averaged rather than last": {"state_dict": other(), "state_dict_ema": WHOLE},
    "a training script's arguments": {"args": argparse.Namespace(lr=0.1), "state_dict": WHOLE},
    "another part with the same names": prefixed("backbone.")
    | prefixed("auxiliary.", {"conv1.0.weight": torch.ones(2)}),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before PyTorch 1.6"])
def test_known_wrappings_are_unwrapped(wrapping, zipped, tmp_path):
    torch.save(WRAPPINGS[wrapping], tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    loaded = build_backbone("test_resnet", 16, str(tmp_path / "w.pth")).state_dict()
    assert loaded and all(torch.equal(tensor, WHOLE[name]) for name, tensor in loaded.items())


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.bin", "w"])
def test_the_content_decides_what_a_file_is_not_its_name(name, tmp_path):
    for write in (lambda file: save_file(WHOLE, file), lambda file: torch.save(WHOLE, file.open("wb"))):
        write(tmp_path / name)
        loaded = build_backbone("test_resnet", 32, str(tmp_path / name)).state_dict()
        assert torch.equal(loaded["conv1.0.weight"], WHOLE["conv1.0.weight"])


def test_a_header_whose_length_begins_like_a_pickle_is_still_read(tmp_path):
    """A length of 128 more than a multiple of 256 begins with the byte 0x80."""
    for padding in range(0, 512, 8):
        save_file(WHOLE, tmp_path / "w", metadata={"padding": "x" * padding})
        with (tmp_path / "w").open("rb") as opened:
            if opened.read(1) == b"\x80":
                break
    else:
        raise AssertionError("no length begins so")
    loaded = build_backbone("test_resnet", 32, str(tmp_path / "w")).state_dict()
    assert torch.equal(loaded["bn1.bias"], WHOLE["bn1.bias"])


@pytest.mark.parametrize("name", ["test_vit", "pvt_v2_b0", "regnetx_002", "swin_tiny_patch4_window7_224"])
def test_the_classification_network_of_other_families(name, tmp_path):
    whole = timm.create_model(name)
    torch.save({"state_dict": prefixed("module.", whole.state_dict())}, tmp_path / "w.pth")
    pyramid = build_backbone(name, {"test_vit": 16}.get(name, 32), str(tmp_path / "w.pth"))
    sums = {round(tensor.double().sum().item(), 6) for tensor in whole.state_dict().values()}
    assert {round(tensor.double().sum().item(), 6) for tensor in pyramid.state_dict().values()} <= sums


def test_an_authors_layout_that_timm_reads(tmp_path):
    """Here: positions of images of another size."""
    whole = timm.create_model("vit_tiny_patch16_224", img_size=96).state_dict()
    torch.save(whole, tmp_path / "w.pth")
    assert whole["pos_embed"].shape == (1, 37, 192)
    loaded = build_backbone("vit_tiny_patch16_224", 16, str(tmp_path / "w.pth")).state_dict()
    assert loaded["model.pos_embed"].shape == (1, 197, 192)
    assert torch.equal(loaded["model.pos_embed"][:, 0], whole["pos_embed"][:, 0])  # that of the class token
    assert torch.equal(loaded["model.blocks.3.mlp.fc1.weight"], whole["blocks.3.mlp.fc1.weight"])


class Own:
    """What a pickle must not bring to life."""


def text(content):
    return lambda file: file.write_bytes(content)


def saved(value, **how):
    return lambda file: torch.save(value, file, **how)


def cut(file):
    torch.save(WHOLE, file)
    file.write_bytes(file.read_bytes()[:5000])


SHORT = {name: tensor for name, tensor in WHOLE.items() if not name.startswith("layer3.")}
REFUSED = {
    "empty": (text(b""), r"w\.pth is empty \(0 bytes\)"),
    "git-lfs": (
        text(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "pointer of git-lfs.*git lfs pull",
    ),
    "web page": (text(b"  <!DOCTYPE html>\n<html><body>Sign in"), "is a web page"),
    "json": (text(json.dumps({"error": "not found"}).encode()), "is JSON text"),
    "words": (text(b"no weights at all"), r"w\.pth cannot be read as weights \(17 bytes"),
    "cut": (cut, r"cannot be read as weights \(5000 bytes"),
    "cut safetensors": (text(save(WHOLE)[:9000]), "cannot be read as weights .*Safetensor"),
    "list": (saved(list(WHOLE.values())), "a list of 92 without names"),
    "tensor": (saved(torch.zeros(2, 3)), r"one tensor \(2, 3\)"),
    "numbers": (saved({"epoch": 3, "lr": 0.1}), "a dict of 'epoch', 'lr'"),
    "code": (saved({"model": WHOLE, "trainer": Own()}), r"holds more than tensors \(.*Own\).*weights_only=False"),
    "code, old format": (saved(Own(), _use_new_zipfile_serialization=False), r"more than tensors \(.*Own\)"),
    "whole network": (saved(timm.create_model("test_resnet")), r"more than tensors \(.*torch\.nn"),
    "other network": (
        saved({"model": timm.create_model("test_vit").state_dict()}),
        r"\['model'\].*missing \(.*none of its \(cls_token",
    ),
    "a part": (saved(prefixed("module.", SHORT)), r"begin with 'module\.'.*tensors are missing \(layer3\."),
    "other shape": (
        saved(WHOLE | {"conv1.0.weight": torch.zeros(7, 3, 3, 3)}),
        "conv1.0.weight is 7x3x3x3, not 16x3x3x3",
    ),
    "not finite": (saved(WHOLE | {"bn1.bias": torch.full((32,), torch.nan)}), r"not finite \(bn1\.bias\)"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_weights_is_told(kind, tmp_path):
    write, told = REFUSED[kind]
    write(tmp_path / "w.pth")
    with pytest.raises(UserError, match=told) as refused:
        build_backbone("test_resnet", 16, str(tmp_path / "w.pth"))
    assert "\n" not in str(refused.value) and "weights_only" not in str(refused.value).replace("weights_only=False", "")


def test_folders(tmp_path):
    place = tmp_path / "somewhere"
    with pytest.raises(UserError, match=r"is neither 'timm', .* nor an existing file or folder\. Give"):
        build_backbone("test_resnet", 16, str(place))
    place.mkdir()
    with pytest.raises(UserError, match=r"no weights in the folder .*somewhere\. A file's name there"):
        build_backbone("test_resnet", 16, str(place))
    with pytest.raises(UserError, match=r"Did you mean .*somewhere\?"):
        build_backbone("test_resnet", 16, str(tmp_path / "somewher"))
    torch.save(WHOLE, place / "first.pth")
    assert torch.equal(build_backbone("test_resnet", 16, str(place)).state_dict()["bn1.bias"], WHOLE["bn1.bias"])
    torch.save(other(), place / "second.pt")
    with pytest.raises(UserError, match=r"2 files of weights \(first\.pth, second\.pt\)"):
        build_backbone("test_resnet", 16, str(place))
    save_file(WHOLE, place / "model.safetensors")  # the usual name wins
    assert torch.equal(build_backbone("test_resnet", 16, str(place)).state_dict()["bn1.bias"], WHOLE["bn1.bias"])
    with pytest.raises(UserError, match=r"no weights in the folder .*Did you mean .*somewhere\?"):
        build_backbone("test_resnet", 16, str(tmp_path))


def test_the_shorter_prefix_wins_where_a_checkpoint_has_a_teacher_too():
    wanted = build_backbone("test_resnet", 16, "none").state_dict()
    both = {"['model']": prefixed("backbone."), "['terms']": prefixed("0.network.backbone.", other())}
    found = match(both, wanted)
    assert (found.place, found.prefix) == ("['model']", "backbone.")
    assert (
        not found.missing(wanted)
        and not found.unfit(wanted)
        and set(found.rest) == {"backbone.fc.weight", "backbone.fc.bias"}
    )


NETWORK = LightDeepLabV3Plus("test_resnet", weights="none", width=8, aux=True)


@pytest.fixture
def run(tiny_recipe, tmp_path):
    """A finished run's folder, with weights that nothing starts with."""
    folder = tmp_path / "runs" / "before" / "0"
    folder.mkdir(parents=True)
    recipe = tiny_recipe(SourceOnly(), model=NETWORK)
    (folder / "recipe.json").write_text(json.dumps(recipe.to_json()))
    network = NETWORK.build(19)
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.uniform_(0.1, 0.2)
    save_file(network.state_dict(), folder / "model.safetensors")
    return folder, network.state_dict(), recipe.source.label_space.classes


def started(settings, classes):
    network = settings.build(len(classes))
    settings.warm_start(network, classes, classes_of)
    return network.state_dict()


def same(now, before, prefix):
    names = [name for name in now if name.startswith(prefix)]
    assert names
    return {name for name in names if name in before and torch.equal(now[name], before[name])} == set(names)


@pytest.mark.parametrize("way", ["folder", "file", "checkpoint"])
def test_a_run_gives_its_whole_network(way, run, capsys):
    folder, before, classes = run
    place = {
        "folder": folder,
        "file": folder / "model.safetensors",
        "checkpoint": folder / "checkpoints" / "step_2-0.pt",
    }[way]
    if way == "checkpoint":
        place.parent.mkdir()
        torch.save({"format": 3, "model": before, "terms": other(prefixed("0.network.", before))}, place)
    now = started(replace(NETWORK, weights=str(place)), classes)
    assert set(now) == set(before) and same(now, before, "")
    assert capsys.readouterr().out.count("\n") == 1  # one line


def test_a_trainer_starts_there_and_so_do_its_teachers(run, tiny_trainer, capsys):
    from da_toolkit.methods import MeanTeacher

    folder, before, _ = run
    method = SourceOnly(regularizers=(MeanTeacher(),))
    trainer = tiny_trainer(method, model=replace(NETWORK, weights=str(folder)))
    assert same(trainer.model.state_dict(), before, "")
    teacher = trainer.terms[-1].state_dict()
    heads = [name for name in teacher if name.endswith("head.classify.1.weight")]
    assert heads and all(torch.equal(teacher[name], before["head.classify.1.weight"]) for name in heads)
    assert "the classifier" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "level"),
    [
        (NETWORK, "head.classify.1."),
        (DeepLabV2("test_resnet", 16, "none"), "head."),
        (DAFormer("test_resnet", weights="none", width=8), "head.classify.1."),
        (VisionTransformer("test_vit", 16, "none", blocks=2, width=8), "head.layers.3."),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_the_classifier_starts_anew_where_the_classes_are_others(model, level, run, tiny_recipe, capsys):
    folder, _, classes = run
    recipe = tiny_recipe(SourceOnly(), model=model)
    (folder / "recipe.json").write_text(json.dumps(recipe.to_json()))
    before = model.build(19).state_dict()
    save_file(before, folder / "model.safetensors")
    settings = replace(model, weights=str(folder))
    assert same(started(settings, classes), before, "")
    torch.manual_seed(1)
    now = started(settings, ("moon", *classes[1:]))
    fresh = [name for name in now if name.startswith((level, "aux.")) and name.endswith("weight")]
    assert fresh and not any(torch.equal(now[name], before[name]) for name in fresh)
    kept = [name for name in now if not name.startswith((level, "aux."))]
    assert all(torch.equal(now[name], before[name]) for name in kept)
    told = capsys.readouterr().out
    assert "starts anew, for the classes are other ones now (not road but moon)" in told
    swapped = started(settings, (*classes[1:], classes[0]))
    assert not any(torch.equal(swapped[name], before[name]) for name in fresh)
    assert "classes are in another order" in capsys.readouterr().out


def test_without_a_readable_recipe_nobody_knows_the_classes(run, tmp_path, capsys):
    folder, before, classes = run
    lone = tmp_path / "lone.safetensors"
    shutil.copy(folder / "model.safetensors", lone)
    (folder / "recipe.json").write_text("{}")
    for place, why in ((lone, "no recipe.json in"), (folder, r"recipe.json does not say what its classes are")):
        now = started(replace(NETWORK, weights=str(place)), classes)
        assert same(now, before, "backbone.") and same(now, before, "head.fuse.")
        assert not torch.equal(now["head.classify.1.weight"], before["head.classify.1.weight"])
        assert why in capsys.readouterr().out


def test_a_decoder_of_another_kind_starts_anew(run, capsys):
    folder, before, classes = run
    now = started(replace(NETWORK, weights=str(folder), width=16), classes)
    assert same(now, before, "backbone.") and same(now, before, "aux.")
    assert "the head starts anew, for its head is of another kind (head.reduce.0.weight" in capsys.readouterr().out
    started(DeepLabV2("test_resnet", 16, str(folder)), classes)
    assert "left out: its aux" in capsys.readouterr().out
    broken = {name: tensor.clone() for name, tensor in before.items()}
    broken["head.fuse.0.0.weight"][0] = torch.inf
    save_file(broken, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"not finite \(head\.fuse\.0\.0\.weight\)"):
        started(replace(NETWORK, weights=str(folder)), classes)


def test_a_run_that_has_not_ended_names_its_checkpoint(run):
    folder, _, _ = run
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no model\.safetensors, which it gets at its end: let it finish\."):
        build_backbone("test_resnet", 16, str(folder))
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "step_00000007-aa.pt").touch()
    with pytest.raises(UserError, match=r"or give .*step_00000007-aa\.pt, its last checkpoint"):
        build_backbone("test_resnet", 16, str(folder))


def test_mix_transformers_start_from_runs_too(run, tiny_recipe):
    pytest.importorskip("transformers")
    folder, _, classes = run
    model = DAFormer("mit_test", weights="none", width=8)
    (folder / "recipe.json").write_text(json.dumps(tiny_recipe(SourceOnly(), model=model).to_json()))
    before = model.build(19).state_dict()
    save_file(before, folder / "model.safetensors")
    assert same(started(replace(model, weights=str(folder)), classes), before, "")


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """A hub at a local port that nobody listens on, and an empty cache."""
    from huggingface_hub import constants

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(constants, "ENDPOINT", where)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", where + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return constants


def test_no_network_is_told_at_once(nobody):
    began = time.monotonic()
    with pytest.raises(UserError, match=r"'test_resnet' could not be fetched .*--model\.weights FILE.*HF_HOME"):
        DeepLabV2("test_resnet", 32).build(3)
    assert time.monotonic() - began < 10  # it was a minute of tries
    assert nobody.HF_HUB_OFFLINE is False and socket.getdefaulttimeout() is None


def test_no_network_and_weights_in_the_cache(nobody, tmp_path):
    repository = timm.models.get_pretrained_cfg("test_resnet").hf_hub_id
    place = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    (place / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(WHOLE, place / "snapshots" / ("0" * 40) / "model.safetensors")
    loaded = build_backbone("test_resnet", 16, "timm").state_dict()
    assert torch.equal(loaded["conv1.0.weight"], WHOLE["conv1.0.weight"])


def test_a_network_without_weights_in_timm():
    with pytest.raises(UserError, match=r"timm has no weights of backbone 'vovnet39a'\. Set --model\.weights none"):
        build_backbone("vovnet39a", 32, "timm")
