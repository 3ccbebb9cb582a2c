"""What launchers leave in the environment is read, or told in a sentence: absent, malformed, or of another launcher."""

import os
import warnings

import pytest

import da_toolkit.ranks.launch as launching
from da_toolkit.errors import UserError
from da_toolkit.ranks.launch import launch
from da_toolkit.ranks.outside import Outside, started_outside

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}
TORCHRUN |= {"GROUP_RANK": "0"}
SRUN = {
    "SLURM_JOB_ID": "1",
    "SLURM_NTASKS": "4",
    "SLURM_NNODES": "2",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NODEID": "0",
}
SRUN |= {"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_JOB_NAME": "train"}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_", "OMPI_", "PMI_", "MV2_")) or name in TORCHRUN:
            monkeypatch.delenv(name)


def found(monkeypatch, values):
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return started_outside()


def without(values, *names):
    return {name: value for name, value in values.items() if name not in names}


def test_torchrun_and_srun_are_known(monkeypatch):
    assert started_outside() is None
    assert found(monkeypatch, TORCHRUN) == Outside("torchrun", 2, 2)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert found(monkeypatch, SRUN) == Outside("SLURM", 2, 2)


@pytest.mark.parametrize(
    "values",
    [
        {"SLURM_NTASKS": "1", "SLURM_JOB_ID": "1"},
        SRUN | {"SLURM_JOB_NAME": "interactive"},
        {"SLURM_JOB_ID": "1", "PMI_SIZE": "2"},  # a shell of salloc
        {"WORLD_SIZE": "1"},
        {"OMPI_COMM_WORLD_SIZE": "1"},
    ],
)
def test_one_process_is_one_process(monkeypatch, values):
    assert found(monkeypatch, values) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (without(SRUN, "SLURM_NTASKS_PER_NODE"), "--nodes and --ntasks-per-node"),
        (without(SRUN, "SLURM_LOCALID"), "write `srun` before the command"),
        (without(SRUN, "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"), "srun did not start this process"),
        (SRUN | {"SLURM_NTASKS": "two"}, "SLURM_NTASKS is 'two'.*--ntasks-per-node"),
        (SRUN | {"SLURM_PROCID": ""}, "SLURM_PROCID is ''"),
        (SRUN | {"SLURM_NNODES": "2(x3)"}, "SLURM_NNODES is '2"),
        (SRUN | {"SLURM_NNODES": "3"}, "SLURM started 4 processes on 3 machines"),
        (without(TORCHRUN, "LOCAL_WORLD_SIZE"), "torchrun did not set LOCAL_WORLD_SIZE"),
        (TORCHRUN | {"WORLD_SIZE": "-2"}, "WORLD_SIZE is '-2'"),
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "0"}, "equally many"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "mpirun seems to have started several.*unset OMPI_COMM_WORLD_SIZE"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "not torchrun seems to have started several"),
        ({"WORLD_SIZE": "all"}, "WORLD_SIZE is all"),
    ],
)
def test_what_is_wrong_is_told_with_the_remedy(monkeypatch, values, said):
    with pytest.raises(UserError, match=said):
        found(monkeypatch, values)


def test_lightnings_own_errors_are_told_in_a_paragraph(monkeypatch):
    for name, value in (SRUN | {"SLURM_NTASKS_PER_NODE": "7"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"4 processes of this run could not come together.*ntasks-per-node=7"):
        launch(None, "32-true")


def test_a_meeting_that_fails_is_told_with_its_place(monkeypatch):
    for name, value in (TORCHRUN | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "99999999"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"4 processes.*could not come together.*127\.0\.0\.1:99999999"):
        launch(None, "32-true")


@pytest.mark.parametrize(("load", "threads", "told"), [(1.4, 2, True), (1.4, 1, False), (0.3, 2, False)])
def test_a_busy_machine_is_told_to_who_starts_several_threads(monkeypatch, load, threads, told):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(launching, "usable_cores", lambda: 2)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        launching._tell_if_busy(threads)
    assert [str(warning.message).count("OMP_NUM_THREADS=1") for warning in found] == [1] * told
