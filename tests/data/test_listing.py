"""Which files are images and which label is whose: odd names, places and links, in every domain's layout."""

import dataclasses
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from da_toolkit.check import check_split
from da_toolkit.data import (
    ACDC,
    BDD100K,
    GTA5,
    IDD,
    CamVid,
    Carla,
    Cityscapes,
    DarkZurich,
    Domain,
    Folder,
    MapillaryVistas,
    Synscapes,
    Synthia,
    UrbanSyn,
)
from da_toolkit.data.listing import LABEL_ENDINGS, SUFFIXES, images_in, own_names, paired
from da_toolkit.errors import UserError

LOSSLESS = (".png", ".tif", ".TIFF", ".bmp", ".PNG")


def write(path, value=0, colors=False):
    """A file of one value; its ending may be in upper case, which Pillow does not mind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((2, 3, 3) if colors else (2, 3), value, np.uint8)).save(path)
    return path


def image(path):
    return write(path, 90, colors=True)


def listed(root, images, labels, split="train"):
    """A Folder's data of the images and labels named, the n-th label filled with n."""
    for name in images:
        image(root / split / "images" / name)
    for number, name in enumerate(labels):
        write(root / split / "labels" / name, number)
    return Folder(root=root).build(split)


def owners(data):
    """key -> first id of its label, or none."""
    return {data.key(i): int(data.label(i)[0, 0]) if data.pairs[i].label else None for i in range(len(data))}


JUNK = ("._a.png", ".hidden.jpg", "Thumbs.db", "desktop.ini", ".DS_Store", "__MACOSX/a.png", "@eaDir/a.png/SYNO.jpg")


@pytest.mark.parametrize("junk", [*JUNK, ".ipynb_checkpoints/a-checkpoint.png", "._folder/b.png"])
def test_what_systems_leave_in_folders_is_no_data(tmp_path, junk):
    for kind in ("images", "labels"):
        file = tmp_path / "train" / kind / junk
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert owners(listed(tmp_path, ["a.png", "b.png"], ["a.png", "b.png"])) == {"a": 0, "b": 1}


@pytest.mark.parametrize("end", [".png", ".PNG", ".jpg", ".JPG", ".JPEG", ".tif", ".TIFF", ".webp", ".WEBP", ".BMP"])
def test_images_of_every_ending_are_found(tmp_path, end):
    data = listed(tmp_path, [f"a{end}"], ["a.png"])
    assert owners(data) == {"a": 0} and data.image(0).shape == (2, 3, 3)


@pytest.mark.parametrize("end", LOSSLESS)
def test_a_labels_ending_may_be_another_than_its_images(tmp_path, end):
    assert owners(listed(tmp_path, ["a.jpg", "b.jpg"], [f"a{end}", f"b{end}"])) == {"a": 0, "b": 1}


def test_a_jpeg_label_is_found_and_its_loss_is_told(tmp_path):
    data = listed(tmp_path, ["a.png"], ["a.jpg"])
    with pytest.raises(UserError, match=r"labels/a\.jpg is a JPEG"):
        data.label(0)


@pytest.mark.parametrize(
    ("picture", "label"),
    [
        *((f"x 1.{end}", f"x 1{ending}.png") for end, ending in zip(["jpg", "png"] * 5, LABEL_ENDINGS, strict=False)),
        ("ulm_1_leftImg8bit.png", "ulm_1_gtFine_labelTrainIds.png"),
        ("s_rgb.png", "s_seg.png"),
        ("a.b.c.png", "a.b.c_mask.tif"),
        ("seq/deep/0001.png", "seq/deep/0001_label.png"),
        ("seq/0001.png", "0001.png"),
        ("0001.png", "seq/0001_gt.png"),
        ("stra\u00dfe \u00e9.png", "stra\u00dfe e\u0301_label.png"),  # as macOS spells it
    ],
)
def test_names_that_people_give_labels_are_understood(tmp_path, picture, label):
    assert list(owners(listed(tmp_path, [picture, "other.png"], ["other.png", label])).values()).count(1) == 1


def test_the_images_own_name_is_surer_than_one_with_an_ending(tmp_path):
    with pytest.warns(UserWarning, match=r"1 files in \S+labels are no image's label .* such as a_mask\.png"):
        assert owners(listed(tmp_path, ["a.png"], ["a.png", "a_mask.png"])) == {"a": 0}


