"""What `prepare check` says of right data and of wrong data, question by question."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from da_toolkit.check import check_recipe, check_split
from da_toolkit.check.look import look_at
from da_toolkit.check.split import report_of
from da_toolkit.commands import prepare
from da_toolkit.data import CamVid, Carla, Cityscapes, Folder, Photographs, Streets
from da_toolkit.data.domain import DomainData
from da_toolkit.data.encodings import CITYSCAPES_ID_TO_TRAIN
from da_toolkit.data.labelled import require_labelled
from da_toolkit.data.labels import LabelSpace
from da_toolkit.errors import UserError
from da_toolkit.methods import Oracle, SourceOnly
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session

REAL = Path(__file__).parents[3] / "shared" / "data"


def make(tmp_path):
    for folder, array in (("val", np.full((4, 6, 3), 9)), ("valannot", np.full((4, 6), 3))):
        (tmp_path / folder).mkdir(parents=True)
        for name in "abc":
            Image.fromarray(array.astype(np.uint8)).save(tmp_path / folder / f"{name}.png")
    return CamVid(root=tmp_path)


def test_counts_pixels_and_sizes(tmp_path):
    report = check_split(make(tmp_path).build("val"))
    assert report.images == 3 and report.sizes == {(4, 6): 3} and not report.problems
    assert report.pixels["road"] == 72 and report.pixels["sky"] == 0
    assert any("never occurs" in line for line in report.lines())


def test_collects_every_problem_instead_of_stopping(tmp_path):
    domain = make(tmp_path)
    (tmp_path / "val" / "a.png").write_bytes(b"no image")
    Image.fromarray(np.full((4, 6), 99, np.uint8)).save(tmp_path / "valannot" / "b.png")
    report = check_split(domain.build("val"))
    assert any("a.png cannot be read" in problem for problem in report.problems)
    assert any("b.png holds id 99" in problem for problem in report.problems)
    assert report.pixels["road"] == 24


def test_unasked_labels_are_not_opened(tmp_path):
    domain = make(tmp_path)
    Image.fromarray(np.full((4, 6), 99, np.uint8)).save(tmp_path / "valannot" / "b.png")
    report = check_split(domain.build("val"), with_labels=False)
    assert not report.problems and not report.pixels


def kinds(report, level="problem"):
    return [finding.kind for finding in report.findings if finding.level == level]


class Paired(DomainData):
    """A domain whose labels are changed, or another image's."""

    def __init__(self, data, change=lambda label: label, whose=lambda index: index):
        super().__init__(data.name, data.split, data.label_space, True)
        self.data, self.change, self.whose = data, change, whose

    def __len__(self):
        return len(self.data)

    def key(self, index):
        return self.data.key(index)

    def image(self, index):
        return self.data.image(index)

    def label(self, index):
        return self.change(self.data.label(self.whose(index)))


@pytest.fixture(scope="module")
def town():
    return Streets(frames=24, val_frames=8, look="camera", render_size=(64, 128)).build("train")


def moved(down, right):
    return lambda label: np.roll(label, (round(down * label.shape[0]), round(right * label.shape[1])), (0, 1))


MISFITS = [
    ({"change": lambda label: label[:, ::-1]}, "mirrored left to right"),
    ({"change": lambda label: label[::-1]}, "turned upside down"),
    ({"change": lambda label: label[::-1, ::-1]}, "turned by 180 degrees"),
    ({"change": moved(0, 0.08)}, "moved by -8 % of the width and +0 % of the height"),
    ({"change": moved(-0.125, -0.0625)}, "moved by +6 % of the width and +12 % of the height"),
    ({"whose": lambda index: (index + 1) % 24}, "label of the previous one: the numbering is off by one"),
    ({"whose": lambda index: (index - 1) % 24}, "label of the next one: the numbering is off by one"),
    ({"whose": lambda index: (7 * index + 3) % 24}, "no better than labels of other images"),
]


