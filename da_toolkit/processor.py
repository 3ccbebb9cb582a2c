"""What this machine's CPU computes with, as PyTorch knows it."""

import platform
from typing import Any


def processor() -> str:
    """Its architecture and the wide instructions in use, such as "x86_64, AVX512, AMX"."""
    import torch  # slow to import, and trackers, which tell where they run too, have no need of it

    found = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    if found[-1] == "AVX512" and _capabilities().get("amx_bf16"):
        found.append("AMX")
    return ", ".join(found)


def lacks_bfloat16() -> bool:
    """Whether it is known to have no instructions for bfloat16, which it then computes many times as slowly as single
    precision (benchmarks/cpu_convolutions.py)."""
    known = _capabilities()
    return known.get("architecture") == "x86_64" and not (known.get("avx512_bf16") or known.get("amx_bf16"))


def _capabilities() -> dict[str, Any]:
    import torch

    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch before 2.9 has none
    return found
