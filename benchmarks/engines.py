"""Runs independent tasks one after the other, in local processes, or on a Ray cluster."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

from da_toolkit.errors import UserError
from da_toolkit.workers import start_worker, usable_cores

Task = TypeVar("Task")
Result = TypeVar("Result")
ENGINES = ("local", "ray")


def run_all(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    engine: str = "local",
    jobs: int = 1,
    address: str | None = None,
) -> Iterator[Result]:
    """Results as they are done. The first failure is raised when all running tasks have ended.

    Args:
        work: a function that other processes can import; on a cluster all machines must see the same folders.
        jobs: tasks at once; each gets an equal share of the cores. On Ray, a task asks for that many cores.
        address: of the Ray cluster; by default one is started here.
    """
    if jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {jobs}.")
    threads = max(1, usable_cores() // jobs)
    if engine == "ray":
        yield from _on_ray(work, tasks, threads, address)
    elif jobs == 1:
        yield from map(work, tasks)
    else:
        spawn = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        numbers = spawn.Queue()
        for number in range(jobs):
            numbers.put(number)
        with ProcessPoolExecutor(jobs, spawn, _use_own_cores, (numbers, threads)) as pool:
            for done in as_completed([pool.submit(work, task) for task in tasks]):
                yield done.result()


def _use_own_cores(numbers: Any, count: int) -> None:
    """Keep this process, and those that it starts, to its share of the cores; it ends with the one that started it."""
    start_worker()
    if hasattr(os, "sched_setaffinity"):  # Linux
        cores, number = sorted(os.sched_getaffinity(0)), numbers.get()
        first = number * count % len(cores)  # there may be more jobs than cores
        os.sched_setaffinity(0, cores[first : first + count])
    _use_threads(count)


def _use_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _on_ray(
    work: Callable[[Task], Result], tasks: Sequence[Task], threads: int, address: str | None
) -> Iterator[Result]:
    try:
        import ray
    except ImportError as error:
        raise UserError("--engine ray needs the package ray: pip install 'da_toolkit[ray]'.") from error

    def limited(task: Task) -> Result:
        _use_threads(threads)
        return work(task)

    mine = not ray.is_initialized()
    if mine:
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    try:
        remote: Any = ray.remote(num_cpus=threads)(limited)
        waiting = [remote.remote(task) for task in tasks]
        while waiting:
            (done,), waiting = ray.wait(waiting, num_returns=1)
            yield ray.get(done)
    finally:
        if mine:
            ray.shutdown()
