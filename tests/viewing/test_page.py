"""The page in a browser: what it shows, how it follows, and who can use it."""

import html
import json
import re
import time

import pytest
from browser import browse, needs_browser
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

pytestmark = needs_browser


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    """The browser's clock runs ahead of ours in a test, so the server looks for new runs at every request."""
    monkeypatch.setattr("da_toolkit.viewing.watch._PAUSE", 0)
    monkeypatch.setattr("da_toolkit.viewing.watch._SHARE", 0)


ODD = 'odd<img src="x" onerror="problems.push(1)">'
BEFORE = """
window.problems = [];
addEventListener("error", event => problems.push(event.message), true);
addEventListener("securitypolicyviolation", event => problems.push(event.blockedURI));
window.all = selector => [...document.querySelectorAll(selector)];
window.texts = selector => all(selector).map(each => each.textContent);
window.until = async done => { while (!done()) await new Promise(go => setTimeout(go, 50)); };
"""
ACT = """
addEventListener("load", async () => {{
  await until(() => document.getElementById("updated").textContent);
  const told = await (async () => {{ {script} }})();
  const shown = document.createElement("pre");
  shown.id = "told";
  shown.textContent = JSON.stringify({{...told, problems}});
  document.body.append(shown);
}});
"""


def acting(script, change):
    """What makes of the application one whose page runs `script` once it has been filled; `change` is called when the
    script asks for /change."""

    def add(app):
        page = next(route.endpoint(None).body.decode() for route in app.routes if route.path == "/")
        page = page.replace("<meta charset", '<script src="before.js"></script><meta charset').replace(
            "</head>", '<script src="act.js" defer></script></head>'
        )
        assert page.count("act.js") == page.count("before.js") == 1

        def changed(request):
            change()
            return PlainTextResponse("")

        app.router.routes[:0] = [
            Route("/", lambda request: Response(page, media_type="text/html")),
            Route("/before.js", lambda request: Response(BEFORE, media_type="text/javascript")),
            Route("/act.js", lambda request: Response(ACT.format(script=script), media_type="text/javascript")),
            Route("/change", changed),
        ]

    return add


def acted(serve, tmp_path, script, change=lambda: None, size="1000,900", options=()):
    """What `script`, the body of an async function, returns in the page of all runs."""
    with serve(tmp_path / "runs", change=acting(script, change)) as address:
        dom = browse(address, tmp_path, "--virtual-time-budget=20000", "--dump-dom", *options, size=size)
    told = re.search(r'<pre id="told">(.*?)</pre>', dom, re.DOTALL)
    assert told, dom[-3000:]
    return json.loads(html.unescape(told[1]))


@pytest.fixture
def four_runs(make_run):
    """Source-only and adapted, finished; one in training with another rate; one with odd names and damaged files."""
    make_run("a_source/0", result={}, method="SourceOnly", pictures=2, decided=0)
    make_run("b_adapted/0", result={}, pictures=2)
    training = make_run("c_training/0", recipe={"optimizer": {"lr": 0.5}}, pictures=0)
    odd = make_run(f"d/{ODD}", recipe={"optimizer": {"lr": ODD}})
    (odd / "confusions.npz").write_bytes(b"no array")
    return training


def test_the_page_shows_every_part_of_runs_in_training_finished_and_damaged(four_runs, serve, tmp_path) -> None:
    told = acted(serve, tmp_path, """
        const id = name => document.getElementById(name);
        return {runs: texts("#runs tbody th"), states: texts("#runs tbody td:nth-child(3)"),
            stages: texts(".stages b"), parts: texts(".stages .track:nth-of-type(1) > span > .hidden"),
            curves: texts("#curves-shown figcaption"),
            protocols: [...id("protocol").options].map(each => each.value),
            road: texts("#classes-shown ul")[0], car: all("#classes-shown ul")[1].querySelectorAll("li").length,
            matrix: texts("#confusion-shown td").slice(0, 3), matrices: [...id("confusion-run").options].length,
            sides: [id("left-choice").value, id("right-choice").value],
            views: [...id("left-choice").options].map(each => each.value),
            images: all("#viewer img").map(each => [each.complete, each.naturalWidth]),
            stagePictures: texts("#of-stages-shown figcaption"),
            differ: texts("#differences-shown tbody th"), rates: texts("#differences-shown td"),
            warnings: texts("#warnings-shown h3"), warned: texts("#warnings-shown li"),
            injected: all("main b b, main img[src=x], .told b").length};
    """)  # fmt: skip
    odd = f"d/{ODD}"
    assert told["problems"] == [] and told["injected"] == 0
    assert told["runs"] == ["a_source/0", "b_adapted/0", "c_training/0", odd]
    assert told["states"] == ["finished", "finished", "training", "training"]
    assert told["stages"] == told["runs"] and told["parts"][0] == " warm-up: 60 of 60 steps"
    assert told["curves"] == [
        "mIoU in percent, toy",
        "entropy (without target labels)",
        "seg",
        "images/s",
    ]
    assert told["protocols"] == ["toy", "classes as trained"] and told["car"] == 2
    assert told["road"] == "a_source/0: 70.0b_adapted/0: 70.0"
    assert told["matrix"] == ["80", "20", "0"] and told["matrices"] == 3
    assert told["sides"] == ["a_source/0", "b_adapted/0"]
    assert told["views"][:4] == ["image", "label", "a_source/0", "b_adapted/0"]
    assert "errors of b_adapted/0" in told["views"] and told["images"] == [[True, 40], [True, 40]]
    assert told["stagePictures"] == ["round 1: rpt", "step 60", "step 40"]
    assert told["differ"] == ["optimizer.lr"] and told["rates"] == ["0.001", "0.001", "0.5", ODD]
    assert told["warnings"] == told["runs"]
    assert told["warned"][0] == "step 60: warning: since step 40, <b>it</b> collapses."
    assert any("confusions.npz is damaged" in each for each in told["warned"])


