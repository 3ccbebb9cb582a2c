"""Kept frames are the frames, of no other file or setting; what is damaged is made again; a full disk stops nothing."""

import dataclasses
import errno
import json
import multiprocessing
import os
import re
import time
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from da_toolkit.data import Augmentation, Cityscapes, Folder, Streets
from da_toolkit.data import frame_cache as module
from da_toolkit.data.export import export_cityscapes
from da_toolkit.data.frame_cache import FrameCache
from da_toolkit.data.loader import Loading
from da_toolkit.data.samples import Samples
from da_toolkit.data.sampling import EpochSampler
from da_toolkit.data.transforms import resized, resized_label
from da_toolkit.errors import UserError
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.methods import SourceOnly
from da_toolkit.methods.pseudo_labels import cbst
from da_toolkit.regularizers import RPT, Cluster, Patch, SpatialLogic, Superpixels
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session

SIZE = (32, 48)


@pytest.fixture
def domain(tmp_path):
    """A small Cityscapes with three training and two validation images of 64x96."""
    root = tmp_path / "cityscapes"
    streets = Streets(size=(64, 96), frames=3, val_frames=2, render_size=(64, 96))
    for split in ("train", "val"):
        export_cityscapes(streets.build(split), root, split)
    return Cityscapes(size=SIZE, root=root)


@pytest.fixture
def cache(tmp_path):
    return FrameCache(tmp_path / "cache")


def entries(cache):
    return sorted(cache.folder.glob("*/*.npy"))


def read(cache, domain, index=0):
    frames = cache.frames(domain.build("train"), domain, SIZE)
    return frames.image(index), frames.label(index)


def wanted(domain, index=0):
    data = domain.build("train")
    return resized(data.image(index), SIZE), resized_label(data.label(index), SIZE)


def same(found, other):
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(found, other, strict=True))


def unread(monkeypatch):
    """Files of images and labels cannot be read from here on."""

    def refuse(*_):
        raise AssertionError("a file was read")

    monkeypatch.setattr("da_toolkit.data.files.read_image", refuse)
    monkeypatch.setattr("da_toolkit.data.files.FileDomainData.raw_ids", refuse)


def test_a_frame_is_read_once_from_its_file_and_then_from_the_cache(cache, domain, monkeypatch):
    right = wanted(domain)
    assert same(read(cache, domain), right) and len(entries(cache)) == 2
    unread(monkeypatch)
    assert same(read(FrameCache(cache.folder), domain), right)


def test_an_entry_is_an_array_of_numpy(cache, domain):
    right = wanted(domain)[0].ravel()
    read(cache, domain)
    stored = [np.load(file, mmap_mode="r") for file in entries(cache)]
    assert any(len(values) == len(right) + 4 and np.array_equal(values[:-4], right) for values in stored)


@pytest.mark.parametrize("damage", ["cut", "empty", "one bit", "header", "zeros", "no array", "another shape", "huge"])
def test_a_damaged_entry_is_made_again(cache, domain, damage):
    right = wanted(domain)
    read(cache, domain)
    for file in entries(cache):
        content = bytearray(file.read_bytes())
        if damage == "cut":
            content = content[:-9]
        elif damage == "empty":
            content = b""
        elif damage == "one bit":
            content[-700] ^= 1
        elif damage == "header":
            content[8] ^= 64  # NumPy's parser raises another error for each
        elif damage == "zeros":
            content[128:] = bytes(len(content) - 128)
        elif damage == "no array":
            content = b"something else" * 50
        elif damage == "huge":
            content = content.replace(b"'shape': (", b"'shape': (99999999999999,")
        file.write_bytes(content)
        if damage == "another shape":
            np.save(file, np.zeros((3, 4), np.int64))
    assert same(read(cache, domain), right)
    assert same(read(cache, domain), right) and len(entries(cache)) == 2


def change_content(domain):
    path = domain.build("train").pairs[0].image
    before = path.stat()
    content = path.read_bytes()
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes().ljust(len(content), b"\0"))  # as many bytes as before, behind the last chunk
    assert path.stat().st_size == before.st_size


def change_time_back(domain):
    path = domain.build("train").pairs[0].image
    before = path.stat()
    time.sleep(0.05)
    change_content(domain)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as `cp -p` does


@pytest.mark.parametrize("change", [change_content, change_time_back])
def test_a_changed_file_is_read_anew(cache, domain, change):
    before = read(cache, domain)
    time.sleep(0.05)
    change(domain)
    found = read(cache, domain)
    assert not found[0].any() and before[0].any() and np.array_equal(found[1], before[1])


def test_another_setting_size_split_or_label_table_has_frames_of_its_own(cache, domain, monkeypatch):
    read(cache, domain)
    for other in (dataclasses.replace(domain, labels="streets11"), dataclasses.replace(domain, size=(16, 24))):
        data = other.build("train")
        frames = cache.frames(data, other, other.size)
        assert np.array_equal(frames.label(0), resized_label(data.label(0), other.size))
    assert len(entries(cache)) == 4
    monkeypatch.setattr(module, "__version__", "another")
    read(cache, domain)
    assert len(entries(cache)) == 6


def test_a_folders_label_table_decides_too(cache, tmp_path):
    for name, values in (("images", np.zeros((8, 8, 3))), ("labels", np.full((8, 8), 7))):
        (tmp_path / "own" / "train" / name).mkdir(parents=True)
        Image.fromarray(values.astype(np.uint8)).save(tmp_path / "own" / "train" / name / "a.png")
    for wanted_id, to in ((0, "road"), (8, "vegetation")):
        (tmp_path / "table.json").write_text(json.dumps({"ids": {"7": to}}))
        domain = Folder(size=(4, 4), labels="cityscapes19", root=tmp_path / "own", table=tmp_path / "table.json")
        frames = cache.frames(domain.build("train"), domain, (4, 4))
        assert (frames.label(0) == wanted_id).all()