def test_a_label_called_as_one_image_is_no_other_images(tmp_path):
    data = listed(tmp_path, ["a.png", "a_rgb.png", "b.png", "b_mask.png"], ["a.png", "b_mask.png"])
    assert owners(data) == {"a": 0, "a_rgb": None, "b": None, "b_mask": 1}


def test_numbers_that_begin_anew_in_every_folder_keep_their_own_labels(tmp_path):
    names = ["s1/0.png", "s2/0.png"]
    assert owners(listed(tmp_path, names, names)) == {"s1/0": 0, "s2/0": 1}
    flat = listed(tmp_path / "flat", names, ["0.png"])  # whose would it be?
    assert owners(flat) == {"s1/0": None, "s2/0": None}
    assert "2 of 2 images have no label" in flat.unlabelled and "there are 1 files: 0.png" in flat.unlabelled


def test_two_images_of_one_name_are_told(tmp_path):
    with pytest.raises(UserError, match=r"1 names stand for several images, such as b\.jpg, b\.png\. Keep one"):
        listed(tmp_path, ["a.png", "b.jpg", "b.png"], ["a.png", "b.png"])


def test_two_labels_of_one_image_are_told_where_they_are_needed_and_otherwise_not_taken(tmp_path):
    data = listed(tmp_path, ["a.png", "b.png"], ["a.png", "b.tif", "b.png"])
    assert owners(data) == {"a": 0, "b": None} and not data.has_labels
    assert "1 of 2 images have several labels, such as b.png, b.tif in" in data.unlabelled
    with pytest.raises(UserError, match=r"several labels, such as b\.png, b\.tif"):
        listed(tmp_path, ["a.png", "b.png"], ["a.png", "b.tif", "b.png"], split="val")


@pytest.mark.parametrize("labels", [["a.png"], []])
def test_training_labels_may_be_missing_partly_or_at_all_and_validation_labels_not(tmp_path, labels):
    (tmp_path / "train/labels").mkdir(parents=True)
    data = listed(tmp_path, ["a.png", "b.png"], labels)
    assert not data.has_labels and len(data) == 2 and data.image(1).shape == (2, 3, 3)
    told = f"{2 - len(labels)} of 2 images have no label"
    assert told in data.unlabelled and ("it is empty" in data.unlabelled) == (not labels)
    report = check_split(data, with_labels=False)
    assert not report.problems and not report.labelled and told in report.unlabelled
    (tmp_path / "val/labels").mkdir(parents=True)
    with pytest.raises(UserError, match=told):
        listed(tmp_path, ["a.png", "b.png"], labels, split="val")


def test_labels_that_may_not_even_be_listed_do_not_matter_where_nobody_reads_them(tmp_path, monkeypatch):
    listed(tmp_path, ["a.png"], ["a.png"])
    scan = os.scandir

    def guarded(folder):
        if Path(folder).name == "labels":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    data = Folder(root=tmp_path).build("train")
    assert not data.has_labels and "labels cannot be listed (Permission denied)" in data.unlabelled


def test_labels_without_images_are_told_and_left_out(tmp_path):
    with pytest.warns(
        UserWarning, match=r"2 files in \S+labels are no image's label and are left out, such as b.png, c.tif"
    ):
        assert owners(listed(tmp_path, ["a.png"], ["a.png", "b.png", "c.tif"])) == {"a": 0}


def test_links_are_followed_also_in_circles_and_to_nowhere(tmp_path):
    real = image(tmp_path / "elsewhere/seq/a.png")
    write(tmp_path / "labels elsewhere/a.png", 3)
    folder = tmp_path / "train/images"
    folder.mkdir(parents=True)
    (folder / "seq").symlink_to(real.parent)
    (folder / "again").symlink_to(folder)
    (folder / "up").symlink_to(tmp_path / "train")  # the labels are no images
    (folder / "b.png").symlink_to(real)
    (folder / "c.png").symlink_to(tmp_path / "gone.png")
    (folder / "d.png").symlink_to(folder / "d.png")
    (tmp_path / "train/labels").symlink_to(tmp_path / "labels elsewhere")
    (tmp_path / "labels elsewhere/b.png").symlink_to(tmp_path / "lost.png")
    data = Folder(root=tmp_path).build("train")
    assert owners(data) == {"b": None, "c": None, "d": None, "seq/a": 3}
    assert f"b.png (a link to {tmp_path}/lost.png, which does not exist)" in data.unlabelled
    with pytest.raises(UserError, match=r"c\.png is a link to \S+gone\.png, which does not exist"):
        data.image(1)
    with pytest.raises(UserError, match=r"d\.png cannot be opened \(Too many levels of symbolic links\)"):
        data.image(2)


