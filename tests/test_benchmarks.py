"""The benchmarks' own bookkeeping: results are kept by key, and a shared warm-up changes no row."""

import json
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import ablation
import accuracy
import export_equality
import hours
import method_formulas
import method_pages
import methods_page
import profile_step
import pytest
import records
import settings_table
import tables
from method_formulas import told

from da_toolkit.data import Streets
from da_toolkit.errors import UserError
from da_toolkit.exporting.programs import Format
from da_toolkit.recipe import find_recipe, load_recipe, recipe_files
from da_toolkit.registry import METHODS, MODELS
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session

RECIPE = """
from da_toolkit.data import Streets
from da_toolkit.methods import Adversarial
from da_toolkit.models.deeplab import LightDeepLabV3Plus
from da_toolkit.recipe import Recipe, Schedule, Stage, rounds
from da_toolkit.regularizers import RPT, Cluster, Patch, SpatialLogic, Superpixels
from da_toolkit.recipe import AdamW

recipe = Recipe(
    source=Streets(size=(64, 96), frames=4, val_frames=2, render_size=(64, 96)),
    target=Streets(size=(64, 96), look="camera", frames=4, val_frames=2, render_size=(64, 96)),
    model=LightDeepLabV3Plus("test_resnet", weights="none", width=8, aux=False, dropout=0.5),
    method=Adversarial(
        class_balance=0.5,
        regularizers=(
            RPT(
                Patch(1.0, threshold=0.0),
                Cluster(threshold=0.0, clusters=8, components=4),
                SpatialLogic(weight=1.0, steps=5, width=8, threshold=0.5),
                Superpixels(12),
                "class",
                trust=0.0,
            ),
        ),
    ),
    schedule=Schedule((Stage("warm-up", 2), *rounds(1, 2))),
    optimizer=AdamW(lr=1e-3),
)
"""


@pytest.mark.parametrize("base", ablation.BASES)
def test_every_base_of_the_ablation_has_rpt_last(base):
    whole = ablation.based_on(base)
    *_, rpt = ablation.overridden(whole, ablation.ROWS["CC"]).method.regularizers
    assert (rpt.patch.weight, rpt.logic.weight) == (0, 0)
    assert rpt.cluster.weight == whole.method.regularizers[-1].cluster.weight > 0
    assert isinstance(whole.source, Streets) == base.endswith("_streets")