def test_the_page_follows_a_run_and_keeps_choice_and_focus(four_runs, serve, tmp_path, make_run) -> None:
    def change():
        with (four_runs / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": 80, "time": time.time(), "seg": 0.25, "new_loss": 1.0}) + "\n")
            file.write(json.dumps({"step": 90, "time": time.time(), "seg": 0.2, "new_loss": 2.0}) + "\n")
        make_run("e_new/0")

    told = acted(serve, tmp_path, """
        const id = name => document.getElementById(name);
        const step = () => texts("#runs tbody tr:nth-child(3) td:nth-child(4)")[0];
        const before = step();
        id("right-choice").value = "errors of b_adapted/0";
        id("right-choice").dispatchEvent(new Event("change"));
        const box = all("#runs input")[2];
        box.focus();
        await fetch("change");
        const curves = () => texts("#curves-shown figcaption");
        await until(() => step() !== before && curves().includes("new_loss") && all("#runs tbody tr").length === 5);
        const focused = document.activeElement === box;
        const kept = [id("right-choice").value, id("right").naturalWidth];
        box.click();
        await until(() => !texts("#legend span").includes("c_training/0"));
        const fewer = texts("#legend span");
        const checked = all("#runs input").map(each => each.checked);
        id("filter").value = "ADAPTED fin";
        id("filter").dispatchEvent(new Event("input"));
        const rows = all("#runs tbody tr:not([hidden]) th").map(each => each.textContent);
        id("show-found").click();
        await until(() => texts("#legend span").length === 1);
        id("pause").click();
        return {before, after: step(), focused, kept, fewer, checked, rows, legend: texts("#legend span"),
            paused: [id("pause").getAttribute("aria-pressed"), id("status").textContent]};
    """, change)  # fmt: skip
    assert told["problems"] == []
    assert (told["before"], told["after"]) == ("60 / 100", "90 / 100")
    assert told["focused"] and told["kept"] == ["errors of b_adapted/0", 40]
    assert told["fewer"] == ["a_source/0", "b_adapted/0", f"d/{ODD}"]
    assert told["checked"] == [True, True, False, True, False], "a run that begins later is not forced upon the reader"
    assert told["rows"] == ["b_adapted/0"] == told["legend"]
    assert told["paused"] == ["true", "Paused."]


def test_every_control_has_a_name_and_a_place_in_the_order_of_keys(four_runs, serve, tmp_path) -> None:
    told = acted(serve, tmp_path, """
        const name = each => each.getAttribute("aria-label") || each.alt || each.labels?.[0]?.textContent.trim()
            || each.textContent.trim() || each.querySelector("img")?.alt;
        const controls = all("a, button, input, select, summary, [tabindex='0'], img, svg[role=img]");
        const heads = all("th").filter(each => !each.scope).length;
        return {count: controls.length, nameless: controls.filter(each => !name(each)).map(each => each.outerHTML),
            out: controls.filter(each => each.tabIndex < 0 && each.matches("a, button, input, select")).length,
            scrolled: all(".scroll").filter(each => each.tabIndex !== 0 || !each.getAttribute("aria-label")).length,
            language: document.documentElement.lang, heads, levels: texts("h1").length,
            status: document.getElementById("status").getAttribute("role"),
            paper: getComputedStyle(document.body).backgroundColor};
    """)  # fmt: skip
    assert told["paper"] == "rgb(251, 251, 250)"
    assert told["count"] > 30 and told["nameless"] == [] and told["out"] == told["scrolled"] == told["heads"] == 0
    assert (told["language"], told["levels"], told["status"]) == ("en", 1, "status")


def test_nothing_but_tables_is_wider_than_a_small_screen_and_it_is_dark_where_that_is_preferred(
    four_runs, serve, tmp_path
) -> None:
    script = """
        const width = document.documentElement.clientWidth;
        const outside = each => each.getBoundingClientRect().right > width + 1;
        const wide = all("main *").filter(each => !each.closest(".scroll, .hidden, svg") && outside(each));
        const style = getComputedStyle(document.body);
        return {width, scroll: document.documentElement.scrollWidth, wide: wide.map(each => each.outerHTML),
            paper: style.backgroundColor, ink: style.color};
    """
    dark = ["--blink-settings=preferredColorScheme=0"]
    told = acted(serve, tmp_path, script, size="500,900", options=dark)
    assert told["width"] == 500 and told["scroll"] <= 500 and told["wide"] == []
    assert (told["paper"], told["ink"]) == ("rgb(21, 24, 29)", "rgb(230, 233, 238)")


def test_a_server_that_has_ended_is_told(four_runs, serve, tmp_path) -> None:
    gone = """
        window.fetch = () => Promise.reject(new TypeError("Failed to fetch"));
        await until(() => document.getElementById("status").textContent.includes("does not answer"));
        return {status: document.getElementById("status").textContent, rows: all("#runs tbody tr").length};
    """
    told = acted(serve, tmp_path, gone)
    assert told["status"] == "The server does not answer: start da-toolkit view again." and told["rows"] == 4