@pytest.mark.parametrize(("how", "told"), MISFITS)
def test_labels_that_do_not_fit_their_images_are_a_problem(town, how, told):
    report = check_split(Paired(town, **how))
    assert kinds(report) == ["fit"] and told in report.problems[0]


def test_labels_that_fit_are_none(town):
    assert kinds(check_split(Paired(town))) == []
    coarse = check_split(Paired(town, lambda label: np.where(label < 3, 0, 1).astype(np.uint8)))
    assert kinds(coarse) == []


def test_a_few_misfits_are_named(town):
    report = check_split(Paired(town, whose=lambda index: index if index % 4 else (index + 9) % 24))
    assert kinds(report) == [] and kinds(report, "warning") == ["single_misfits"]
    named = report.warnings[0].split(": ")[1].split(" and ")[0].rstrip(".").split(", ")
    assert len(named) == 3 and {int(name[-2:]) % 4 for name in named} == {0}


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data (shared/data) is not on this machine")
def test_real_pairs_are_told_from_wrong_ones():
    class First(Paired):
        def __len__(self):
            return 24

    small = Folder(root=REAL / "carla2cityscapes" / "cityscapes_256x128").build("val")
    carla = Carla().build("train", REAL / "carla2camvid")
    for data in (small, carla, CamVid().build("train", REAL / "carla2camvid")):
        assert kinds(check_split(First(data))) == []
        for how, told in MISFITS[:6]:
            report = check_split(First(data, **how))
            assert kinds(report) == ["fit"] and (told in report.problems[0] or "off by one" not in told)


def camvid(tmp_path, ids, split="val", images=None):
    """CamVid from arrays of ids; images are noise, each another."""
    for number, array in enumerate(ids):
        array = np.asarray(array, np.uint8)
        noise = np.random.default_rng((number, len(split))).integers(60, 200, (*array.shape, 3)).astype(np.uint8)
        for folder, content in ((split, noise if images is None else images[number]), (f"{split}annot", array)):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(tmp_path / folder / f"{number}.png")
    return CamVid(root=tmp_path, size=(8, 12))


def cityscapes(tmp_path, ids, split="val"):
    for number, array in enumerate(ids):
        name = f"ulm/ulm_{number:06d}_000019"
        noise = np.random.default_rng((number, len(split))).integers(60, 200, (*array.shape, 3)).astype(np.uint8)
        for file, content in (
            (f"leftImg8bit/{split}/{name}_leftImg8bit.png", noise),
            (f"gtFine/{split}/{name}_gtFine_labelIds.png", np.asarray(array, np.uint8)),
        ):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(tmp_path / file)
    return Cityscapes(root=tmp_path, size=(8, 16)).build(split)


def test_train_ids_where_label_ids_belong(tmp_path):
    streets = Streets(frames=6, render_size=(32, 64)).build("train")
    train = [streets.label(index) for index in range(6)]
    raw = np.array([*CITYSCAPES_ID_TO_TRAIN, *[4] * 237], np.uint8)  # train id -> label id
    assert "train_ids" not in kinds(check_split(cityscapes(tmp_path / "right", [raw[ids] for ids in train])))
    wrong = check_split(cityscapes(tmp_path / "wrong", train))
    assert "train_ids" in kinds(wrong) and "6 of 6 sampled label files hold train ids" in wrong.problems[0]
    mixed = check_split(cityscapes(tmp_path / "mixed", [*[raw[ids] for ids in train[:4]], *train[4:]]))
    assert "2 of 6 sampled label files hold train ids" in mixed.problems[0]
    plain = check_split(cityscapes(tmp_path / "plain", [np.full((8, 16), 7), np.full((8, 16), 11)]))
    assert "train_ids" not in kinds(plain)  # road and building alone are small numbers, too


