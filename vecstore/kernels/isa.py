"""The instruction set that kernels are generated for, found once at import.

`VECSTORE_ISA=scalar|avx2|avx512|neon` forces one; all of them give the same codes bit for bit. FEATURES are
what some machines of a set have beyond it; `VECSTORE_ISA=avx512-vnni-vbmi` goes without these two.
"""

from __future__ import annotations

import os
import platform

import llvmlite.binding as llvm

from vecstore.errors import SpecError

LANES_OF = {"scalar": 1, "neon": 4, "avx2": 8, "avx512": 16}  # float32 lanes of one vector register
_BEYOND = {"avx512": {"vnni": "avx512vnni", "vbmi": "avx512vbmi"}}
_NEEDS = {"avx512": ("avx512f", "avx512bw", "avx512vl", "avx512dq"), "avx2": ("avx2", "fma")}


def available() -> tuple[str, ...]:
    """The instruction sets that this machine runs, best first; `scalar` is always last."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        return ("neon", "scalar")
    features = llvm.get_host_cpu_features()
    found = [isa for isa, needs in _NEEDS.items() if all(features.get(need) for need in needs)]
    return (*found, "scalar")


def _choose() -> str:
    machine = available()
    forced = os.environ.get("VECSTORE_ISA", "").partition("-")[0]
    if not forced:
        return machine[0]
    if forced not in LANES_OF:
        raise SpecError(f"VECSTORE_ISA is {forced!r}; expected one of {', '.join(LANES_OF)}")
    if forced not in machine:
        raise SpecError(f"VECSTORE_ISA is {forced!r}; this machine runs {', '.join(machine)}")
    return forced


def _features(isa: str) -> frozenset[str]:
    without = os.environ.get("VECSTORE_ISA", "").split("-")[1:]
    known = _BEYOND.get(isa, {})
    if unknown := set(without) - set(known):
        raise SpecError(
            f"VECSTORE_ISA goes without {', '.join(unknown)}; {isa} can only do without {set(known)}"
        )
    host = llvm.get_host_cpu_features()
    return frozenset(name for name, needs in known.items() if host.get(needs) and name not in without)


ISA = _choose()
FEATURES = _features(ISA)
LANES = LANES_OF[ISA]
