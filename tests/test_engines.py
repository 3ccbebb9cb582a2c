"""Tasks give the same results in this process, in several, and on a real Ray instance; failures are not swallowed."""

import os
from pathlib import Path

import engines
import pytest

from da_toolkit.errors import UserError


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
        assert {threads for *_, threads in results} == {max(1, os.cpu_count() // 2)}


def test_a_failure_reaches_the_caller(options):
    with pytest.raises(UserError, match="-7 is negative"):
        list(engines.run_all(square, [-7], **options))


def test_no_jobs_at_all_is_refused():
    with pytest.raises(UserError, match="--jobs"):
        list(engines.run_all(square, [1], jobs=0))
