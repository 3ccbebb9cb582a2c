"""`da-toolkit predict`: masks, overlays and train ids of one's own images; what cannot be read is named, left out."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import da_toolkit as dt
from da_toolkit.commands import predict
from da_toolkit.data import Streets
from da_toolkit.errors import UserError
from da_toolkit.evaluation.evaluate import to_input
from da_toolkit.evaluation.prediction import Prediction
from da_toolkit.methods import SourceOnly
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of two steps."""
    from da_toolkit.models import DeepLabV2
    from da_toolkit.recipe import Evaluation, Recipe, Schedule, Stage

    size = {"size": (64, 96), "frames": 4, "val_frames": 2, "render_size": (64, 96)}
    recipe = Recipe(
        source=Streets(**size),
        target=Streets(look="camera", **size),
        model=DeepLabV2("test_resnet", output_stride=16, weights="none", aux=False, dilations=(1, 2)),
        method=SourceOnly(),
        schedule=Schedule((Stage("train", 2),)),
        batch_size=2,
        evaluation=Evaluation(validators=0),
    )
    session = Session("tiny", recipe, Runtime(runs=tmp_path_factory.mktemp("runs"), tracking="none", workers=0))
    session.run()
    return session.folder


def photo(path, height=50, width=70, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(image).save(path)
    return image


def call(run, *words):
    return predict.main([str(run), *map(str, words)], "predict")


def test_the_classes_are_those_that_the_network_decides_at_the_images_own_resolution(run, tmp_path):
    import torch

    from da_toolkit.data.transforms import resized

    image = photo(tmp_path / "photo.png")
    trained = dt.load_run(run)
    found = trained.predict(tmp_path / "photo.png")
    small = resized(image, (64, 96))
    with torch.inference_mode():
        logits = trained.network(to_input(small[None], torch.device("cpu"))).logits
    full = torch.nn.functional.interpolate(logits, size=(50, 70), mode="bilinear")
    assert found.classes.dtype == np.uint8 and (full.argmax(1)[0].numpy() == found.classes).all()
    assert (trained.predict(image).classes == found.classes).all()
    assert (trained.predict(Image.fromarray(image)).classes == found.classes).all()
    assert found.names[0] == "road" and len(found.palette) == len(found.names) == 19


def test_files_and_folders_are_written_under_their_names(run, tmp_path, capsys):
    image = photo(tmp_path / "in" / "a" / "one.png")
    photo(tmp_path / "in" / "two.JPG", 40, 60)
    photo(tmp_path / "three.jpeg")
    assert call(run, tmp_path / "in", tmp_path / "three.jpeg", "--output", tmp_path / "out") == 0
    written = sorted(str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.png"))
    names = ["a/one.png", "three.png", "two.png"]
    assert written == [f"{kind}/{name}" for kind in ("masks", "overlays", "train_ids") for name in names]
    ids = np.asarray(Image.open(tmp_path / "out" / "train_ids" / "a" / "one.png"))
    expected = dt.load_run(run).predict(image)
    assert (ids == expected.classes).all()
    assert (np.asarray(Image.open(tmp_path / "out" / "masks" / "a" / "one.png")) == expected.mask()).all()
    assert (np.asarray(Image.open(tmp_path / "out" / "overlays" / "a" / "one.png")) == expected.overlay(image)).all()
    assert "3 of 3 images predicted" in capsys.readouterr().out


def test_what_was_written_before_is_no_input_and_is_kept(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "a.png")
    assert call(run, ".") == 0
    assert "1 of 1 images predicted; " in capsys.readouterr().out
    assert call(run, ".") == 0
    assert "0 of 1 images predicted, 1 were there already" in capsys.readouterr().out
    with pytest.raises(UserError, match="predictions/masks holds predictions, of --output predictions"):
        call(run, "predictions/masks")


def test_a_stopped_call_goes_on_and_half_written_files_do_not_count(run, tmp_path, capsys):
    for name in ("a", "b", "c"):
        photo(tmp_path / "in" / f"{name}.png", seed=ord(name))
    out = tmp_path / "out"
    assert call(run, tmp_path / "in", "--output", out) == 0
    files = {file: file.read_bytes() for file in out.rglob("*.png")}
    (out / "masks" / "a.png").write_bytes(b"kept as it is")
    (out / "train_ids" / "b.png").unlink()
    (out / "train_ids" / "b.png.tmp").write_bytes(b"half of a fi")  # where a kill came
    capsys.readouterr()
    assert call(run, tmp_path / "in", "--output", out) == 0
    assert "1 of 3 images predicted, 2 were there already" in capsys.readouterr().out
    assert (out / "masks" / "a.png").read_bytes() == b"kept as it is"
    assert (out / "train_ids" / "b.png").read_bytes() == files[out / "train_ids" / "b.png"]
    assert not list(out.rglob("*.tmp"))
    assert call(run, tmp_path / "in", "--output", out, "--overwrite") == 0
    assert {file: file.read_bytes() for file in out.rglob("*.png")} == files


def test_predictions_of_two_runs_or_settings_are_not_mixed(run, tmp_path):
    photo(tmp_path / "a.png")
    words = [tmp_path / "a.png", "--output", tmp_path / "out"]
    assert call(run, *words) == 0
    with pytest.raises(UserError, match="made with another flip, which would be mixed"):
        call(run, *words, "--flip")
    assert call(run, *words, "--flip", "--overwrite") == 0
    (tmp_path / "out" / "predictions.json").write_text("{")
    with pytest.raises(UserError, match=r"predictions\.json is damaged"):
        call(run, *words)


def test_unreadable_files_are_named_and_left_out(run, tmp_path, capsys):
    photo(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    assert call(run, tmp_path / "in", "--output", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "left out:" in said.err and "bad.png" in said.err and "1 of 2 images predicted" in said.out
    assert (tmp_path / "out" / "masks" / "good.png").is_file()


def test_all_kinds_of_bad_input_are_left_out_and_the_rest_is_predicted(run, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "in"
    photo(folder / "good.png")
    photo(folder / "large.png", 300, 300)
    (folder / "empty.png").write_bytes(b"")
    (folder / "video.mp4").write_bytes(b"no video")
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(folder / "moves.webp", save_all=True, append_images=frames[1:])
    photo(folder / "twin.jpg")
    photo(folder / "twin.png")
    (folder / "link.png").symlink_to("nowhere.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40_000)
    assert call(run, folder, tmp_path / "missing.png", "--output", tmp_path / "out") == 1
    said = capsys.readouterr()
    for part in (
        "large.png is of absurd size: it has 90,000 pixels, and no more than 80,000 are read",
        "empty.png cannot be read as an image (it is empty",
        "video.mp4 holds no frames that can be read",
        "moves.webp holds 2 pictures where one is expected",
        "twin.png would be written as twin.png, as is",
        "link.png is a link to nowhere.png",
        "missing.png does not exist",
    ):
        assert part in said.err, part
    assert said.err.count("left out:") == len(said.err.strip().splitlines()) == 7
    assert "2 of 9 images predicted, 7 left out" in said.out
    assert {file.name for file in (tmp_path / "out" / "masks").iterdir()} == {"good.png", "twin.png"}


def test_mistakes_are_told_in_a_sentence(run, tmp_path):
    photo(tmp_path / "in" / "a.png")
    (tmp_path / "empty").mkdir()
    for words, said in (
        ([tmp_path / "nothing.png"], "nothing.png does not exist"),
        ([tmp_path / "empty"], "holds no images"),
        ([tmp_path / "*.gif"], "No file is called"),
        ([tmp_path / "in", "--output", tmp_path / "in"], "folder of the images themselves"),
        ([], "Nothing to predict"),
        ([tmp_path / "in", "--write"], "--write"),
        ([tmp_path / "in", "--size", "64", "96", "--own-size"], "pass one of them"),
        ([tmp_path / "in", "--devices", "0"], "--devices must be at least 1"),
        ([tmp_path / "in", "--batch-size", "0"], "batch_size must be at least 1"),
    ):
        with pytest.raises((UserError, SystemExit)) as ended:
            call(run, *words, *([] if "--output" in words else ["--output", tmp_path / "out"]))
        assert said in str(ended.value) or said == "--write"
    with pytest.raises(UserError, match="empty"):
        call(tmp_path / "empty", tmp_path / "in" / "a.png")
    (tmp_path / "file").write_text("in the way")
    photo(tmp_path / "b.png")
    with pytest.raises(UserError, match="--output"):
        call(run, tmp_path / "b.png", "--output", tmp_path / "file")


def test_weights_that_are_missing_or_anothers_are_told(run, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    photo(tmp_path / "a.png")
    own = load_file(run / "model.safetensors")
    head = [key for key in own if key.startswith("head.")]
    for name, change, said in (
        ("classes", {key: own[key][:11].contiguous() for key in head}, "decides between 11 classes, the recipe"),
        ("other", {"head.more": own[head[0]].clone()}, "1 unknown.*'head.more'"),
    ):
        folder = tmp_path / name
        shutil.copytree(run, folder)
        save_file(own | change, folder / "model.safetensors")
        with pytest.raises(UserError, match=said):
            call(folder, tmp_path / "a.png", "--output", tmp_path / "out")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be loaded"):
        call(folder, tmp_path / "a.png", "--output", tmp_path / "out")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        call(folder, tmp_path / "a.png", "--output", tmp_path / "out")


def test_a_list_on_standard_input_is_taken(run, tmp_path, monkeypatch, capsys):
    import io
    from types import SimpleNamespace

    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "a" / "x.png")
    photo(tmp_path / "b" / "x.png")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"a/x.png\n\nb/x.png\r\nb/none.png\n")))
    assert call(run, "-", "--write", "train_ids") == 1
    said = capsys.readouterr()
    assert "b/none.png does not exist" in said.err and "2 of 3 images predicted, 1 left out" in said.out
    assert sorted(tmp_path.glob("predictions/*/*/*.png")) == [
        tmp_path / f"predictions/train_ids/{name}/x.png" for name in "ab"
    ]


def test_two_processes_share_the_images_and_frames(run, tmp_path):
    import cv2

    for number in range(3):
        photo(tmp_path / "in" / f"{number}.png", seed=number)
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    video = cv2.VideoWriter(str(tmp_path / "in" / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    for number in range(5):
        video.write(np.full((48, 64, 3), 40 * number, np.uint8))
    video.release()
    words = [tmp_path / "in", "--write", "train_ids", "--output"]
    assert call(run, *words, tmp_path / "alone") == 1
    command = [sys.executable, "-m", "da_toolkit", "predict", run, *words, tmp_path / "both", "--devices", "2"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240)
    assert done.returncode == 1 and done.stderr.count("bad.png") == 1, done.stderr
    assert "8 of 9 images predicted, 1 left out" in done.stdout
    ids = [
        {file.relative_to(root): np.asarray(Image.open(file)) for file in root.rglob("*.png")}
        for root in (tmp_path / "alone", tmp_path / "both")
    ]
    assert len(ids[0]) == 8 and ids[0].keys() == ids[1].keys()
    assert all((ids[0][name] == ids[1][name]).mean() > 0.99 for name in ids[0])


def test_the_probabilities_belong_to_the_classes(run):
    image = np.random.default_rng(3).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    found = dt.load_run(run).predict(image)
    assert found.probabilities.shape == (19, 50, 70) and found.probabilities.dtype == np.float32
    assert np.abs(found.probabilities.sum(0) - 1).max() < 1e-5
    assert (found.probabilities.argmax(0) == found.classes).mean() > 0.999
    row, column = 20, 30
    single = found.probabilities[:, row, column].astype(np.float64)
    assert found.confidence[row, column] == pytest.approx(single.max())
    expected = -sum(p * np.log(p) for p in single) / np.log(19)
    assert found.entropy[row, column] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(UserError, match="classes alone"):
        _ = Prediction(found.classes, found.space).probabilities


def test_a_tensor_is_taken_as_the_array_that_it_stands_for(run):
    import torch

    trained = dt.load_run(run)
    image = np.random.default_rng(3).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    whole = torch.from_numpy(image).permute(2, 0, 1)
    for tensor in (whole, whole.float() / 255, (whole.double() / 255).requires_grad_()):
        assert (trained.predict(tensor).image == image).all()
    for tensor, said in (
        (whole[:1], "one RGB image"),
        (whole[None], "one RGB image"),
        (whole.float(), "holds 0..1; got 0 to 255"),
        (whole.float() * float("nan"), "holds 0..1"),
        (whole.int(), "uint8 0..255"),
    ):
        with pytest.raises(UserError, match=said):
            trained.predict(tensor)


def test_a_notebook_shows_image_and_classes(run):
    import io

    image = np.random.default_rng(3).integers(0, 256, (50, 200, 3)).astype(np.uint8)
    found = dt.load_run(run).predict(image)
    shown = np.asarray(Image.open(io.BytesIO(found._repr_png_())))
    assert shown.shape[1] > 2 * 200 and (shown.reshape(-1, 3) == found.palette[int(found.classes[0, 0])]).all(1).any()
    alone = np.asarray(Image.open(io.BytesIO(Prediction(found.classes, found.space)._repr_png_())))
    assert (alone == found.mask()).all()


def test_an_image_of_another_kind_is_refused(run):
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), 7):
        with pytest.raises(UserError, match="uint8 RGB array"):
            dt.load_run(run).predict(image)


def test_an_overlay_is_half_image_and_half_colour():
    space = Streets().label_space
    found = Prediction(np.array([[0, 10, 10]], np.uint8), space)
    image = np.full((1, 3, 3), 100, np.uint8)
    expected = [[(100 + value) // 2 for value in space.palette[index]] for index in (0, 10, 10)]
    assert found.overlay(image).tolist() == [expected]
    assert found.shares() == {"sky": pytest.approx(200 / 3), "road": pytest.approx(100 / 3)}
