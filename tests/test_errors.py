import ast
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import da_toolkit
from da_toolkit.data.listing import images_in
from da_toolkit.errors import UserError, exits_cleanly, meant, unknown_name
from da_toolkit.notices import Notice
from da_toolkit.recipe import find_recipe


def test_of_very_many_names_the_nearest_are_listed():
    told = str(unknown_name("backbone", "resnet999", [f"resnet{number}" for number in range(300, 900)]))
    assert "Did you mean 'resnet899'? Among 600 valid names: resnet899" in told and told.count("resnet") == 12


@pytest.mark.parametrize("count", [20, 200])
def test_names_that_are_not_alike_are_not_offered(count):
    told = str(unknown_name("recipe", "nothing", [f"rpt_synthia{number}" for number in range(count)]))
    assert "Did you mean" not in told and told.count("synthia") == (20 if count == 20 else 0)
    assert ("None of 200 valid names is like it." in told) == (count == 200)


def interrupted():
    raise KeyboardInterrupt


def mistaken():
    raise UserError("The file a.png is missing.")


@pytest.mark.parametrize(
    ("main", "code", "told"),
    [(lambda: None, 0, ""), (interrupted, 130, ""), (mistaken, 2, "error: The file a.png is missing.\n")],
)
def test_a_command_ends_with_its_code_and_one_paragraph_at_most(main, code, told, capsys):
    with pytest.raises(SystemExit) as ended:
        exits_cleanly(main)
    assert ended.value.code == code and capsys.readouterr().err == told


OWN = """
import json

def main():
    raise ValueError("first line" + chr(10) + "  second.")

def below():
    json.loads("{")

def silent():
    assert False

def to_nobody():
    raise BrokenPipeError
"""


@pytest.fixture
def own(own_code):
    return own_code(OWN)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("main", "line 5: ValueError: first line second. Mend it there.\n"),
        ("silent", "line 11: AssertionError. Mend it there.\n"),
    ],
)
def test_what_a_line_of_a_recipe_file_raises_is_told_with_it(own, capsys, name, told):
    file, module = own
    with pytest.raises(SystemExit) as ended:
        exits_cleanly(getattr(module, name))
    assert ended.value.code == 2 and capsys.readouterr().err == f"error: Recipe {file}, {told}"


def test_what_is_raised_below_a_line_of_a_recipe_keeps_its_traceback_and_names_the_line(own):
    file, module = own
    with pytest.raises(ValueError, match="Expecting property name") as caught:
        exits_cleanly(module.below)
    assert caught.value.__notes__ == [f"It was raised below a line of a recipe: {file}, line 8."]


MISCALLED = """
from da_toolkit.terms.term import Term

class Short(Term):
    def losses(self):
        return {}

    def follow(self, network, speed):
        pass

    def update(self, step):
        return helper(step)

def helper(one):
    return one

def alone():
    pass
"""


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda own: own.Short().losses(1),
            "line 5: Short.losses() takes 1 positional argument but 2 were given; it is called as losses(self, step).",
        ),
        (
            lambda own: own.Short().follow(1),
            "line 8: Short.follow() missing 1 required positional argument: 'speed'; it "
            "is called as follow(self, network).",
        ),
        (lambda own: own.alone(speed=1), "line 17: alone() got an unexpected keyword argument 'speed'."),
    ],
)
def test_a_function_of_a_recipe_file_that_is_called_with_more_than_it_takes_is_told(own_code, capsys, call, told):
    file, module = own_code(MISCALLED)
    with pytest.raises(SystemExit) as ended:
        exits_cleanly(lambda: call(module))
    assert ended.value.code == 2 and capsys.readouterr().err == f"error: Recipe {file}, {told} Mend it there.\n"


def test_a_wrong_call_of_anybody_elses_function_keeps_its_traceback(own_code):
    _, module = own_code(MISCALLED)
    assert module.Short().update(3) == 3
    with pytest.raises(TypeError, match="unknown_name"):
        exits_cleanly(lambda: unknown_name(1))


def test_a_notice_is_a_sentence_and_a_librarys_warning_keeps_its_place(capsys):
    def main():
        warnings.warn("Two images are small.", category=Notice, stacklevel=2)
        warnings.warn("of a library", stacklevel=1)

    before = warnings.formatwarning
    with pytest.raises(SystemExit) as ended, warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *told, **_: sys.stderr.write(warnings.formatwarning(*told[:4]))  # not pytest's
        exits_cleanly(main)
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert ended.value.code == 0 and first == "warning: Two images are small."
    assert second.endswith("UserWarning: of a library") and "test_errors.py:" in second
    assert warnings.formatwarning is before


