"""Every code block of README.md and docs/ runs, at small sizes, or says visibly why it does not."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from page_blocks import Block, blocks, run_blocks
from PIL import Image

from da_toolkit import api, cli
from da_toolkit.data import Streets
from da_toolkit.recipe import Recipe, demo_version, find_recipe, load_recipe
from da_toolkit.registry import METHODS
from da_toolkit.regularizers import RPT

ROOT = Path(__file__).parents[1]
ELSEWHERE = ("own_data.md",)
"""Pages with a test of their own."""
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if page.name not in ELSEWHERE and any(blocks(page.read_text(encoding="utf-8")))
]
TINY = [
    *("--workers", "0", "--tracking", "none", "--evaluation.images", "1", "--evaluation.validators", "0"),
    *("--model.weights", "none", "--source.size", "64", "96", "--target.size", "64", "96"),
]
RECIPE = """from dataclasses import replace
from da_toolkit.data import Streets
from da_toolkit.recipe import demo_version, find_recipe, load_recipe

few = {"size": (64, 96), "frames": 4, "val_frames": 2}
recipe = replace(
    demo_version(load_recipe(find_recipe("minent_gta"))), source=Streets(**few), target=Streets(look="camera", **few)
)
"""
"""The my_recipe.py of pages that do not show one."""
ALONE = ("--list", "--help", "--rerun")
"""Options of `run` that take no others."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with data, images and the trained run that pages speak of."""
    place = tmp_path_factory.mktemp("trained")
    frames = Streets(look="camera", frames=4, render_size=(60, 90)).build("train")
    (place / "my/photos").mkdir(parents=True)
    for name in ("photo.jpg", "my/photos/a.jpg"):
        Image.fromarray(frames.image(0)).save(place / name)
    (place / "my_recipe.py").write_text(RECIPE)
    cli._dispatch(["prepare", "export", str(place / "data"), "--frames", "4", "--size", "64", "128"])
    words = ["run", "adaptseg_gta", "--data-root", "/data", "--runs", str(place / "runs")]
    cli._dispatch(shortened(words, place / "data"))
    return place


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """A copy of that folder, as the current one; methods that pages define are forgotten after the test."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(METHODS, "_entries", METHODS._entries)
    monkeypatch.setattr(api, "demo_version", lambda recipe, steps: tiny_demo(recipe))
    return tmp_path


def tiny_demo(recipe: Recipe) -> Recipe:
    """What `dt.train(..., demo=True)` trains here."""
    demo = demo_version(recipe, steps=2)
    small = {name: replace(getattr(demo, name), size=(64, 96), frames=4, val_frames=2) for name in ("source", "target")}
    evaluation = replace(demo.evaluation, images=1, validators=0)
    return replace(demo, model=replace(demo.model, weights="none"), evaluation=evaluation, **small)


def shortened(words: list[str], data: Path) -> list[str]:
    """A command's words with the exported street world as /data; a run is told to be small."""
    words = [word.replace("/data", str(data), 1) if word.startswith("/data") else word for word in words]
    if words[0] != "run" or set(ALONE) & set(words):
        return words
    recipe = load_recipe(find_recipe(words[1]))
    demo = "--demo" in words or isinstance(recipe.source, Streets)
    parts = recipe.method.regularizers
    small = [
        *TINY,
        *(("--source.frames", "4", "--target.frames", "4") if demo else ("--model.backbone", "test_resnet")),
        *(word for place in range(len(recipe.schedule.stages)) for word in (f"--schedule.stages.{place}.steps", "1")),
        *(word for place, part in enumerate(parts) if isinstance(part, RPT) for word in small_rpt(place)),
    ]
    return [*words, *small, *([] if "--check" in words else ["--overwrite"])]


def small_rpt(place: int) -> list[str]:
    """Options of the regularizer at a place."""
    few = {"regions.count": "12", "logic.steps": "3", "logic.width": "8", "cluster.clusters": "4"}
    return [word for name, value in few.items() for word in (f"--method.regularizers.{place}.{name}", value)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_page_runs_or_says_why_not(page, place):
    every = list(blocks(page.read_text(encoding="utf-8")))
    known = dict(METHODS._entries)

    def small(words):
        """Of a process of its own: files of pages register their methods anew."""
        METHODS._entries = dict(known)
        words = shortened(words, place / "data")
        METHODS._entries = dict(known)
        return words

    count = run_blocks(page, small)
    assert count == sum(not block.reason and block.language not in ("text", "mermaid") for block in every)


def test_pages_are_those_that_show_code():
    assert {"README", "quickstart", "recipes", "adding", "tables", "predict", "reproduce"} <= {
        page.stem for page in PAGES
    }


def test_blocks_are_found_with_their_language_and_the_reason_why_they_are_not_run():
    text = (
        "# A\n```bash\na b\n```\ntext\n*Not run by the tests: it needs a cluster.*\n```python\nx = 1\n\ny = 2\n```\n"
        "*Not run by the tests: it serves.*\n\n```bash\nc\n```\n```\nplain\n```\n"
    )
    assert list(blocks(text)) == [
        Block("bash", "a b\n", ""),
        Block("python", "x = 1\n\ny = 2\n", "it needs a cluster"),
        Block("bash", "c\n", "it serves"),
        Block("", "plain\n", ""),
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_reason_stands_above_the_block_that_it_is_for(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("Not run by the tests") == sum(bool(block.reason) for block in blocks(text))


def test_a_block_that_fails_fails_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    for text, told in [
        ("```bash\nfalse\n```\n", "false: exit code 1"),
        ("```rust\n```\n", "neither run nor left alone"),
        ("```\nfalse\n```\n", "neither run nor left alone"),
        ("```bash\nda-toolkit\n```\n", "da-toolkit: exit code 2"),
    ]:
        page.write_text(text)
        with pytest.raises(AssertionError, match=told):
            run_blocks(page)
    page.write_text("*Not run by the tests: it fails.*\n```bash\nfalse\n```\n```python\n# own.py\nraise OSError\n```\n")
    assert run_blocks(page) == 1 and (tmp_path / "own.py").read_text() == "# own.py\nraise OSError\n"
