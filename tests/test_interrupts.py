"""Ctrl-C at any moment before training: exit code 130, and not a word."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from da_toolkit.interrupts import INTERRUPTED, ended_by_interrupts


@pytest.mark.parametrize("what", ["import slow", "try:\n        import slow\n    except BaseException: pass"])
def test_an_import_is_ended_whatever_it_makes_of_an_interrupt(tmp_path, what):
    (tmp_path / "slow.py").write_text(
        "import time\nprint('importing', flush=True)\ntry: time.sleep(30)\nexcept BaseException as e: raise ImportError"
    )
    code = f"from da_toolkit.interrupts import ended_by_interrupts\nwith ended_by_interrupts():\n    {what}"
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=10)
    assert (process.returncode, told) == (INTERRUPTED, "")


@pytest.mark.parametrize("words", [["run", "adaptseg_gta", "--help"], ["compare", "--help"], ["run", "--list"]])
def test_a_command_is_ended_while_it_loads(words):
    """At moments all over its start, from the first line of our own code on."""
    code = "import sys, da_toolkit.cli as cli; sys.argv = ['da-toolkit', *{}]; print('begun', flush=True); cli.main()"
    for wait in (0.2, 0.5, 1.0):
        process = subprocess.Popen(
            [sys.executable, "-c", code.format(words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "begun\n"
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert "Traceback" not in told and process.returncode in (0, INTERRUPTED, -signal.SIGINT), (wait, told)


def test_the_usual_handler_comes_back_and_threads_are_left_alone():
    before = signal.getsignal(signal.SIGINT)
    with ended_by_interrupts():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    entered = []

    def work():
        with ended_by_interrupts():
            entered.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [True]
