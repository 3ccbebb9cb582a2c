"""`da-toolkit predict`: masks, overlays and train ids of one's own images; what cannot be read is named, left out."""

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


def test_what_was_written_before_is_no_input(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "a.png")
    for _ in range(2):
        assert call(run, ".") == 0
        assert "1 of 1 images predicted" in capsys.readouterr().out
    with pytest.raises(UserError, match="all images there lie in --output"):
        call(run, "predictions/masks")


def test_unreadable_files_are_named_and_left_out(run, tmp_path, capsys):
    photo(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    assert call(run, tmp_path / "in", "--output", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "left out:" in said.err and "bad.png" in said.err and "1 of 2 images predicted" in said.out
    assert (tmp_path / "out" / "masks" / "good.png").is_file()


def test_mistakes_are_told_in_a_sentence(run, tmp_path):
    photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "in" / "a.jpg")
    (tmp_path / "empty").mkdir()
    for words, said in (
        ([tmp_path / "nothing.png"], "nothing.png does not exist"),
        ([tmp_path / "empty"], "holds no images"),
        ([tmp_path / "in"], r"several images, such as a\.jpg, a\.png"),
        ([tmp_path / "in" / "a.png", tmp_path / "in" / "a.jpg"], r"would both be written as a\.png"),
        ([tmp_path / "in", "--output", tmp_path / "in"], "folder of the images themselves"),
        ([], "Nothing to predict"),
    ):
        with pytest.raises(UserError, match=said):
            call(run, *words)
    with pytest.raises(UserError, match="empty"):
        call(tmp_path / "empty", tmp_path / "in" / "a.png")
    (tmp_path / "file").write_text("in the way")
    photo(tmp_path / "b.png")
    with pytest.raises(UserError, match="--output"):
        call(run, tmp_path / "b.png", "--output", tmp_path / "file")


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