def test_a_pipe_called_like_an_image_is_not_opened(tmp_path):
    listed(tmp_path, ["a.png"], ["a.png"])
    os.mkfifo(tmp_path / "train/images/b.png")
    assert list(owners(Folder(root=tmp_path).build("train"))) == ["a"]


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (["a.gif", "b.npy"], "there are 2 files: a.gif, b.npy"),
        ([".a.png"], "there are only .a.png"),
        ([], "it is empty"),
    ],
)
def test_a_folder_without_images_is_told_with_what_it_holds(tmp_path, there, told):
    (tmp_path / "images").mkdir()
    for name in there:
        (tmp_path / "images" / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"GTA5: the folder \S+images holds no images") as error:
        GTA5(root=tmp_path).build("train")
    assert told in str(error.value)


# The layouts of the README


@pytest.fixture
def cityscapes(tmp_path):
    """Function: a Cityscapes of one frame, whose image and label files are called as told."""

    def make(picture, label="ulm_000001_000019_gtFine_labelIds.png", split="val", folder="leftImg8bit", gt="gtFine"):
        for name in picture if isinstance(picture, list) else [picture]:
            image(tmp_path / folder / split / "ulm" / name)
        if label:
            write(tmp_path / gt / split / "ulm" / label, 26)
        return Cityscapes(root=tmp_path)

    return make


@pytest.mark.parametrize(
    "picture",
    [
        *(
            "ulm_000001_000019_leftImg8bit.png",
            "ulm_000001_000019_leftImg8bit.jpg",
            "ulm_000001_000019_leftImg8bit.PNG",
        ),
        "ulm_000001_000019_leftImg8bit_foggy_beta_0.02.png",
        "ulm_000001_000019_leftImg8bit_rain_alpha_0.01_beta_0.005_dropsize_0.002_pattern_1.png",
    ],
)
def test_cityscapes_in_other_weather_and_containers_is_taken(cityscapes, picture):
    data = cityscapes(picture).build("val")
    assert (data.label(0) == 13).all() and data.key(0).startswith("ulm_000001_000019")


def test_three_fogs_share_a_label_and_have_names_of_their_own(cityscapes):
    fogs = [f"ulm_000001_000019_leftImg8bit_foggy_beta_{beta}.png" for beta in ("0.005", "0.01", "0.02")]
    data = cityscapes(fogs).build("val")
    assert len({data.key(i) for i in range(3)}) == 3 and len({pair.label for pair in data.pairs}) == 1


def test_cityscapes_tells_what_it_found_instead(cityscapes, tmp_path):
    domain = cityscapes("ulm_000001_000019.png")
    with pytest.raises(
        UserError, match=r"no images called \*_leftImg8bit\* .* there are 1 files: ulm/ulm_000001_000019\.png"
    ):
        domain.build("val")
    domain = cityscapes("ulm_000001_000019_leftImg8bit.png", "ulm_000001_000019_gtFine_labelTrainIds.png", "train")
    assert not domain.build("train").has_labels
    why = domain.build("train").unlabelled
    assert "missing: " in why and "ulm_000001_000019_gtFine_labelIds.png" in why
    assert "there are 1 files: ulm/ulm_000001_000019_gtFine_labelTrainIds.png" in why


def test_a_missing_folder_is_told_with_what_lies_there(cityscapes):
    domain = cityscapes("a_leftImg8bit_foggy_beta_0.02.png", folder="leftImg8bit_foggy", gt="gtCoarse")
    with pytest.raises(UserError, match=r"leftImg8bit/val does not exist \(\S+ holds gtCoarse, leftImg8bit_foggy\)"):
        domain.build("val")
    cityscapes("ulm_000001_000019_leftImg8bit.png", None)
    assert "gtFine/val, does not exist" in domain.build("val").unlabelled
    assert "holds gtCoarse, leftImg8bit, leftImg8bit_foggy" in domain.build("val").unlabelled


