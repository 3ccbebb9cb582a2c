"""Tasks give the same results in this process, in several, and on a real Ray instance; failures are not swallowed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import engines
import pytest

from da_toolkit.errors import UserError
from da_toolkit.workers import usable_cores


def square(number):
    import torch

    if number < 0:
        raise UserError(f"{number} is negative")
    return number, number * number, os.getpid(), torch.get_num_threads()


@pytest.fixture(params=["one process", "two processes", "ray"])
def options(request, monkeypatch):
    """Keyword arguments of `run_all`; other processes must be able to import this file."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(Path(engines.__file__).parent)]))
    if request.param == "ray":
        pytest.importorskip("ray", reason="ray is not installed")
    return {
        "one process": {},
        "two processes": {"jobs": 2},
        "ray": {"engine": "ray", "jobs": 2},
    }[request.param]


def test_every_task_is_done_once(options):
    results = list(engines.run_all(square, [1, 2, 3, 4, 5], **options))
    assert sorted(result[:2] for result in results) == [(n, n * n) for n in (1, 2, 3, 4, 5)]
    elsewhere = {pid for *_, pid, _ in results} != {os.getpid()}
    assert elsewhere == bool(options)
    if options:
        assert {threads for *_, threads in results} == {max(1, usable_cores() // 2)}


def cores(task):
    """Those that its process may use. Tasks that meet in a folder wait for each other, so that no process does two."""
    folder, number, others = task
    (Path(folder) / str(number)).touch()
    while len(list(Path(folder).iterdir())) < others:
        time.sleep(0.05)
    return tuple(sorted(os.sched_getaffinity(0)))


@pytest.mark.skipif(usable_cores() < 2 or not hasattr(os, "sched_getaffinity"), reason="needs two cores, on Linux")
def test_jobs_keep_to_their_own_cores(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(Path(engines.__file__).parent)]))
    first, second = set(engines.run_all(cores, [(tmp_path, 1, 2), (tmp_path, 2, 2)], jobs=2))
    assert len(first) == len(second) == usable_cores() // 2 and not set(first) & set(second)
    more = set(engines.run_all(cores, [(tmp_path, n, 0) for n in range(3)], jobs=usable_cores() + 1))
    assert {len(own) for own in more} == {1}


def test_a_failure_reaches_the_caller(options):
    with pytest.raises(UserError, match="-7 is negative"):
        list(engines.run_all(square, [-7], **options))


def test_no_jobs_at_all_is_refused():
    with pytest.raises(UserError, match="--jobs"):
        list(engines.run_all(square, [1], jobs=0))


def wait(folder):
    """Says which process does it, and does not end by itself."""
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)


def alive(process):
    """Whether it runs: one that has ended stays in the list until its new parent asks for it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="processes are told of their parent's end on Linux alone")
def test_jobs_end_with_the_process_that_started_them(tmp_path):
    code = f"import engines, test_engines; list(engines.run_all(test_engines.wait, [{str(tmp_path)!r}] * 2, jobs=2))"
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(engines.__file__).parent)])
    main = subprocess.Popen(
        [sys.executable, "-c", f"if __name__ == '__main__': {code}"], env=os.environ | {"PYTHONPATH": path}
    )
    for _ in range(1200):
        if len(list(tmp_path.iterdir())) == 2:
            break
        time.sleep(0.1)
    jobs = [int(file.name) for file in tmp_path.iterdir()]
    assert len(jobs) == 2 and all(map(alive, jobs))
    main.kill()
    main.wait()
    for _ in range(300):
        if not any(map(alive, jobs)):
            return
        time.sleep(0.1)
    raise AssertionError(f"{jobs} go on")
