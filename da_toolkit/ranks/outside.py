"""Who started this process among others: torchrun, SLURM, or a launcher that the toolkit does not know."""

import os
from dataclasses import dataclass

from da_toolkit.errors import UserError

_OTHERS = {
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpirun",
    "MV2_COMM_WORLD_SIZE": "mpirun",
    "WORLD_SIZE": "a launcher that is not torchrun",
}
"""How many processes other launchers say that they have started."""
_TORCHRUN = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK", "GROUP_RANK")
_SRUN = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
_INTERACTIVE = ("bash", "interactive")
"""Names of SLURM jobs that are a shell, in which one process is wanted, as Lightning has it."""


@dataclass(frozen=True)
class Outside:
    """Who it was, and how many processes run on each of how many machines."""

    name: str
    here: int
    machines: int


def started_outside() -> Outside | None:
    """Of torchrun or SLURM; none for a process on its own.

    Raises:
        UserError: what they left in the environment is incomplete or malformed, or another launcher started several.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        numbers = {name: _number(name, "torchrun", "start the command with torchrun") for name in _TORCHRUN}
        total, here = numbers["WORLD_SIZE"], numbers["LOCAL_WORLD_SIZE"]
        return _equally("torchrun", total, total // here if here else 0)
    if "SLURM_NTASKS" in os.environ:
        tasks = _number("SLURM_NTASKS", "SLURM", "give --ntasks-per-node")
        if tasks > 1 and os.environ.get("SLURM_JOB_NAME") not in _INTERACTIVE:
            return _slurm(tasks)
    elif "SLURM_JOB_ID" not in os.environ:
        _refuse_others()
    return None


def _slurm(tasks: int) -> Outside:
    if any(name not in os.environ for name in _SRUN):
        raise UserError(
            f"The SLURM job has {tasks} tasks, but srun did not start this process: write `srun` before the command in "
            "the job's script, or ask for --ntasks-per-node=1."
        )
    for name in _SRUN:
        _number(name, "SLURM", "start the command with srun")
    if "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise UserError(
            f"srun started {tasks} tasks without saying how many a machine has: give --nodes and --ntasks-per-node, "
            "to sbatch or to srun, in the place of --ntasks (-n)."
        )
    machines = _number("SLURM_NNODES", "SLURM", "give --nodes") if "SLURM_NNODES" in os.environ else 1
    return _equally("SLURM", tasks, machines)


def _equally(name: str, total: int, machines: int) -> Outside:
    if machines < 1 or total % machines:
        raise UserError(f"{name} started {total} processes on {machines} machines; start equally many on each.")
    return Outside(name, total // machines, machines)


def _number(variable: str, launcher: str, remedy: str) -> int:
    value = os.environ.get(variable)
    if value is None:
        raise UserError(f"{launcher} did not set {variable} in the environment: {remedy}.")
    if not value.strip().isdecimal():
        raise UserError(f"{variable} is {value!r} in the environment, and {launcher} sets it to a number: {remedy}.")
    return int(value)


def _refuse_others() -> None:
    for variable, launcher in _OTHERS.items():
        value = os.environ.get(variable, "1").strip()
        if not value.isdecimal() or int(value) > 1:
            raise UserError(
                f"{variable} is {value} in the environment: {launcher} seems to have started several processes, which "
                f"would not know of each other. Start them with torchrun, srun or --devices, or unset {variable}."
            )