def test_label_ids_where_train_ids_belong(tmp_path):
    for split, ids, kind in (
        ("a", [[7, 26, 23, 4]], "label_ids"),
        ("b", [[0, 5, 19, 1]], "ids_from_one"),
        ("c", [[0, 5, 18, 255]], None),
    ):
        for folder, array in (("images", np.zeros((1, 4, 3))), ("labels", ids)):
            (tmp_path / split / folder).mkdir(parents=True)
            Image.fromarray(np.array(array, np.uint8)).save(tmp_path / split / folder / "x.png")
        found = kinds(check_split(Folder(root=tmp_path).build(split)))
        assert found == (["unreadable", kind] if kind else [])


def test_black_and_white_masks(tmp_path):
    mask = np.where(np.arange(96).reshape(8, 12) % 5 == 0, 255, 0)
    assert kinds(check_split(camvid(tmp_path, [mask]).build("val"))) == ["mask"]
    one = LabelSpace("one", ("sky",))
    assert kinds(check_split(CamVid(root=tmp_path, labels=one).build("val"))) == []  # 0 = the class, 255 = ignored


def test_nothing_labelled_and_single_empty_labels(tmp_path):
    nothing, road = np.full((8, 12), 11), np.full((8, 12), 3)
    assert kinds(check_split(camvid(tmp_path / "all", [nothing] * 3).build("val"))) == ["nothing_labelled"]
    some = check_split(camvid(tmp_path / "some", [nothing, road, road]).build("val"))
    assert kinds(some) == [] and "1 of 3 labels are ignored everywhere: 0." in some.warnings


def test_unusual_shares_of_ignored_pixels(tmp_path):
    half = np.where(np.arange(96).reshape(8, 12) % 2, 11, 3)
    domain = camvid(tmp_path, [half] * 2)
    look = look_at(domain.build("val"), True)
    told = [text for text in report_of(domain.build("val"), look, domain).warnings if "ignored" in text]
    assert told == [
        "50 % of the pixels are ignored, and 2 % are usual for this data set: are the ids, and the classes that they "
        "mean, the right ones?"
    ]
    narrow = CamVid(root=tmp_path, size=(8, 12), labels=LabelSpace("way", ("road",)))  # the rest is left out on purpose
    assert not any("ignored" in text for text in report_of(narrow.build("val"), look, narrow).warnings)


