"""The page: one file, nothing loaded from elsewhere, and in a browser it does what it says."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browser import browse, needs_browser
from PIL import Image

from da_toolkit.errors import UserError
from da_toolkit.report.comparison import compare
from da_toolkit.report.html import palette_of, to_page
from da_toolkit.report.pictures import collect
from da_toolkit.report.table import SOURCE_ONLY

ODD = "odd</script><b>&\"'"
ON_THE_WAY = [(50, 30.0, {"entropy": 0.9}), (100, 50.0, {"entropy": 0.1})]

WATCH = """<script>
window.problems = [];
addEventListener("error", event => problems.push(event.message));
addEventListener("securitypolicyviolation", event => problems.push(event.blockedURI));
</script>"""
REPORT = """<script>addEventListener("load", () => {
  const tell = document.createElement("pre");
  tell.id = "told";
  tell.textContent = JSON.stringify(act());
  document.body.append(tell);
});</script>"""


@pytest.fixture
def runs(make_run, random_counts):
    """Two recipes that share two pictures."""
    return [
        make_run("floor", 0, SOURCE_ONLY, counts=random_counts(1), evaluations=ON_THE_WAY, pictures=2, prediction=30),
        make_run(ODD, 0, counts=random_counts(2), evaluations=ON_THE_WAY, pictures=2, prediction=220),
    ]


def opened(page: str, folder: Path, *options: str) -> str:
    """What the browser writes to stdout for a page opened from disk."""
    file = folder / "index.html"
    file.write_text(page, encoding="utf-8")
    return browse(file.as_uri(), folder, *options)


def acted(page: str, folder: Path, script: str) -> dict:
    """What `script`, the body of a function, returns in the loaded page; and the page's errors."""
    added = f"<script>function act() {{ {script} }}</script>{REPORT}"
    dom = opened(page.replace("<meta name", WATCH + "<meta name", 1).replace("</body>", added + "</body>"), folder,
                 "--dump-dom")  # fmt: skip
    told = re.search(r'<pre id="told">(.*?)</pre>', dom, re.DOTALL)
    assert told, dom[-2000:]
    return json.loads(html.unescape(told[1]))


def test_nothing_is_loaded_from_elsewhere(runs) -> None:
    page = to_page(compare(runs))
    assert not re.search(r"https?://|url\(|@import|<link|<iframe", page)

    found = []

    class Sources(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.extend(value for name, value in attributes if name in ("src", "href", "srcset", "data"))

    Sources().feed(page)
    assert found and all(value.startswith("#") for value in found)
    assert "default-src 'none'" in page


def test_odd_names_neither_end_the_script_nor_become_tags(runs) -> None:
    page = to_page(compare(runs))
    assert "<b>" not in page and page.count("</script>") == 2
    album = json.loads(re.search(r'id="album">(.*?)</script>', page, re.DOTALL)[1])
    assert album["right"] == f"{ODD}, seed 0, 100 steps" and album["left"] == "floor, seed 0, 100 steps"


def test_equal_files_are_embedded_once_and_scenes_are_shared(runs, make_run) -> None:
    album = collect({run.label: run for run in runs})
    assert len(album.scenes) == 2 and len(album.files) == 2 * (2 + 2)
    assert list(album.scenes[0]["views"]) == ["image", "label", *(run.label for run in runs)]
    alone = make_run("no_pictures")
    assert collect({"x": alone}).scenes == [] and "No run kept pictures" in to_page(compare([alone]))


def test_an_unreadable_picture_is_named(runs) -> None:
    file = runs[0].folder / "predictions" / "0_image.jpg"
    file.unlink()
    file.mkdir()
    with pytest.raises(UserError, match=r"0_image\.jpg cannot be read"):
        to_page(compare(runs))


def test_class_colours_are_those_of_the_label_space() -> None:
    assert palette_of(["road", "sky"]) == {"road": "#804080", "sky": "#4682b4"}
    assert palette_of(["road", "moon"]) == {}


@needs_browser
def test_the_page_shows_tables_curves_and_pictures_without_an_error(runs, tmp_path) -> None:
    told = acted(to_page(compare(runs)), tmp_path, """
        const all = selector => [...document.querySelectorAll(selector)];
        return {problems, tables: all("table").map(table => table.className),
            recipes: all(".scores tbody th").map(cell => cell.textContent), lines: all("svg [data-curve]").length,
            pictures: all(".viewer img").map(img => [img.alt, img.complete, img.naturalWidth]),
            resources: performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.startsWith("data:"))};
    """)  # fmt: skip
    assert told["problems"] == [] and told["resources"] == []
    assert told["tables"] == ["scores", "classes", "choosing", "choices", "runs"]
    assert told["recipes"] == ["floor", ODD] and told["lines"] == 2
    assert told["pictures"] == [["floor, seed 0, 100 steps", True, 40], [f"{ODD}, seed 0, 100 steps", True, 40]]


@needs_browser
@pytest.mark.parametrize("at", [20, 80])
def test_the_divider_shows_as_much_of_each_picture_as_it_leaves(runs, tmp_path, at) -> None:
    added = f"""<script>addEventListener("load", () => {{
        slider.value = {at}; slider.dispatchEvent(new Event("input")); 
        for (const part of document.querySelectorAll("header, main > :not(#viewer)")) part.style.display = "none";
    }});</script></body>"""
    shot = tmp_path / "shot.png"
    opened(to_page(compare(runs)).replace("</body>", added), tmp_path, f"--screenshot={shot}")
    picture = np.asarray(Image.open(shot).convert("RGB"))
    left, right = (int((picture == shade).all(-1).sum()) for shade in (30, 220))
    assert left + right > 200_000
    assert 100 * left / (left + right) == pytest.approx(at, abs=3)


@needs_browser
def test_any_two_views_can_be_chosen_and_tables_and_curves_answer(runs, tmp_path) -> None:
    told = acted(to_page(compare(runs)), tmp_path, """
        const id = name => document.getElementById(name);
        const choose = (name, value) => { id(name).value = value; id(name).dispatchEvent(new Event("change")); };
        const options = [...id("left-choice").options].map(option => option.value);
        choose("left-choice", "image"); choose("right-choice", "label");
        const first = [left.src, right.src];
        choose("scene", "1");
        const second = [left.src, right.src];
        slider.focus();
        const box = document.querySelector(".legend input");
        box.click();
        const heads = [...document.querySelectorAll(".scores thead button")];
        const order = () => [...document.querySelectorAll(".scores tbody tr")].map(row => row.cells[2].textContent);
        heads[2].click(); const falling = order(); heads[2].click(); const rising = order();
        return {problems, options, first, second, tags: [id("left-tag").textContent, id("right-tag").textContent],
            focused: document.activeElement.id, hidden: document.querySelector("[data-curve]").style.display,
            falling, rising, sorted: heads[2].parentElement.ariaSort};
    """)  # fmt: skip
    assert told["problems"] == [] and told["options"][:2] == ["image", "label"] and len(told["options"]) == 4
    assert len({*told["first"], *told["second"]}) == 4 and told["tags"] == ["image", "label"]
    assert told["focused"] == "slider" and told["hidden"] == "none"
    falling = [float(text.split()[0]) for text in told["falling"]]
    assert falling == sorted(falling, reverse=True) and told["rising"] == told["falling"][::-1]
    assert told["sorted"] == "ascending"
