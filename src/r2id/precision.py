"""The two precisions that networks run in: float32, and bfloat16 where the device multiplies in it.

A device with units for bfloat16 multiplies several times as fast in it. One without takes some ten times as long as in
float32 (docs/speed.md), which therefore stands in for it there.
"""

from __future__ import annotations

import torch

REPLACED = "this device does not multiply in bfloat16, and computes in float32 instead"


def usable_precision(precision: str, device: torch.device | str) -> str:
    """The precision to compute in on a device where `precision`, "no" (float32) or "bf16", is asked for.

    "bf16" stays what it is on GPUs from Ampere on, and on CPUs of which oneDNN says that they have it: with AVX-512 or
    AMX, or Arm's bf16. Elsewhere "no" takes its place.
    """
    return precision if precision == "no" or _multiplies_bfloat16(torch.device(device)) else "no"


def autocast(precision: str, device: torch.device | str) -> torch.autocast:
    """The usable precision, as a context for the networks to run in."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=usable_precision(precision, device) == "bf16")


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # Public is only how wide vectors are, which says nothing of bfloat16; a build without oneDNN has no fast one.
        answer = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
        return answer is not None and bool(answer())
    return True
