"""What a run records of a CPU, and when it says that a precision is slow there."""

import warnings

import pytest
import torch

from da_toolkit.processor import lacks_bfloat16, processor
from da_toolkit.ranks.launch import _tell_if_slow


@pytest.fixture
def cpu(monkeypatch):
    """Gives the machine another CPU."""

    def become(vectors, **capabilities):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: vectors)
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64"} | capabilities, raising=False
        )

    return become


def test_matrix_instructions_are_told_where_they_are_in_use(cpu, monkeypatch):
    cpu("AVX512", amx_bf16=True)
    assert processor().endswith(", AVX512, AMX")
    cpu("AVX2", amx_bf16=True)  # turned off by the environment
    assert processor().endswith(", AVX2")
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert processor().endswith(", AVX2")


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
@pytest.mark.parametrize(
    ("capabilities", "lacks"),
    [
        *(({}, True), ({"avx512_bf16": True}, False), ({"amx_bf16": True}, False)),
        ({"architecture": "aarch64"}, False),  # of which PyTorch tells less
    ],
    ids=str,
)
def test_bfloat16_without_instructions_for_it_is_told_to_be_slow(cpu, capabilities, lacks, precision):
    cpu("AVX2", **capabilities)
    assert lacks_bfloat16() == lacks
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        _tell_if_slow(precision)
    assert [str(one.message).endswith("Leave it out.") for one in told] == [True] * (lacks and precision != "32-true")


def test_where_pytorch_does_not_tell_nothing_is_said(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not lacks_bfloat16()