def test_noise_of_libraries_is_not_shown_and_only_while_a_command_runs(capsys):
    """torch's own words, of more workers than cores."""
    from torch.utils.data import DataLoader

    def loading():
        DataLoader([1], num_workers=(os.cpu_count() or 1) + 1)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(SystemExit):
            exits_cleanly(loading)
        assert [str(warning.message) for warning in seen] == []
        loading()
        assert seen and str(seen[0].message).startswith("This DataLoader will create")


def test_every_warning_of_the_toolkit_is_a_notice():
    """Its category is what lets commands tell it without a line of code."""
    for file in Path(da_toolkit.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
                told = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert told.get("category") in ("Notice", "DeprecationWarning"), f"{file}, line {node.lineno}"


def test_a_broken_pipe_of_a_recipes_own_is_no_mistake_in_it(own):
    with pytest.raises(BrokenPipeError):
        exits_cleanly(own[1].to_nobody)


def test_the_toolkits_own_faults_keep_their_traceback():
    with pytest.raises(ZeroDivisionError) as caught:
        exits_cleanly(lambda: 1 // 0)
    assert not hasattr(caught.value, "__notes__")


LINES = """
import os, sys
from da_toolkit.errors import UserError, exits_cleanly

def main():
    print("first", flush=True)
    sys.stdin.readline()  # until the reader has gone
    ENDS

exits_cleanly(main)
"""
_ENDS = {
    "many lines": "[print('line') for _ in range(99999)]",
    "what is flushed at the end": "print('last')",
    "help": "print('usage'); sys.exit(0)",
    "a mistake": "print('last'); raise UserError('The file a.png is missing.')",
}


@pytest.mark.parametrize("ends", _ENDS.values(), ids=_ENDS)
def test_a_reader_that_goes_away_ends_a_command_without_a_word(ends):
    told, code = without_a_reader(LINES.replace("ENDS", ends))
    assert code == 141 and told == ("error: The file a.png is missing.\n" if "UserError" in ends else "")


def test_another_broken_pipe_is_not_taken_for_the_outputs():
    dead = "sys.stdout = open(os.dup(1), 'w'); ends = os.pipe(); os.close(ends[0]); os.write(ends[1], b'x')"
    told, code = without_a_reader(LINES.replace("ENDS", dead), gone=False)
    assert code == 1 and "BrokenPipeError" in told


def test_a_run_goes_on_when_nobody_reads_its_lines_any_more():
    program = """
import sys
from da_toolkit.runs.progress import make_progress

progress = make_progress(10)
progress.note("first")
sys.stdin.readline()
for step in range(10):
    progress.report(step, {"seg": 1.0}, 1.0)
print("done", file=sys.stderr)
"""
    told, code = without_a_reader(program)
    assert code == 0 and told.splitlines() == ["warning: nobody reads this run's output any more; it goes on.", "done"]


def without_a_reader(program, gone=True):
    """What a program says on stderr, and its exit code, if its output's reader goes after the first line."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    quiet = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen([sys.executable, "-c", program], text=True, env=quiet, **pipes) as writer:
        assert writer.stdout.readline() == "first\n"
        if gone:
            writer.stdout.close()
        writer.stdin.write("go on\n")
        writer.stdin.close()
        return writer.stderr.read(), writer.wait(60)


def test_the_nearest_name_is_offered_and_a_far_one_is_not():
    assert meant("fotos", ["photos", "runs"]) == " Did you mean 'photos'?"
    assert meant("zebra", ["photos", "runs"]) == "" == meant("zebra", [])


def test_a_missing_folder_and_a_missing_recipe_file_are_told_with_their_neighbour(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "my_project.py").touch()
    with pytest.raises(UserError, match="Did you mean 'photos'"):
        images_in(tmp_path / "fotos" / "train", "Folder train")
    with pytest.raises(UserError, match=r"my_projct\.py does not exist\. Did you mean 'my_project\.py'"):
        find_recipe(str(tmp_path / "my_projct.py"))


def test_a_package_that_is_missing_altogether_tells_which_python_asked(capsys):
    def main():
        raise ModuleNotFoundError("No module named 'rich'", name="rich")

    with pytest.raises(SystemExit) as ended:
        exits_cleanly(main)
    told = capsys.readouterr().err
    assert ended.value.code == 2 and "rich is not installed for" in told and "activate" in told
    with pytest.raises(ModuleNotFoundError):  # a fault of ours
        exits_cleanly(lambda: __import__("da_toolkit.nothing"))