def test_cityscapes_other_files_are_left_alone(cityscapes, tmp_path):
    domain = cityscapes("ulm_000001_000019_leftImg8bit.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("color", "instanceIds", "labelTrainIds"):
            write(tmp_path / f"gtFine/val/ulm/ulm_000001_000019_gtFine_{name}.png", 1)
        (tmp_path / "gtFine/val/ulm/ulm_000001_000019_gtFine_polygons.json").write_text("{}")
        assert (domain.build("val").label(0) == 13).all()


@pytest.mark.parametrize(
    ("domain", "images", "labels", "raw", "train_id"),
    [
        (GTA5, "images", "labels", 26, 13),
        (Carla, "CameraRGB", "CameraSeg", 7, 3),
        (CamVid, "train", "trainannot", 3, 3),
        (BDD100K, "images/10k/train", "labels/sem_seg/masks/train", 13, 13),
        (Synscapes, "img/rgb", "img/class", 26, 13),
    ],
)
def test_every_layout_takes_other_endings_folders_and_names(tmp_path, domain, images, labels, raw, train_id):
    image(tmp_path / images / "part 1" / "00007.JPG")
    write(tmp_path / labels / "00007_label.TIF", raw)
    (tmp_path / images / "._00007.JPG").write_bytes(b"\0")
    data = domain(root=tmp_path).build("train")
    assert len(data) == 1 and (data.label(0) == train_id).all()
    (tmp_path / labels / "00007_label.TIF").unlink()
    missing = domain(root=tmp_path).build("train")
    assert not missing.has_labels and "1 of 1 images have no label" in missing.unlabelled


@pytest.mark.parametrize(
    ("domain", "picture", "label", "raw"),
    [
        (IDD(), "leftImg8bit/train/7/frame9_leftImg8bit.JPG", "gtFine/train/7/frame9_gtFine_labellevel3Ids.TIF", 9),
        (
            *(ACDC(conditions=("fog",)), "rgb_anon/fog/train/G/f_rgb_anon.JPG"),
            *("gt/fog/train/G/f_gt_labelIds.TIF", 26),
        ),
        (DarkZurich(), "rgb_anon/train/night/G/f_rgb_anon.JPG", "gt/train/night/G/f_gt_labelIds.TIF", 26),
        (MapillaryVistas(), "training/images/a/x.JPEG", "training/v1.2/labels/x.PNG", 1),
        (UrbanSyn(), "rgb/part/rgb_0001.PNG", "ss/ss_0001.TIF", 13),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Domain) else "",
)
def test_every_layout_of_its_own_names_takes_other_endings_and_tells_what_is_missing(
    tmp_path, domain, picture, label, raw
):
    image(tmp_path / picture)
    write(tmp_path / label, raw)
    (tmp_path / "config_v1.2.json").write_text(
        '{"labels": [{"name": "nature--sky"}, {"name": "object--vehicle--car"}]}'
    )
    domain = dataclasses.replace(domain, root=tmp_path)
    data = domain.build("train")
    assert len(data) == 1 and (data.label(0) == 13).all()
    (tmp_path / label).rename((tmp_path / label).with_name("another.png"))
    missing = domain.build("train")
    assert not missing.has_labels and "1 of 1 images have no label; missing: " in missing.unlabelled
    assert f"{(tmp_path / label).with_suffix('.png').name}; there are 1 files: " in missing.unlabelled.replace(
        "a/x", "x"
    )


def test_synthias_labels_are_found_in_folders_too(tmp_path):
    import cv2

    image(tmp_path / "RGB/a/0000001.png")
    (tmp_path / "GT/LABELS/a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "GT/LABELS/a/0000001.PNG"), np.full((2, 3, 3), 3, np.uint16))
    data = Synthia(root=tmp_path).build("train")
    assert (data.label(0) == 0).all() and data.key(0) == "a/0000001"
    for broken in (b"", b"x", (tmp_path / "GT/LABELS/a/0000001.PNG").read_bytes()[:-14]):
        (tmp_path / "GT/LABELS/a/0000001.PNG").write_bytes(broken)
        with pytest.raises(UserError, match=r"0000001\.PNG cannot be read"):
            data.label(0)


def test_gta5_knows_its_frames_in_folders_too(tmp_path):
    for name in ("a/15188", "a/20805"):
        image(tmp_path / "images" / f"{name}.png")
        (tmp_path / "labels/a").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), 7, np.uint8)).save(tmp_path / "labels" / f"{name}.png")
    with pytest.warns(UserWarning) as told:
        data = GTA5(root=tmp_path).build("train")
    assert owners(data) == {"a/20805": 0} and len(told) == 2  # skipped frames' labels are nothing to tell


# Fuzz