def test_the_oracle_row_freezes_true_labels_in_the_same_regions(tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(RECIPE)
    runtime = Runtime(runs=tmp_path, workers=0, tracking="none")
    ours, oracle = (ablation.run_row(str(file), row, runtime)["diagnosis"] for row in ("all", ablation.ORACLE))
    assert oracle["patch_share"] == ours["patch_share"]
    assert oracle["patch_precision"] == pytest.approx(oracle["region_purity"])
    assert oracle["patch_precision"] > ours["patch_precision"] + 10


@pytest.mark.parametrize("row", ["none", "PC", "all", ablation.CLASSES])
def test_a_row_that_goes_on_from_the_shared_warm_up_is_the_whole_run(row, tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(RECIPE)
    runtime = Runtime(runs=tmp_path / "shared", workers=0, tracking="none")
    result = ablation.run_row(str(file), row, runtime)
    whole = Session(
        "whole",
        ablation.overridden(load_recipe(file), ablation.ROWS[row]),
        Runtime(runs=tmp_path / "alone", workers=0, tracking="none"),
    )
    whole.run()
    weights = [folder / "model.safetensors" for folder in (whole.folder, runtime.runs / result["recipe"] / "0")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    if row == "none":
        assert result["diagnosis"] == {}
    else:
        assert result["diagnosis"]["patch_share"] > 99 and 0 < result["diagnosis"]["patch_precision"] < 100
        assert 0 < result["diagnosis"]["region_purity"] <= 100


def test_a_warm_up_of_another_recipe_is_refused(tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(RECIPE)
    runtime = Runtime(runs=tmp_path / "runs", workers=0, tracking="none")
    ablation.run_row(str(file), "none", runtime)
    file.write_text(RECIPE.replace("lr=1e-3", "lr=2e-3"))
    with pytest.raises(UserError, match=r"optimizer.lr: 0.001 -> 0.002"):
        ablation.run_row(str(file), "PC", runtime)


def test_a_matrix_is_by_default_of_the_methods_that_have_a_recipe_for_its_pair():
    for pair, without in (("carla", "tent"), ("camvid", "adv_mic"), ("streets", "rpt_wide")):
        methods = accuracy.methods_on(pair)
        assert {"source_only", "adaptseg", "adv_rpt", "oracle"} <= set(methods) <= set(accuracy.METHODS)
        assert without in accuracy.METHODS and without not in methods
        for method in methods:
            assert accuracy.recipe_for(method, pair, None).schedule.steps


def test_a_result_takes_the_place_of_its_elder(tmp_path):
    file = tmp_path / "results.json"
    for seed, miou in ((0, 1.0), (1, 2.0), (0, 3.0)):
        found = records.keep(file, {"recipe": "a", "seed": seed, "miou": miou}, ("recipe", "seed"))
    assert json.loads(file.read_text()) == found
    assert sorted((result["seed"], result["miou"]) for result in found) == [(0, 3.0), (1, 2.0)]


def test_every_table_of_the_page_is_up_to_date():
    """Pages hold what tables.py writes from results/*.json: no number was typed."""
    for page in tables.PAGES:
        assert tables.filled(page.read_text()) == page.read_text()
    with pytest.raises(UserError, match="'nothing' names no table"):
        tables.filled("<!-- nothing -->\n<!-- /nothing -->")


def test_every_picture_is_drawn_from_results():
    drawn = tables.pictures()
    assert [file.stem for file in drawn] == [f"{name}_curves" for name in tables.CURVES] + ["label_precision"]
    for file, picture in drawn.items():
        assert file.read_text() == picture
        assert ElementTree.fromstring(picture).tag.endswith("svg")


def test_labels_of_rows_from_two_commits_are_drawn_side_by_side():
    labels = {"cluster_right_road": 97.0, "cluster_selects_road": 40.0}
    rows = [
        {"base": "some_recipe", "row": row, "seed": seed, "commit": commit, "device": "cpu", "diagnosis": labels}
        for row, commit in ((ablation.CLASSES, "a" * 40), ("CC", "b" * 40), ("CC", "c" * 40))
        for seed in (0, 1)
    ]
    told = ablation.picture(rows)
    assert told.count("97 % right, 40 % of all") == 2
    assert "aaaaaaaaaa, cpu, seeds 2" in told and "cccccccccc, cpu, seeds 2" in told and "bbbb" not in told
    assert ablation.picture(rows[2:]) == ""


def test_the_page_of_methods_is_the_registrys():
    """docs/methods.md is what tables.py writes, and names a test and a use for every method."""
    speed = json.loads((Path(tables.__file__).parent / "results" / "speed.json").read_text())
    assert methods_page.PAGE.read_text() == methods_page.page(speed)
    assert set(methods_page.CHECKS) == set(METHODS.names())
    assert all(METHODS[name].use.endswith(".") for name in methods_page.CHECKS)
    for _, place in methods_page.CHECKS.values():
        file, test = place.split("::")
        assert f"def {test}(" in (Path(__file__).parent / "methods" / file).read_text()


def test_every_method_has_a_page_of_its_own_with_formula_settings_and_failures():
    """docs/methods/ is what tables.py writes, and nothing else."""
    speed = json.loads((Path(tables.__file__).parent / "results" / "speed.json").read_text())
    pages = method_pages.pages(speed)
    assert {file: file.read_text() for file in method_pages.FOLDER.iterdir()} == pages
    _, every = told()
    assert set(every) == set(METHODS.names()) == {file.stem for file in pages}
    for name, (formula, fails) in every.items():
        assert formula.count("$$") >= 2 and formula.count("$") % 2 == 0 and fails.endswith("."), name


def test_a_method_without_its_failures_is_noticed(tmp_path, monkeypatch):
    page = tmp_path / "told.md"
    monkeypatch.setattr(method_formulas, "PAGE", page)
    page.write_text("# notation\nN\n# a\n$$x$$\n## When it fails\nOften.\n")
    assert told() == ("N", {"a": ("$$x$$", "Often.")})
    page.write_text("# notation\nN\n# a\n$$x$$\n# b\n$$y$$\n## When it fails\nOften.\n")
    with pytest.raises(ValueError, match=r"told\.md: a needs a formula"):
        told()


def test_settings_are_told_with_their_values_and_docstrings_through_every_part():
    found = {option: (value, what) for option, value, what in settings_table.rows(METHODS["dacs"].build())}
    assert found["regularizers.0.momentum"] == ("0.99", "Of the teacher's moving average, 0..1.")
    assert found["regularizers.0.mix.blur"] == ("0.5", "Share 0..1 of mixed images that are blurred.")
    assert found["class-balance"][0] == "0" and found["regularizers.0.weights"][0] == "batch"
    adversary = {option: value for option, value, _ in settings_table.rows(METHODS["adaptseg_multi"].build())}
    assert (adversary["discriminators.0.weight"], adversary["discriminators.1.level"]) == ("0.001", "aux")


def test_a_field_of_a_base_class_has_its_docstring_too():
    from da_toolkit.methods import SelfInformation

    docs = settings_table.field_docs(SelfInformation)
    assert docs["weight"] == "Weight of the adversarial loss in the network's objective." and "level" in docs


def test_hours_are_flops_times_steps_over_the_rate():
    steps = load_recipe(find_recipe("adaptseg_gta")).schedule.steps
    result = {"recipe": "adaptseg_gta", "flops": 6e12, "memory": {"tensors": 2**30, "activations": 2**31}}
    hours_at_ten, hours_at_sixty = 6e12 * steps / 10e12 / 3600, 6e12 * steps / 60e12 / 3600
    assert hours.table([result]).splitlines()[-1] == (
        f"| adaptseg_gta | {steps:,} | 3.0 | 6.0 | {hours_at_ten:.0f} | {hours_at_sixty:.0f} |"
    )


def test_every_method_says_which_published_row_it_restates_and_what_is_missing():
    """From its recipe and its decorator, so that neither can be forgotten."""
    rows = 0
    for entry in METHODS:
        assert entry.missing.endswith("."), entry.name
        row, name = methods_page.row_of(entry), entry.recipe or f"{entry.name}_gta"
        assert (
            f"- published row: {row or 'none'}\n- what is missing: {entry.missing}\n" in methods_page.PAGE.read_text()
        )
        reported = load_recipe(find_recipe(name)).reported
        assert bool(row) == (reported is not None) == (not entry.missing.startswith("no row is restated")), entry.name
        if reported is not None:
            rows += 1
            for part in (str(reported.miou), reported.paper, reported.network, reported.start, reported.note):
                assert part and part in row, entry.name
    assert rows >= 16


def test_every_reported_score_names_its_network_and_its_start():
    for path in recipe_files().values():
        reported = load_recipe(path).reported
        assert reported is None or (reported.network and reported.start), path.name


def test_the_accuracy_table_tells_what_each_way_of_choosing_would_have_picked():
    def result(recipe, seed, looks):
        evaluations = [
            {"step": 250 * number, "scores": {"camvid10": {"miou": miou}}, "validators": {"entropy": entropy}}
            for number, (miou, entropy) in enumerate(looks, 1)
        ]
        scores = {"camvid10": {"miou": looks[-1][0], "per_class": {"road": 50.0}}}
        rest = {"method": recipe, "steps": 500, "seconds": 1.0, "peak_memory_mb": 1.0, "commit": "a" * 40 + "-dirty"}
        rest["device"] = "cpu (x86_64)"
        return {"recipe": recipe, "seed": seed, "scores": scores, "evaluations": evaluations, "reported": None, **rest}

    results = [
        result("source_only", 0, [(30.0, 0.9), (20.0, 0.8)]),
        result("adaptseg", 0, [(40.0, 0.5), (44.0, 0.7)]),
        result("oracle", 0, [(50.0, 0.6), (60.0, 0.95)]),
    ]
    told = accuracy.table("camvid", results, "camvid10")
    assert "commit aaaaaaaaaa-dirty" in told
    assert "| last step | 3 | 41.3 | +0.0 |" in told
    assert "| entropy | 3 | 44.7 | +3.3 | +0.50 (3) |" in told  # 30, 44, 60
    assert "| oracle: uses target labels | 3 | 44.7 | +3.3 |" in told


def test_every_registered_model_has_its_export_measured_in_every_format():
    tried = export_equality.NETWORKS
    rows = [(row["network"], row["format"]) for row in json.loads(export_equality.RESULTS.read_text())]
    assert {name for name, _ in rows} == set(tried) and len(rows) == len(set(rows))
    measured = {(type(tried[name]).__name__, kind) for name, kind in rows}
    assert measured == {(name, kind) for name in MODELS.names() for kind in get_args(Format)}


def test_a_profile_names_the_parts_of_a_step_and_its_dearest_operators(tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(RECIPE)
    runtime = Runtime(runs=tmp_path, workers=0, tracking="none")
    trainer, _ = Session("tiny", load_recipe(file), runtime).build()
    trainer.done = 2
    trainer.begin(trainer.recipe.schedule.stages[1])
    profile_step.mark_parts(trainer)
    whole, parts, operators, waits = profile_step.profiled(trainer, 2, tmp_path / "trace.json")
    assert trainer.done == 4 and (tmp_path / "trace.json").stat().st_size > 10_000
    assert {"loader", "network, forward", "RPTTerm.losses", "backward through the network", "optimiser"} <= set(parts)
    assert 0 < max(parts.values()) < whole and waits >= 1
    assert "aten::convolution_backward" in [name for name, _, _ in operators[:10]]
    assert f"{waits:.0f} times" in profile_step.table(whole, parts, operators, waits)
