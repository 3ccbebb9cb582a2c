"""Odd and hostile input: whatever is in a user's file or on the command line ends well or in one clear paragraph."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from da_toolkit.commands import compare, run, training
from da_toolkit.data import Folder
from da_toolkit.data.encodings import lookup_table
from da_toolkit.errors import UserError
from da_toolkit.methods import SourceOnly
from da_toolkit.recipe import Recipe
from da_toolkit.report.runs import read_run
from da_toolkit.runs.checkpoint import Checkpoints
from da_toolkit.runs.claim import claim
from da_toolkit.runs.folder import load_recipe_of, load_runtime
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner))
NAMES = st.sampled_from(["road", "sky", "", "ü b", 7, None, ["road"], 1.5])
TABLES = st.fixed_dictionaries(
    {"ids": st.dictionaries(st.sampled_from(["0", "7", "-1", "255", "65535", "99999", "x", "1.5"]), NAMES) | JSON},
    optional={
        "classes": st.lists(NAMES, max_size=4) | JSON,
        "colors": st.lists(st.lists(st.integers(-5, 300) | LEAVES, max_size=4), max_size=4) | JSON,
    },
)
OFTEN = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SELDOM = settings(OFTEN, max_examples=40)


@OFTEN
@given(content=TABLES.map(json.dumps) | JSON.map(json.dumps) | st.text(max_size=30) | st.binary(max_size=30))
def test_any_label_table_is_used_or_refused(tmp_path, content):
    file = tmp_path / "table.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    try:
        space, ids = Folder(table=file)._classes()
    except UserError as error:
        assert str(file) in str(error)
        return
    assert len(space) >= 1 and all(isinstance(name, str) and name for name in space.classes)
    assert len(set(space.classes)) == len(space) <= 255
    np.array(space.palette, np.uint8)
    table, known = lookup_table(ids, space, 65536)
    assert set(np.unique(table)) <= {*range(len(space)), 255} and known.sum() == len(ids)


SETTINGS = [
    *(
        "--optimizer.lr",
        "--schedule.stages.0.steps",
        "--batch-size",
        "--source.size",
        "--method.discriminators.0.weight",
    ),
    *(
        "--model.backbone",
        "--evaluation.scales",
        "--seed",
        "--runs",
        "--workers",
        "--no-such",
        "--source.frames",
        "--keep",
    ),
]
VALUES = st.text(max_size=6) | st.integers().map(str) | st.sampled_from(["nan", "-1", "1e400", "None", "", "--", "0 0"])


@SELDOM
@given(words=st.lists(st.tuples(st.sampled_from(SETTINGS), st.lists(VALUES, max_size=2)), max_size=3))
def test_any_override_is_taken_or_refused(words, monkeypatch, capsys):
    flat = [word for name, values in words for word in (name, *values)]
    monkeypatch.setattr(training, "check", lambda session: None)  # no data, no network
    try:
        run.main(["adaptseg_gta", "--demo", "--check", *flat], "run")
    except UserError as error:
        assert str(error)
    except SystemExit as stop:
        assert stop.code in (0, 2)
    capsys.readouterr()


FILES = ["recipe.json", "result.json", "environment.json", "metrics.jsonl", "confusions.npz"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The files of a finished run."""
    from da_toolkit.data import Streets
    from da_toolkit.models.deeplab import DeepLabV2
    from da_toolkit.recipe import Schedule, Stage

    looks = {"size": (64, 96), "frames": 2, "val_frames": 1, "render_size": (64, 96)}
    recipe = Recipe(
        source=Streets(**looks),
        target=Streets(look="camera", **looks),
        model=DeepLabV2("test_resnet", 16, "none"),
        method=SourceOnly(),
        schedule=Schedule((Stage("train", 1),)),
    )
    session = Session("tiny", recipe, Runtime(runs=tmp_path_factory.mktemp("runs"), workers=0, tracking="none"))
    session.run()
    return {name: (session.folder / name).read_bytes() for name in FILES}


def mangled(data, how, place, patch):
    """Cut, patched or replaced bytes."""
    place = place % (len(data) + 1)
    return {"cut": data[:place], "patch": data[:place] + patch + data[place + len(patch) :], "replace": patch}[how]


def values_of(tree, path=()):
    """Every place in a JSON tree."""
    yield path
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from values_of(value, (*path, key))


