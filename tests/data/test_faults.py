"""Files that break during a run: left out and counted, named when a worker dies or hangs at them."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from itertools import islice

import pytest
from PIL import Image

from da_toolkit.data.encodings import RawClasses
from da_toolkit.data.files import FileDomainData, Pair
from da_toolkit.data.labels import CITYSCAPES19
from da_toolkit.data.loader import Loading, explained
from da_toolkit.data.samples import Samples
from da_toolkit.data.sampling import EpochSampler
from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import UserError
from da_toolkit.methods import SourceOnly
from da_toolkit.methods.pseudo_labels import cbst
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session
from da_toolkit.training.state import load_state, state_of
from da_toolkit.training.trainer import Trainer

SIZE = (64, 96)


@pytest.fixture
def files(tmp_path, toy):
    """Function: toy pairs on disk, in files whose names a shell would trip over."""

    def make(count=6, **settings):
        data = toy(count, **settings)
        folder = tmp_path / f"ein Ordner, größer {len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        pairs = []
        for index in range(count):
            image, label = folder / f"bild {index} ü.png", folder / f"label {index}.png"
            Image.fromarray(data.image(index)).save(image)
            Image.fromarray(data._label(index)).save(label)
            pairs.append(Pair(data.key(index), image, label))
        classes = RawClasses({number: name for number, name in enumerate(CITYSCAPES19.classes)})
        return FileDomainData("Files", "train", pairs, classes, CITYSCAPES19)

    return make


def samples(data, **settings):
    return Samples(data, SIZE, Augmentation(), with_labels=True, seed=0, **settings)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_recipes_own_domain_raises_is_told_with_its_line_also_in_a_worker(own_code, toy, workers):
    data = toy(4)
    file, module = own_code("\ndef image(index):\n    return {}[index]\n")
    data.image = module.image
    loading = Loading(samples(data), EpochSampler(4, 2, seed=0), workers)
    with pytest.raises(UserError) as told:
        next(loading)
    assert not multiprocessing.active_children()  # or the command would wait for it at its end
    assert re.fullmatch(rf"Recipe {re.escape(str(file))}, line 3: KeyError: \d\. Mend it there\.", str(told.value))


@pytest.mark.parametrize("harm", ["cut", "missing", "foreign", "smaller label"])
def test_an_unusable_file_gives_its_place_to_the_next_and_is_named(files, harm):
    data = files()
    image, label = data.pairs[2].image, data.pairs[2].label
    if harm == "cut":
        image.write_bytes(image.read_bytes()[:300])
    elif harm == "missing":
        image.unlink()
    elif harm == "foreign":
        image.write_text("not an image")
    else:
        Image.open(label).resize((48, 32)).save(label)
    for workers in (0, 1):
        batches = list(islice(Loading(samples(data), EpochSampler(6, 3, seed=1), workers), 2))
        seen = [index for batch in batches for index in batch.index.tolist()]
        assert sorted(seen) == [0, 1, 3, 3, 4, 5]
        ((index, why),) = [fault for batch in batches for fault in batch.faults]
        assert index == 2 and str(label if harm == "smaller label" else image) in why


def test_where_nothing_can_be_read_the_loader_stops(files):
    data = files()
    for pair in data.pairs:
        pair.image.write_bytes(b"")
    for workers in (0, 1):
        with pytest.raises(UserError, match=r"^The file .* cannot be read as an image") as told:
            next(Loading(samples(data), EpochSampler(6, 2, seed=1), workers))
        assert "Traceback" not in str(told.value)


@pytest.fixture
def trainer(files, tiny_recipe):
    def make(target, method, **settings):
        from lightning.fabric import Fabric

        fabric = Fabric(accelerator="cpu", devices=1)
        return Trainer(tiny_recipe(method, 6, rounds=True), fabric, files(), target, **settings)

    return make


def test_a_run_counts_bad_files_once_and_stops_when_there_are_too_many(files, trainer):
    told = []
    data = files(seed=1)
    data.pairs[0].image.write_bytes(b"")
    run = trainer(data, cbst(), bad_files=0.2)
    run.images.faults.warn = told.append
    run.fit(lambda *_: None)
    assert len(told) == 1 and str(data.pairs[0].image) in told[0]
    data.pairs[1].image.write_bytes(b"")
    run = trainer(data, cbst(), bad_files=0.2)
    run.images.faults.warn = told.append
    with pytest.raises(UserError, match=r"2 of 6 images of Files train cannot be used, more than --bad-files 0\.2"):
        run.fit(lambda *_: None)


@pytest.mark.parametrize("where", ["training", "pass over the target", "training after a resumption"])
def test_a_file_replaced_during_the_run_is_noticed_where_knowledge_of_it_is_frozen(files, trainer, where):
    from da_toolkit.data.superpixels import Superpixels
    from da_toolkit.regularizers import RPT

    data, told = files(seed=1), []
    method = SourceOnly(regularizers=(RPT(regions=Superpixels(count=12)),))
    run = trainer(data, method, bad_files=0.5)
    run.images.faults.warn = told.append
    run.images.open()
    Image.fromarray(255 - data.image(3)).save(data.pairs[3].image)
    if where == "training after a resumption":
        state, run = state_of(run), trainer(data, method, bad_files=0.5)
        load_state(run, state)
        run.images.faults.warn = told.append
        run.images.open()
    if where != "pass over the target":
        for _ in range(4):
            run.step()
    else:
        list(run.images.target_pass())
    assert len(told) == 1 and "the file of toy_3 was replaced during the run" in told[0]


class Deadly(FileDomainData):
    """Reading image 4 kills the process or never ends."""

    hangs = False

    def image(self, index):
        if index == 4:
            time.sleep(60) if self.hangs else os._exit(9)
        return super().image(index)


@pytest.mark.parametrize("hangs", [False, True])
def test_a_worker_that_dies_or_hangs_is_reported_with_its_file(files, hangs):
    data = files()
    data.__class__, data.hangs = Deadly, hangs
    loading = Loading(samples(data), EpochSampler(6, 6, seed=1), workers=1, patience=8)
    with pytest.raises(UserError, match=r"A loader process of Files train .*being read: toy_4\.") as told:
        next(loading)
    assert ("gave nothing for 8 s" if hangs else "died") in str(told.value)


def test_of_several_loaders_the_one_whose_process_died_is_named(files):
    game, camera = files(), files()
    camera.name = "Camera"
    streams = [Loading(samples(data), EpochSampler(6, 2, seed=1), workers=1) for data in (game, camera)]
    for stream in streams:
        next(stream)
    (pid,) = streams[1].pids
    with pytest.raises(RuntimeError) as told:
        os.kill(pid, signal.SIGKILL)
        time.sleep(30)  # torch's handler of SIGCHLD raises in the main process's code
    assert "A loader process of Camera train died" in str(explained(told.value))
    assert explained(RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")) is None
    for stream in streams:
        stream.close()


def test_a_dead_worker_ends_the_run_with_one_paragraph(tmp_path, tiny_recipe, monkeypatch):
    from da_toolkit.data.streets.domain import StreetsData

    image = StreetsData.image

    def deadly(self, index):
        from torch.utils.data import get_worker_info

        if get_worker_info() is not None and index == 2:
            os._exit(9)
        return image(self, index)

    monkeypatch.setattr(StreetsData, "image", deadly)
    session = Session("t", tiny_recipe(SourceOnly()), Runtime(runs=tmp_path, workers=1, tracking="none"))
    with pytest.raises(UserError, match=r"A loader process of Streets-game train died.*00002"):
        session.run()


def test_a_picture_of_absurd_size_is_refused(files, monkeypatch):
    data = files()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 96 // 3)
    with pytest.raises(UserError, match="is of absurd size: it has 6,144 pixels"):
        data.image(0)


LEFT_OPEN = """
from da_toolkit.data import Streets
from da_toolkit.data.loader import Loading
from da_toolkit.data.samples import Samples
from da_toolkit.data.sampling import EpochSampler
from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import UserError, exits_cleanly

data = Streets(size=(64, 96), frames=4, render_size=(64, 96)).build("train")
samples = Samples(data, (64, 96), Augmentation(), True, 0)

def read():
    kept = Loading(samples, EpochSampler(4, 2, 0), workers=1)
    next(kept)

def broken(index):
    raise UserError("all files are broken")

"""
ENDINGS = {
    "kept": ("kept = Loading(samples, EpochSampler(4, 2, 0), workers=1); next(kept)", 0),
    "broken": ("data.image = broken; exits_cleanly(read)", 2),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_ends_though_a_loader_was_left_open(ending):
    """Its workers ignore SIGTERM, with which Python would end them; an error's frames keep it alive."""
    code, expected = ENDINGS[ending]
    assert subprocess.run([sys.executable, "-c", LEFT_OPEN + code], timeout=120).returncode == expected
