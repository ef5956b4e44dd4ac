"""What a measurement was taken on: processor, instruction set, versions."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from vecstore.kernels.isa import ISA

PACKAGES = (
    "vecstore", "numpy", "numba", "llvmlite", "pyarrow", "zstandard", "faiss-cpu", "blosc2", "pcodec",
    "usearch", "turbovec", "rabitqlib", "torch", "fbgemm-gpu-cpu", "lmdb", "pylance",
)  # fmt: skip


def describe() -> dict[str, object]:
    """The processor, the cores this process may use, and the versions of what takes part."""
    versions = {name: version for name in PACKAGES if (version := _version(name))}
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "isa": ISA,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **versions,
    }


def cores() -> int:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pin(threads: int) -> None:
    """Keeps this process on its last `threads` processors: the first one takes most interrupts."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def peak_bytes() -> int | None:
    """The most memory this process has held at a time (VmHWM); None where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    kib = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return None if kib is None else 1024 * int(kib)


def forget_peak() -> int | None:
    """Sets the peak back to what is held now and returns that; None where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return peak_bytes()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        if name == "vecstore":
            return str(sys.modules["vecstore"].__version__) if "vecstore" in sys.modules else None
        return None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
