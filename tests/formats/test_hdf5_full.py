"""A full disk under HDF5, whose library would end the process."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("h5py")

PROGRAM = """
import resource, signal, sys, numpy as np, vecstore as vs
rows = np.random.default_rng(0).standard_normal((40_000, 16)).astype(np.float32)
vs.compress(rows, "a.arrow", "f32")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (MOST, MOST))
try:
    vs.decompress("a.arrow", "b.h5")
except vs.StorageError as error:
    print("refused", error)
"""


@pytest.mark.parametrize("limit", [100, 3000, 100_000, 1_000_000, 2_500_000])
def test_a_full_disk_is_an_error_and_no_crash(tmp_path, limit):
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("MOST", str(limit))],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("refused") and "b.h5" in found.stdout
    assert os.listdir(tmp_path) == ["a.arrow"]


def test_what_fits_is_written(tmp_path):
    import h5py

    import vecstore as vs

    rows = np.random.default_rng(0).standard_normal((5000, 16)).astype(np.float32)
    vs.compress(rows, tmp_path / "a.arrow", "f32")
    vs.decompress(tmp_path / "a.arrow", tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as file:
        assert np.array_equal(file["vector"][:], rows)