def test_constant_dark_and_copied_images(tmp_path):
    road = np.full((8, 12), 3)
    flat, noise = np.full((8, 12, 3), 9, np.uint8), np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)
    report = check_split(camvid(tmp_path / "a", [road] * 4, images=[flat, flat, noise, noise]).build("val"))
    assert kinds(report, "warning")[:2] == ["constant_images", "copies"]
    assert "2 of 4 images show one value only: 0, 1." in report.warnings
    assert "1 of 4 images are copies of others, such as 2, 3." in report.warnings
    scaled = [image // 32 for image in (noise, noise[::-1])]  # 0..7: never scaled to 255
    assert "dark" in kinds(check_split(camvid(tmp_path / "b", [road] * 2, images=scaled).build("val")), "warning")


def test_missing_labels_are_counted_and_the_first_named(tmp_path):
    data = camvid(tmp_path, [np.full((8, 12), 3)] * 6).build("val")
    for number in (1, 2, 3, 5):
        (tmp_path / "valannot" / f"{number}.png").unlink()
    report = check_split(data)
    assert kinds(report) == ["missing_labels"]
    assert report.problems[0].startswith("4 of 6 images have no label file: 1, 2, 3 and 1 more. Restore")


def recipe_of(tiny_recipe, tmp_path, method=None, **paths):
    source = CamVid(root=tmp_path / "source", size=(8, 12))
    return tiny_recipe(method or SourceOnly(), source=source, target=CamVid(root=tmp_path / "target", size=(8, 12)))


def test_copies_of_training_images_in_val_and_untaught_classes(tmp_path, tiny_recipe):
    road, both = np.full((8, 12), 3), np.where(np.arange(96).reshape(8, 12) % 3, 3, 9)
    noise = [np.random.default_rng(number).integers(30, 220, (8, 12, 3)).astype(np.uint8) for number in range(4)]
    camvid(tmp_path / "source", [road] * 2, "train", noise[2:])
    camvid(tmp_path / "target", [road] * 2, "train", noise[:2])
    camvid(tmp_path / "target", [both] * 2, "val", [noise[1], np.clip(noise[0] + 1, 0, 255).astype(np.uint8)])
    reports = check_recipe(recipe_of(tiny_recipe, tmp_path), None)
    assert [report.name for report in reports[:3]] == ["CamVid train", "CamVid train", "CamVid val"]
    together = reports[-1]
    assert (
        kinds(together) == ["train_in_val"]
        and "1 of 2 val images are training images too (0 = 1)" in together.problems[0]
    )
    assert "nearly_train_in_val" in kinds(together, "warning") and "1 ~ 0" in together.warnings[0]
    assert any(text.startswith("pedestrian: in the labels of target val but never") for text in together.warnings)


def test_domains_of_other_brightness_and_shape(tmp_path, tiny_recipe):
    noise = np.random.default_rng(0).integers(0, 40, (8, 24, 3)).astype(np.uint8)
    camvid(tmp_path / "source", [np.full((8, 24), 3)], "train", [noise])
    for split in ("train", "val"):
        camvid(tmp_path / "target", [np.full((8, 12), 3)], split)
    together = check_recipe(recipe_of(tiny_recipe, tmp_path), None)[-1]
    assert kinds(together, "warning") == ["brightness", "shape"]
    assert "mean brightness of 21 and the target of 127" in together.warnings[0]
    assert "3.00 wide for 1 high and target images 1.50" in together.warnings[1]


def test_cameras_that_look_otherwise(tmp_path, tiny_recipe):
    def horizon(at):
        return np.where(np.arange(20)[:, None] < at, 0, 3) * np.ones((1, 30), int)

    for high, expected in ((9, "fact"), (2, "warning")):
        root = tmp_path / expected
        camvid(root / "source", [horizon(14)] * 2, "train") if high == 2 else camvid(
            root / "source", [horizon(10)], "train"
        )
        for split in ("train", "val"):
            camvid(root / "target", [horizon(high)], split)
        together = check_recipe(recipe_of(tiny_recipe, root), None)[-1]
        assert "view" in kinds(together, expected)


def test_target_training_labels_stay_closed_unless_the_method_reads_them(tmp_path, tiny_recipe):
    for place, split in (("source", "train"), ("target", "train"), ("target", "val")):
        camvid(tmp_path / place, [np.full((8, 12), 3)], split)
    (tmp_path / "target" / "trainannot" / "0.png").write_bytes(b"no label")
    assert not any(report.problems for report in check_recipe(recipe_of(tiny_recipe, tmp_path), None))
    seen = check_recipe(recipe_of(tiny_recipe, tmp_path, Oracle()), None)
    assert kinds(seen[1]) == ["unreadable"] and not seen[1].pixels["road"]


def test_the_command_judges_in_text_in_json_and_in_a_picture(tmp_path, monkeypatch, capsys):
    def call(*words):
        return prepare.main(["check", *words], "prepare")

    for place, split in (("carla", "train"), ("camvid", "train"), ("camvid", "val")):
        camvid(tmp_path / place, [np.full((90, 120), 3)] * 2, split)
    for new, old in (("CameraRGB", "train"), ("CameraSeg", "trainannot")):
        (tmp_path / "carla" / old).rename(tmp_path / "carla" / new)
    words = "adaptseg_camvid", "--data-root", str(tmp_path)
    assert call(*words, "--json", "--picture", str(tmp_path / "look.png")) == 1
    told = json.loads(capsys.readouterr().out)
    assert [report["name"] for report in told][::3] == ["Carla train", "source and target together"]
    problems = [found for report in told for found in report["findings"] if found["level"] == "problem"]
    assert [found["kind"] for found in problems] == ["nothing_labelled"]  # 3 is "other" in CARLA
    assert problems[0] in told[0]["findings"]
    assert Image.open(tmp_path / "look.png").width > 800
    for file in (tmp_path / "camvid" / "valannot").iterdir():
        Image.fromarray(np.full((90, 120), 77, np.uint8)).save(file)
    assert call(*words) == 1
    text = capsys.readouterr().out
    assert text.count("problem: The label") == 2 and "holds id 77" in text
    with pytest.raises(UserError, match=r"look\.png cannot be written"):
        call(*words, "--picture", str(tmp_path / "look.png" / "look.png"))


def test_the_picture_shows_an_image_that_can_be_read_and_tells_what_it_leaves_out(tmp_path, tiny_recipe):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in range(6):
        Image.fromarray(np.full((60, 90, 3), 200, np.uint8)).save(photos / f"{name}.jpg", quality=95)
    for name in range(5):
        file = photos / f"{name}.jpg"
        file.write_bytes(file.read_bytes()[:-200])
    recipe = dataclasses.replace(
        tiny_recipe(SourceOnly()), target=Photographs(root=photos, size=(64, 96), stand_in=Streets(val_frames=1))
    )
    for attempt in range(4):  # one is chosen at random
        together = check_recipe(recipe, None, tmp_path / f"look{attempt}.png")[-1]
        told = " ".join(finding.text for finding in together.findings if finding.kind == "picture")
        assert "target train 5" in told and "target train: 0, 1, 2 and 2 more left out of the picture" in told
        assert together.warnings == []
    (photos / "5.jpg").write_bytes(b"")
    together = check_recipe(recipe, None, tmp_path / "look.png")[-1]
    told = " ".join(finding.text for finding in together.findings if finding.kind == "picture")
    assert "0, 1, 2 and 3 more left out" in told and "(nothing is left)" in told and "source train " in told


@pytest.mark.parametrize("place", ["source", "target"])
def test_a_run_without_any_label_stops_before_it_starts(tmp_path, tiny_recipe, place):
    nothing, road = np.full((8, 12), 11), np.full((8, 12), 3)
    for where, split, used in (("source", "train", place == "source"), ("target", "val", place == "target")):
        camvid(tmp_path / where, [nothing if used else road] * 3, split)
    camvid(tmp_path / "target", [nothing] * 3, "train")  # may be: nobody opens them
    session = Session("r", recipe_of(tiny_recipe, tmp_path), Runtime(runs=tmp_path / "runs"))
    purpose = "to train on" if place == "source" else "to score against"
    with pytest.raises(UserError, match=f"in 3 of 3 labels, evenly spread, every pixel is ignored.*nothing {purpose}"):
        session.open_data()


def test_one_labelled_pixel_is_enough_and_unreadable_labels_are_left_to_the_loader(tmp_path):
    labels = [np.full((8, 12), 11)] * 30
    labels[29] = np.where(np.arange(96).reshape(8, 12) == 95, 3, 11)
    data = camvid(tmp_path, labels).build("val")
    require_labelled(data, "to train on")
    with pytest.raises(UserError, match="in 7 of 7 labels"):
        require_labelled(data, "to score against", first=7)
    for file in (tmp_path / "valannot").iterdir():
        file.write_bytes(b"damaged")
    require_labelled(data, "to train on")


def test_labels_that_are_all_alike_are_not_called_shuffled(tmp_path):
    """Of a camera that stands still: every label is the others' too, and fits its image."""
    layout = np.zeros((64, 96), np.uint8)
    layout[30:] = 1
    layout[10:40, 20:40] = 2
    layout[35:60, 60:80] = 3
    colors = np.array([[30, 60, 90], [200, 180, 150], [90, 20, 200], [10, 220, 40]])
    noise = np.random.default_rng(0)
    images = [(colors[layout] + noise.integers(-20, 20, (64, 96, 3))).clip(0, 255).astype(np.uint8) for _ in range(16)]
    report = check_split(camvid(tmp_path, [layout] * 16, images=images).build("val"))
    assert not report.problems and "fit" in kinds(report, "fact")
