"""The two precisions that networks run in: float32, and bfloat16 where the device multiplies in it.

A device with units for bfloat16 multiplies several times as fast in it. One without takes some ten times as long as in
float32 (docs/speed.md), which therefore stands in for it there.
"""

from __future__ import annotations

import torch

UNITS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""What torch calls a CPU's units for bfloat16, of x86 and of Arm."""

REPLACED = "this device does not multiply in bfloat16, and computes in float32 instead"


def usable_precision(precision: str, device: torch.device | str) -> str:
    """The precision to compute in on a device where `precision`, "fp32" or "bf16", is asked for.

    "bf16" stays what it is on GPUs from Ampere on, and on CPUs with units for it: x86 with AVX512_BF16 or AMX, Arm with
    BF16, where torch is built with oneDNN. Elsewhere "fp32" takes its place. A torch too old to name a CPU's units
    takes any AVX-512 for them.
    """
    return precision if precision == "fp32" or _multiplies_bfloat16(torch.device(device)) else "fp32"


def autocast(precision: str, device: torch.device | str) -> torch.autocast:
    """The usable precision, as a context for the networks to run in."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=usable_precision(precision, device) == "bf16")


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # Without kernels of oneDNN, units are of no use; oneDNN has some for any AVX-512, which work around as well.
        kernels = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
        capabilities = getattr(torch.cpu, "get_capabilities", None)
        has_units = capabilities is None or any(capabilities().get(name) for name in UNITS)
        return has_units and kernels is not None and bool(kernels())
    return True
