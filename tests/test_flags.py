"""Misspelt flags: what is near is offered, at most three, and nothing where nothing is."""

import pytest

from da_toolkit import cli
from da_toolkit.errors import UserError, exits_cleanly
from da_toolkit.flags import near_flags, unknown_flag

VALID = [
    *("--batch-size", "--compile", "--no-compile", "--optimizer.lr", "--optimizer.clip", "--optimizer.momentum"),
    *("--method.discriminators.0.weight", "--method.discriminators.0.width", "--method.discriminators.1.weight"),
    *("--schedule.stages.0.steps", "--evaluation.flip", "--evaluation.no-flip", "--source.frames", "--target.frames"),
]


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("--optimizer.lrr", ["--optimizer.lr"]),
        ("--optimizer.lrr=3", ["--optimizer.lr"]),
        ("--optimzer.lr", ["--optimizer.lr"]),
        ("--batch_siz", ["--batch-size"]),
        ("--compil", ["--compile"]),
        ("--no-compil", ["--no-compile"]),
        ("--lr", ["--optimizer.lr"]),
        ("--steps", ["--schedule.stages.0.steps"]),
        ("--frame", ["--source.frames", "--target.frames"]),
        ("--optimizer_lr", ["--optimizer.lr"]),
        ("--source-frames", ["--source.frames"]),
        ("--schedule-stages-0-steps", ["--schedule.stages.0.steps"]),
        ("--method.discriminators.0.weigth", ["--method.discriminators.0.weight"]),
        (
            "--method.discriminators.7.weight",
            ["--method.discriminators.0.weight", "--method.discriminators.1.weight"],
        ),
        ("--zebra", []),
        ("--optimizer.zebra", []),
    ],
)
def test_only_near_flags_are_offered_the_nearest_first(typed, near):
    assert near_flags(typed, VALID) == near


def test_at_most_three_are_offered():
    assert len(near_flags("--weihgt", [f"--part{number}.weight" for number in range(9)])) == 3


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("--schedul.x", "Did you mean --schedule.stages.0.steps? `run --help` shows all."),
        ("--metod.x", "`run --help` shows those that begin with --method."),
        (
            "--metod.discriminator.2.x",
            "Did you mean --method.discriminators.2.kind or --method.discriminators.2.layers? `run --help` shows all.",
        ),
        ("--zebra.x", "`run --help` shows all."),
    ],
)
def test_where_the_end_is_unknown_the_beginning_is_told(typed, told):
    many = [*VALID, *(f"--method.other{letter}" for letter in "abc")]
    many += [f"--method.discriminators.2.{name}" for name in ("kind", "layers")]
    assert str(unknown_flag(typed, many, "run")) == f"Unknown flag {typed}. {told}"


