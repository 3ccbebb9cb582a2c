"""`da-toolkit`: the same commands as `python -m da_toolkit.COMMAND`, names without torch, completion."""

import os
import subprocess
import sys

import pytest

from da_toolkit import __version__
from da_toolkit.cli import COMMANDS, main


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["da-toolkit", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_help_names_every_command(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "--help")
    assert code == 0 and all(f"\n  {name} " in out for name in COMMANDS)
    assert call(monkeypatch, capsys)[0] == 2


def test_the_version_is_the_packages(monkeypatch, capsys):
    assert call(monkeypatch, capsys, "--version")[:2] == (0, f"da-toolkit {__version__}\n")


def test_an_unknown_command_is_told_with_the_nearest(monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, "predcit", "runs")
    assert code == 2 and "Unknown command 'predcit'. Did you mean 'predict'?" in err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_answers_help_both_ways(name):
    ways = {f"da-toolkit {name}": ["da_toolkit", name], f"python -m da_toolkit.{name}": [f"da_toolkit.{name}"]}
    for prog, command in ways.items():
        done = subprocess.run([sys.executable, "-m", *command, "--help"], capture_output=True, text=True)
        assert done.returncode == 0 and prog in done.stdout + done.stderr, done.stderr


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["run", "--list"], ["run", "--family", "entropy"]])
def test_names_need_no_torch(words):
    code = (
        f"import sys; sys.argv = ['da-toolkit', *{words}]\n"
        "from da_toolkit.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "assert not {'torch', 'timm', 'numpy', 'albumentations'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_importing_the_package_loads_nothing():
    code = "import sys, da_toolkit; assert not {'torch', 'numpy', 'rich', 'tyro'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bash_completes_commands_recipes_and_options(tmp_path):
    script = tmp_path / "completion.sh"
    words = [sys.executable, "-m", "da_toolkit", "--tyro-print-completion", "bash"]
    script.write_text(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    def completed(*typed):
        line = " ".join(["da-toolkit", *typed[:-1], f"'{typed[-1]}'"])
        code = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(typed)}; _tyro_da_toolkit; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        environment = os.environ | {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
        return subprocess.run(["bash", "-c", code], capture_output=True, text=True, env=environment).stdout.split()

    assert completed("pre") == ["predict", "prepare"]
    assert completed("run", "adaptseg_ls_") == [f"adaptseg_ls_{pair}" for pair in ("camvid", "carla", "gta", "synthia")]
    assert completed("prepare", "che") == ["check"]
    assert completed("compare", "--base") == ["--baseline"]


@pytest.mark.parametrize("words", [["--tyro-print-completion"], ["--tyro-print-completion", "tish"]])
def test_completion_asks_for_a_shell(monkeypatch, capsys, words):
    code, _, err = call(monkeypatch, capsys, *words)
    assert code == 2 and "needs the name of a shell: bash, zsh" in err
