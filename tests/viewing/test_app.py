"""What the server answers: JSON of runs, their own pictures, and nothing else to nobody else."""

import io
import json

import numpy as np
import pytest
from PIL import Image


def told(served, path):
    status, headers, content = served(path)
    assert status == 200 and headers["content-type"] == "application/json", content
    return json.loads(content)


def test_the_list_holds_runs_in_training_finished_and_damaged(make_run, served) -> None:
    make_run("a/0"), make_run("b/0", result={})
    (make_run("c/0") / "result.json").write_text("{")
    lines = {line["label"]: line for line in told(served, "api/runs")["runs"]}
    assert [lines[label]["state"] for label in ("a/0", "b/0", "c/0")] == ["training", "finished", "training"]
    assert lines["a/0"]["miou"] == {"toy": 40.0} and lines["b/0"]["miou"] == {"toy": 50.0}
    assert [lines[label]["warnings"] for label in ("a/0", "c/0")] == [1, 2]
    damaged = told(served, f"api/runs/{lines['c/0']['key']}")
    assert damaged["problems"][0].startswith("result.json is damaged")


def test_a_runs_details_are_those_of_its_folder(make_run, served) -> None:
    make_run("a/0")
    key = told(served, "api/runs")["runs"][0]["key"]
    details = told(served, f"api/runs/{key}")
    assert details["classes"]["classes as trained"]["car"] == pytest.approx(50.0)
    assert details["colors"]["road"] == "#804080" and details["confusion"]["matrix"][0] == [16, 4, 0]
    assert [(each["when"], each["what"]) for each in details["pictures"]] == [
        ("round 1", "rpt"),
        ("step 60", ""),
        ("step 40", ""),
    ]
    assert details["settings"]["optimizer.lr"] == "0.001" and details["settings"]["run.seed"] == "0"
    status, _, content = served(f"runs/{key}/{details['pictures'][0]['address']}")
    assert status == 200 and Image.open(io.BytesIO(content)).getpixel((0, 0)) == (1, 2, 3)


def test_runs_that_saw_one_image_share_a_scene_and_open_with_source_only_against_another(make_run, served) -> None:
    make_run("a/0", result={}), make_run("b/0", result={}, method="SourceOnly", decided=0)
    keys = {line["label"]: line["key"] for line in told(served, "api/runs")["runs"]}
    both = told(served, f"api/together?run={keys['a/0']}&run={keys['b/0']}&run=unknown")
    album = both["album"]
    assert both["runs"] == [keys["a/0"], keys["b/0"]] and len(album["scenes"]) == 1
    assert list(album["scenes"][0]["views"]) == [
        *("image", "label", "a/0", "b/0", "errors of a/0", "errors of b/0"),
    ]
    assert (album["left"], album["right"]) == ("b/0", "a/0")
    assert [group["title"] for group in both["curves"]] == ["Scores", "Losses", "Speed and decisions"]
    assert both["curves"][0]["pictures"][0]["name"] == "mIoU in percent, toy"
    views = album["scenes"][0]["views"]
    red = {}
    for label in ("a/0", "b/0"):
        status, _, content = served(album["files"][views[f"errors of {label}"]])
        shown = np.asarray(Image.open(io.BytesIO(content)))
        red[label] = bool((shown[..., 0] > 2 * shown[..., 1].astype(int)).all())
        assert status == 200 and shown.shape == (20, 40, 3)
    assert red == {"a/0": True, "b/0": False}, "a decides car where the label is road"


def test_where_the_label_is_ignored_is_no_error(make_run, served) -> None:
    folder = make_run("a/0")
    label = np.zeros((20, 40, 3), np.uint8)
    label[:, 20:] = (128, 64, 128)
    Image.fromarray(label).save(folder / "predictions" / "0_label.png")
    key = told(served, "api/runs")["runs"][0]["key"]
    shown = np.asarray(Image.open(io.BytesIO(served(f"runs/{key}/errors/0.png")[2])))
    assert (shown[:, :20] == 0).all() and (shown[:, 20:, 0] > 150).all()


def test_only_a_runs_own_pictures_are_served(make_run, served, tmp_path) -> None:
    folder = make_run("a/0")
    (tmp_path / "secret.png").write_bytes((folder / "pictures" / "round_1_rpt.png").read_bytes())
    (folder / "pictures" / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "pictures" / "page.html").write_text("<script>alert(1)</script>")
    (folder / "pictures" / "no.png").write_text("<svg/>")
    (folder / "pictures" / "odd #?%<b>.png").write_bytes((tmp_path / "secret.png").read_bytes())
    line = told(served, "api/runs")["runs"][0]
    base = f"runs/{line['key']}"
    addresses = [
        *(f"{base}/pictures/link.png", f"{base}/pictures/page.html", f"{base}/pictures/no.png"),
        *(f"{base}/pictures/../recipe.json", f"{base}/pictures/%2e%2e%2frecipe.json", f"{base}/a/../recipe.json"),
        *(f"{base}/pictures/%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fsecret.png", f"{base}/./recipe.json"),
        *(f"{base}/checkpoints/x.png", f"{base}/errors/9.png", f"{base}/errors/-1.png", "runs/0/pictures/x.png"),
        *("recipe.json", "api/runs/none", "../conftest.py", "page.py", f"{base}/pictures//etc/passwd"),
    ]
    assert {address: served(address)[0] for address in addresses} == dict.fromkeys(addresses, 404)
    odd = next(each for each in told(served, f"api/runs/{line['key']}")["pictures"] if "odd" in each["what"])
    assert served(f"{base}/{odd['address']}")[0] == 200
    (folder / "predictions" / "0_label.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert served(f"{base}/errors/0.png")[0] == 404
    (folder / "pictures" / "round_1_rpt.png").unlink()
    (folder / "pictures").rename(tmp_path / "elsewhere")
    (folder / "pictures").symlink_to(tmp_path / "elsewhere")
    assert served(f"{base}/pictures/step_000060.png")[0] == 404, "a folder that is a link may lead anywhere"


def test_other_sites_are_refused_and_answers_forbid_what_the_page_does_not_need(served) -> None:
    assert served("api/runs", {"Host": "evil.example"})[0] == 400
    assert served("api/runs", {"Host": "localhost:8770"})[0] == 200
    for path in ("", "page.js", "api/runs", "nothing"):
        headers = served(path)[1]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in headers["content-security-policy"]


def test_dozens_of_runs_are_listed_and_so_many_at_once_are_refused(make_run, served) -> None:
    for number in range(30):
        make_run(f"many_{number}/0", pictures=0)
    keys = [line["key"] for line in told(served, "api/runs")["runs"]]
    assert len(keys) == 30
    status, _, content = served("api/together?" + "&".join(f"run={key}" for key in keys))
    assert status == 400 and "At most 24 runs" in json.loads(content)["error"]
    both = told(served, "api/together?" + "&".join(f"run={key}" for key in keys[:24]))
    looks = {(each["color"], each["dash"]) for each in both["styles"]}
    assert len(looks) == 24 and both["curves"][0]["pictures"][0]["svg"].count("data-curve") == 24


def test_names_from_files_are_escaped_in_the_pictures_of_curves(make_run, served) -> None:
    reports = [{"step": step, '<img src=x onerror="x">': 1.0 * step} for step in (1, 2)]
    make_run('odd"><script>/0', reports=reports)
    key = told(served, "api/runs")["runs"][0]["key"]
    svg = told(served, f"api/together?run={key}")["curves"][0]["pictures"][0]["svg"]
    assert "<script" not in svg and "<img" not in svg and "&lt;script&gt;" in svg