def test_a_domain_of_ones_own_is_made_anew_when_its_code_changes(cache, domain, own_code):
    text = (
        "from da_toolkit.data.files import FileDomainData\n"
        "class Own(FileDomainData):\n"
        "    def image(self, index):\n"
        "        return super().image(index) // 2 + {}\n"
    )
    for add in (0, 9):
        plain = domain.build("train")
        data = own_code(text.format(add))[1].Own("Own", "train", plain.pairs, plain.classes, plain.label_space)
        found = cache.frames(data, domain, SIZE).image(0)
        assert np.array_equal(found, resized(plain.image(0) // 2 + add, SIZE))


def test_a_missing_file_is_told_as_without_a_cache(cache, domain):
    read(cache, domain)
    data = domain.build("train")
    data.pairs[0].image.unlink()
    with pytest.raises(UserError, match="does not exist"):
        cache.frames(data, domain, SIZE).image(0)


def test_images_without_files_of_their_own_are_left_alone(cache):
    streets = Streets(size=SIZE, frames=2, val_frames=1, render_size=(64, 96))
    assert cache.frames(streets.build("train"), streets, SIZE) is None


def _fill(folder, domain, barrier):
    cache = FrameCache(folder)
    barrier.wait()
    for index in range(3):
        if not same(read(cache, domain, index), wanted(domain, index)):
            os._exit(3)


def test_several_processes_fill_one_folder_at_once(cache, domain):
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(4)
    processes = [fork.Process(target=_fill, args=(cache.folder, domain, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(entries(cache)) == 6 and not list(cache.folder.glob("*/*.tmp"))


def test_what_a_killed_process_left_behind_is_removed_once_it_is_old(cache):
    folder = cache.folder / "ab"
    folder.mkdir()
    for name, age in (("old", 7200), ("new", 60)):
        (folder / f"{name}.npy.1.tmp").write_bytes(b"half")
        os.utime(folder / f"{name}.npy.1.tmp", (time.time() - age,) * 2)
    FrameCache(cache.folder)
    assert [file.name for file in folder.iterdir()] == ["new.npy.1.tmp"]


def full(path, write):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_is_told_once_and_the_batches_are_the_same(cache, domain, monkeypatch, workers):
    data = domain.build("train")
    tries = torch.zeros(1, dtype=torch.int32).share_memory_()

    def counted(path, write):
        tries.add_(1)
        full(path, write)

    monkeypatch.setattr(module, "write_shared", counted)
    how = data, SIZE, Augmentation(flip=True), True, 0
    plain = list(islice(Loading(Samples(*how), EpochSampler(3, 2, 0), 0), 4))
    assert cache.trouble() is None
    loading = Loading(Samples(*how, frames=cache.frames(data, domain, SIZE)), EpochSampler(3, 2, 0), workers)
    for ours, theirs in zip(islice(loading, 4), plain, strict=True):
        assert torch.equal(ours.image, theirs.image) and torch.equal(ours.label, theirs.label)
    loading.close()
    assert re.search("no space is left.*--frame-cache.*The run goes on", cache.trouble())
    assert cache.trouble() is None and 1 <= int(tries) <= max(1, 2 * workers)  # nobody writes after that


def test_a_disk_that_is_full_from_the_start_is_told_too(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "write_shared", full)
    assert "The run goes on" in FrameCache(tmp_path / "cache").trouble()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written to.*--frame-cache"):
        FrameCache(tmp_path / "file" / "cache")


def rpt():
    parts = SpatialLogic(weight=0.0), Superpixels(12)
    return SourceOnly(regularizers=(RPT(Patch(1.0, threshold=0.0), Cluster(clusters=4, components=2), *parts),))


@pytest.mark.parametrize(
    ("method", "evaluation"),
    [
        (SourceOnly(), Evaluation()),
        (cbst(), Evaluation()),
        (cbst(), Evaluation(size=(48, 72))),
        (rpt(), Evaluation(size=(48, 72))),  # regions are of the whole image, and frames of the training's size
    ],
)
def test_a_run_with_a_cache_is_to_the_bit_the_run_without(tmp_path, domain, tiny_recipe, capsys, method, evaluation):
    small = dataclasses.replace(domain, size=(64, 96))
    strong = Augmentation(scale=(0.8, 1.5), flip=True, color=0.5, blur=0.5, crop=(32, 64))
    recipe = tiny_recipe(
        *(method, 3),
        rounds=True,
        source=small,
        target=small,
        source_augmentation=strong,
        target_augmentation=dataclasses.replace(strong, crop=None),
        evaluation=evaluation,
    )
    weights = []
    for number, cache in enumerate((None, "kept", "kept")):
        folder = None if cache is None else tmp_path / cache
        runtime = Runtime(runs=tmp_path / f"runs{number}", workers=0, tracking="none", frame_cache=folder)
        session = Session("own", recipe, runtime)
        session.run()
        weights.append((session.folder / "model.safetensors").read_bytes())
        assert ("frames of Cityscapes train take 0.00 GB" in "".join(capsys.readouterr())) == (cache is not None)
    assert weights[0] == weights[1] == weights[2]
    assert Runtime.from_json(runtime.to_json()) == runtime