RUN = "run adaptseg_gta"
COMMAND_LINES = {
    f"{RUN} --metod.x 3": "Unknown flag --metod.x. `da-toolkit run adaptseg_gta --help` shows those that begin with "
    "--method.",
    f"{RUN} --demo --optimizer.lrr 3": "Unknown flag --optimizer.lrr. Did you mean --optimizer.lr? ",
    f"{RUN} --batch_siz=3": "Unknown flag --batch_siz. Did you mean --batch-size? ",
    f"{RUN} -demo": "Unknown flag -demo. Did you mean --demo? ",
    f"{RUN} --chek": "Did you mean --check? ",
    f"{RUN} rare-classes:rare-classes --rare-classes.temprature 3": "Did you mean --rare-classes.temperature? ",
    f"{RUN} --zebra": "Unknown flag --zebra. `da-toolkit run adaptseg_gta --help` shows all.",
    f"{RUN} extra": "da-toolkit run adaptseg_gta: nothing takes the word 'extra'. ",
    f"{RUN} --optimizer.lr abc": "--optimizer.lr takes a number, got 'abc'. ",
    f"{RUN} --batch-size two": "--batch-size takes a whole number, got 'two'. ",
    f"{RUN} --source.size a b": "--source.size takes 2 whole numbers, got ['a', 'b']. ",
    f"{RUN} --devices 1.5": "--devices takes None or a whole number, got '1.5'. ",
    f"{RUN} --optimizer.lr": "--optimizer.lr needs a number. ",
    f"{RUN} --source.size 3": "--source.size needs 2 whole numbers. ",
    f"{RUN} --precision bf16": "bf16-mixed, 16-mixed, got 'bf16'. Did you mean 'bf16-mixed'? ",
    f"{RUN} --precision": "--precision needs one of 32-true, bf16-mixed, 16-mixed. ",
    f"{RUN} --tracking": "--tracking needs a word. ",
    f"{RUN} --data-root": "--data-root needs a file or folder. ",
    f"{RUN} --devices --seed 1": "--devices needs a whole number. ",
    f"{RUN} --evaluation.window": "--evaluation.window takes None or 2 whole numbers, got nothing. ",
    "prepare check adaptseg_gta --picture": "--picture needs a file or folder. ",
    f"{RUN} --compile true": "--compile takes no value, got 'true': --no-compile turns it off. ",
    f"{RUN} --no-resume yes": "--resume takes no value, got 'yes': --no-resume turns it off. ",
    f"{RUN} --compil": "Unknown flag --compil. Did you mean --compile? ",
    f"{RUN} --recompute --seed 1": "--recompute needs one of none, cheap, blocks. ",
    f"{RUN} --demo=3": "Argument --demo: ignored explicit argument '3'. ",
    "run --lisst": "Unknown flag --lisst. Did you mean --list? ",
    "run --list --family": "Argument --family: expected one argument. ",
    "evaluate --recpe own.py": "Unknown flag --recpe. Did you mean --recipe? ",
    "evaluate ./runs/tiny//0/ --scale 1": "runs/tiny/0 is not the folder of a finished run",
    "evaluate --scales 1 runs/tiny/0": "The run comes first: da-toolkit evaluate RUN --scales ...",
    "predict runs/tiny/0 a.jpg --outptu b": "Unknown flag --outptu. Did you mean --output? ",
    "predict --outptu b runs/tiny/0 a.jpg": "Unknown flag --outptu. Did you mean --output? ",
    "predict runs/tiny/0 a.jpg --write mask": "got 'mask'. Did you mean 'masks'? ",
    "export runs/tiny/0 --formt onnx": "Unknown flag --formt. Did you mean --format? ",
    "export runs/tiny/0 --format onxx": "--format takes one of onnx, torch-export, safetensors, got 'onxx'. ",
    "view --prot 1": "Unknown flag --prot. Did you mean --port? ",
    "compare --basline x": "Unknown flag --basline. Did you mean --baseline? ",
    "prepare": "da-toolkit prepare takes one of check, export, superpixels, show. ",
    "prepare chek adaptseg_gta": "got 'chek'. Did you mean 'check'? ",
    "prepare check": "da-toolkit prepare check needs RECIPE. `da-toolkit prepare check --help` tells more.",
    "prepare check --demoo adaptseg_gta": "Did you mean --demo? `da-toolkit prepare check --help` shows all.",
    "prepare export streets --size 3": "--size takes None or 2 whole numbers, got '3'. ",
    "track sync runs/tiny/0 --trackng none": "Unknown flag --trackng. Did you mean --tracking? ",
    "track": "da-toolkit track needs sync, RUN. ",
    "init": "da-toolkit init needs FOLDER. ",
    "init --sorce carla own": "Unknown flag --sorce. Did you mean --source? ",
    "demo --stpes 3": "Unknown flag --stpes. Did you mean --steps? ",
    "--versoin": "Unknown flag --versoin. Did you mean --version? `da-toolkit --help` shows all.",
}


@pytest.mark.parametrize("line", COMMAND_LINES)
@pytest.mark.parametrize("columns", ["40", "200"])
def test_a_wrong_word_ends_every_command_with_one_paragraph(line, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit) as ended:
        exits_cleanly(lambda: cli._dispatch(line.split()))
    said = capsys.readouterr()
    assert ended.value.code == 2 and said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("error: ") and COMMAND_LINES[line] in said.err


def test_every_command_has_such_a_line():
    assert {line.split()[0] for line in COMMAND_LINES} >= set(cli.COMMANDS)


def test_a_setting_of_another_name_is_no_flag_of_run_alone(capsys):
    """`run --batch-size=4` may be meant for a recipe: the help says that one is missing."""
    with pytest.raises(SystemExit) as ended:
        cli._dispatch(["run", "--batch-size=4"])
    assert ended.value.code == 2 and "Without a recipe there is nothing to run" in capsys.readouterr().err


def test_what_a_recipe_warns_of_while_it_is_read_is_still_said(capsys):
    import sys
    from dataclasses import dataclass

    from da_toolkit.commands.parsing import parsed

    @dataclass(frozen=True)
    class Loud:
        """Settings that say something."""

        size: int = 1

        def __post_init__(self):
            if self.size == 2:
                print("two is little", file=sys.stderr)
            if self.size == 3:
                raise UserError("size must not be 3.")

    assert parsed(Loud, ["--size", "2"], "loud") == Loud(2) and "two is little" in capsys.readouterr().err
    with pytest.raises(UserError, match="must not be 3"):
        parsed(Loud, ["--size", "3"], "loud")