@OFTEN
@given(data=st.data())
def test_any_run_folder_is_read_or_refused(tmp_path, finished, data):
    folder = tmp_path / "tiny" / "0"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in finished.items():
        (folder / name).write_bytes(content)
    name = data.draw(st.sampled_from(FILES))
    if name.endswith(".json") and data.draw(st.booleans()):
        tree = json.loads(finished[name])
        path = data.draw(st.sampled_from(list(values_of(tree))))
        value = data.draw(JSON)
        if path:
            inner = tree
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
        else:
            tree = value
        (folder / name).write_text(json.dumps(tree))
    else:
        how, place, patch = data.draw(
            st.tuples(st.sampled_from(["cut", "patch", "replace"]), st.integers(0), st.binary())
        )
        (folder / name).write_bytes(mangled(finished[name], how, place, patch))
    whole = Recipe.from_json(json.loads(finished["recipe.json"]))
    session = Session("tiny", whole, Runtime(runs=tmp_path, workers=0, tracking="none", resume=True))
    (session.checkpoints.folder).mkdir(exist_ok=True)
    (session.checkpoints.folder / "step_00000001-0000000000000000.pt").write_bytes(b"")
    for read in (
        lambda: [
            compare.DOCUMENTS[kind](compare.compare(compare.find_runs([tmp_path])[0])) for kind in ("csv", "html")
        ],
        lambda: load_recipe_of(folder),
        lambda: load_runtime(folder),
        lambda: read_run(folder),
        lambda: claim(session.folder, session.checkpoints, session.recipe, session.runtime),
    ):
        try:
            read()
        except UserError as error:
            assert str(tmp_path) in str(error) or "protocol" in str(error)


@pytest.mark.parametrize(
    ("name", "read"),
    [("recipe.json", load_recipe_of), ("environment.json", load_runtime), ("result.json", read_run)],
)
def test_json_nested_without_end_is_damage(name, read, tmp_path):
    (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        read(tmp_path)


def test_links_that_go_in_circles_are_no_runs_and_no_endless_walk(tmp_path, finished):
    folder = tmp_path / "ein Lauf ü" / "0"
    folder.mkdir(parents=True)
    for name, content in finished.items():
        (folder / name).write_bytes(content)
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    runs, unfinished = compare.find_runs([tmp_path])
    assert len(runs) == 1 and unfinished == []
    images = tmp_path / "data" / "train" / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(images / "bild eins ü.png")
    (images / "kreis.png").symlink_to(images / "kreis.png")
    data = Folder(root=tmp_path / "data").build("train")
    with pytest.raises(UserError, match=r"kreis\.png"):
        [data.image(index) for index in range(len(data))]


def test_a_recipe_with_an_error_names_its_file(tmp_path, monkeypatch):
    file = tmp_path / "my recipe.py"
    for text in ("recipe = 1", "recipe =", "raise ValueError('no')", "import nothing_there", "x = 1"):
        file.write_text(text)
        with pytest.raises(UserError, match=r"my recipe\.py"):
            run.main([str(file), "--check"], "run")


TMPFS = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/proc/filesystems").exists(), reason="mounting a file system needs root on Linux"
)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {made.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@TMPFS
def test_a_disk_that_is_really_full_keeps_the_previous_checkpoint(small_disk):
    checkpoints = Checkpoints(small_disk / "checkpoints")
    checkpoints.save(1, {"done": 1, "weights": torch.zeros(100_000)})
    with pytest.raises(UserError, match=r"no space is left\. Free space there .* previous checkpoint is intact"):
        checkpoints.save(2, {"done": 2, "weights": torch.zeros(200_000)})
    assert checkpoints.load(torch.device("cpu"))["done"] == 1
    assert [file.name for file in checkpoints.folder.iterdir()] == [checkpoints.files()[0].name]


@TMPFS
def test_a_run_on_a_full_disk_ends_with_one_paragraph_and_goes_on_later(small_disk, tiny_recipe):
    recipe, runtime = tiny_recipe(SourceOnly()), Runtime(runs=small_disk, workers=0, tracking="none", save_every=1)
    (small_disk / "filler").write_bytes(b"0" * 900_000)
    with pytest.raises(UserError, match="no space is left"):
        Session("t", recipe, runtime).run()


@TMPFS
def test_a_disk_that_cannot_be_written_to(small_disk, tiny_recipe):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match=r"cannot be written to: Read-only file system.*--runs"):
        Session("t", tiny_recipe(SourceOnly()), Runtime(runs=small_disk / "runs", workers=0, tracking="none")).run()
    with pytest.raises(UserError, match=r"Read-only file system. Mend that or set --runs"):
        Checkpoints(small_disk / "checkpoints").save(1, {"done": 1})