STEMS = st.text(st.sampled_from("ab1_. -é"), min_size=1, max_size=4).filter(
    lambda s: s[0] != "." and s.strip(". ") != ""
)
FILES = st.builds(
    lambda folder, stem, label, end: f"{folder}{stem}{label}{end}",
    st.sampled_from(["", "", "s/", "s/t/"]),
    STEMS,
    st.sampled_from(["", "", "", *LABEL_ENDINGS, "_color"]),
    st.sampled_from([*SUFFIXES, ".PNG", ".db", ""]),
)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(images=st.sets(FILES, max_size=6), labels=st.sets(FILES, max_size=6))
def test_any_listing_gives_each_image_its_own_label_or_says_why_not(tmp_path_factory, images, labels):
    root = tmp_path_factory.mktemp("any")
    for kind, names in (("images", images), ("labels", labels)):
        (root / kind).mkdir()
        for name in names:
            path = root / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_dir():
                path.touch()
    try:
        found = images_in(root / "images", "Own")
    except UserError as error:
        assert str(root / "images") in str(error) and "\n" not in str(error)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        listed = paired(found, root / "images", root / "labels", "Own")
    assert [pair.image for pair in listed.pairs] == found == sorted(found)
    assert len({pair.key for pair in listed.pairs}) == len(found)
    for pair in listed.pairs:
        if pair.label is None:
            assert "have no label" in listed.unlabelled or "several labels" in listed.unlabelled
            continue
        assert pair.label.is_file() and pair.label.suffix.lower() in SUFFIXES
        assert any(pair.label.stem in equally for equally in own_names(pair.image.stem))
        beside = root / "labels" / pair.image.relative_to(root / "images").parent
        rivals = [
            f for f in beside.glob("*") if f.stem == pair.label.stem and f.suffix.lower() in SUFFIXES and f.is_file()
        ]
        assert len(rivals) <= 1 or pair.label.parent != beside
    assert bool(listed.unlabelled) == any(pair.label is None for pair in listed.pairs)


# What commands say


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Function: a recipe of two Folders in the current folder, whose images and labels are called alike."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DA_TOOLKIT_CACHE", str(tmp_path / "cache"))

    def make(method):
        for root in ("src", "tgt"):
            for split in ("train", "val"):
                for name in ("a.png", "b.png"):
                    image(tmp_path / root / split / "images" / name)
                    write(tmp_path / root / split / "labels" / name, 1)
        (tmp_path / "r.py").write_text(
            "from da_toolkit.data import Folder\nfrom da_toolkit.methods.supervised import Oracle, SourceOnly\n"
            "from da_toolkit.models.deeplab import DeepLabV2\nfrom da_toolkit.recipe import Recipe, Schedule, Stage\n"
            "from da_toolkit.training.optim import AdamW\n"
            'recipe = Recipe(source=Folder(root="src", size=(32, 32)), target=Folder(root="tgt", size=(32, 32)), '
            f'model=DeepLabV2("test_resnet", weights="none"), method={method}(), optimizer=AdamW(), '
            'schedule=Schedule((Stage("train", steps=1),)))\n'
        )
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("method", "missing", "told"),
    [
        ("SourceOnly", "tgt/train", None),
        ("Oracle", "tgt/train", "tgt/train/labels/b.png"),
        ("SourceOnly", "src/train", "src/train/labels/b.png"),
        ("SourceOnly", "tgt/val", "tgt/val/labels/b.png"),
    ],
)
@pytest.mark.parametrize("partly", [True, False])
def test_a_missing_label_matters_where_the_method_reads_it(recipe, monkeypatch, capsys, method, missing, told, partly):
    from da_toolkit.commands import prepare, run

    folder = recipe(method) / missing / "labels"
    (folder / "b.png").unlink()
    if not partly:
        (folder / "a.png").unlink()
    for main, arguments in ((prepare, ["check", "r.py"]), (run, ["r.py", "--check", "--tracking", "none"])):
        try:
            code = main.main(arguments, "command") or 0
            out = capsys.readouterr().out
        except (UserError, SystemExit) as error:
            code, out = getattr(error, "code", 1) or 0, str(error) + capsys.readouterr().out
        assert (code == 0) == (told is None), out
        if told is not None:
            assert f"{1 if partly else 2} of 2 images have no label" in out and told in out


def test_what_predict_wrote_among_photographs_is_no_photograph(tmp_path):
    picture = Image.new("RGB", (8, 8))
    for name in ("1.jpg", "more/2.jpg", "out/overlays/3.png", "out/predictions.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("json"):
            (tmp_path / name).write_text("{}")
        else:
            picture.save(tmp_path / name)
    assert [file.name for file in images_in(tmp_path, "mine")] == ["1.jpg", "2.jpg"]
    assert [file.name for file in images_in(tmp_path / "out", "mine")] == ["3.png"]  # where it is meant
