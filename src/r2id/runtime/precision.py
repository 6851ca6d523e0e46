"""Precision of the networks: float32, or bfloat16 on devices that multiply in it.

Devices with bfloat16 units multiply several times as fast in it. Others take some ten times as long as in float32
(docs/speed.md), so float32 replaces it there.
"""

from __future__ import annotations

import torch

UNITS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""torch's names of bfloat16 units on x86 and Arm."""

REPLACED = "this device does not multiply in bfloat16, and computes in float32 instead"


def usable_precision(precision: str, device: torch.device | str) -> str:
    """Return the precision to compute in when `precision`, "fp32" or "bf16", is requested on a device.

    "bf16" is kept on GPUs from Ampere on, and on CPUs with bfloat16 units and a torch with oneDNN. These are x86 with
    AVX512_BF16 or AMX, and Arm with BF16. "fp32" replaces it elsewhere. An old torch that cannot name the units of a
    CPU counts any AVX-512 as one.
    """
    return precision if precision == "fp32" or _multiplies_bfloat16(torch.device(device)) else "fp32"


def autocast(precision: str, device: torch.device | str) -> torch.autocast:
    """Return a context in which networks run in the usable precision."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=usable_precision(precision, device) == "bf16")


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # Units need kernels of oneDNN, which also has slow ones for any AVX-512.
        kernels = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
        capabilities = getattr(torch.cpu, "get_capabilities", None)
        has_units = capabilities is None or any(capabilities().get(name) for name in UNITS)
        return has_units and kernels is not None and bool(kernels())
    return True
