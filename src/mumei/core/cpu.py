"""What the processor says of itself: vendor and instructions. Nothing is measured, so one machine always answers the same."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

EIGHT_BIT = {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm", "asimddp"}  # sums of 8-bit products in one instruction


def _fields() -> dict[str, str]:
    """Return the first processor's lines of /proc/cpuinfo; nothing where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def cpu_vendor() -> str:
    """Return the processor's vendor (`AuthenticAMD`, `GenuineIntel`), or its architecture where none is told."""
    vendor = _fields().get("vendor_id")
    if vendor:
        return vendor
    # Windows names the vendor here, macOS an architecture.
    last = platform.processor().rpartition(",")[2].strip()
    return last or platform.machine() or "unknown"


@cache
def cpu_flags() -> frozenset[str]:
    """Return the names of the processor's instruction sets, as Linux spells them; nothing elsewhere."""
    fields = _fields()
    return frozenset(fields.get("flags", fields.get("Features", "")).split())


def multiplies_bytes() -> bool:
    """Whether 8-bit products are faster than float32 ones here: the processor has instructions for their sums.

    Without them torch's 8-bit product was measured at a tenth of the float32 one's speed (AMD Zen 3).
    """
    return bool(EIGHT_BIT & cpu_flags())


def multiplies_bfloat16() -> bool:
    """Whether bfloat16 products are faster than float32 ones here.

    AMX tiles, AVX512_BF16 on AMD processors and Arm's BF16 give up to 2 to 8 times the float32 speed. On an Intel processor
    whose tiles are switched off (many virtual machines), AVX512_BF16 alone was measured at half of it: 85 against 160 GFLOP/s
    a core (Emerald Rapids). Without either, bfloat16 is emulated. Where the flags are not told, torch is asked.
    """
    flags = cpu_flags()
    if not flags:
        import torch

        probes = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
        return any(probe() for probe in probes if probe is not None)
    return bool({"amx_bf16", "bf16"} & flags) or ("avx512_bf16" in flags and cpu_vendor() != "GenuineIntel")
