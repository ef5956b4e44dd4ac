"""Large files pass through a small memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

# The limit above the imports would be passed by holding any of these files at once.
ROWS, DIM, LIMIT_MIB = 200_000, 128, 48

READ = """
import sys
import numpy as np
from vecstore.formats import open_source
# Not getrusage: its peak is that of the parent before exec, if that was larger.
peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
with open_source(sys.argv[2]) as source:
    next(iter(source.batches(1)))
before = peak()
total, rows = 0.0, 0
with open_source(sys.argv[1]) as source:
    for batch in source.batches(4096):
        total += float(batch.rows[:, 0].astype(np.float64).sum())
        rows += len(batch)
print(rows, int(total), peak() - before)
"""


def write_one_group(path, rows):
    with pq.ParquetWriter(path, pa.schema({"v": pa.list_(pa.float32(), DIM)}), compression="none") as writer:
        flat = pa.array(rows.reshape(-1))
        table = pa.table({"v": pa.FixedSizeListArray.from_arrays(flat, DIM)}, writer.schema)
        writer.write_table(table, row_group_size=len(rows))


def write_one_batch(path, rows):
    table = pa.table({"v": pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), DIM)})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_batch(table.to_batches()[0])


WRITE = {
    "x.npy": lambda path, rows: np.save(path, rows),
    "fortran.npy": lambda path, rows: np.save(path, np.asfortranarray(rows)),
    "x.npz": lambda path, rows: np.savez(path, rows),
    "fortran.npz": lambda path, rows: np.savez(path, np.asfortranarray(rows)),
    "x.parquet": write_one_group,
    "x.arrow": write_one_batch,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WRITE))
def test_a_file_of_100_mb_is_read_in_half_of_it(name, tmp_path):
    rows = (np.arange(ROWS * DIM, dtype=np.int64) % 251).astype(np.float32).reshape(ROWS, DIM)
    WRITE[name](str(tmp_path / name), rows)
    small = "small-" + name
    WRITE[name](str(tmp_path / small), rows[:10])
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / name), str(tmp_path / small)],
        capture_output=True,
        text=True,
        check=True,
    )
    count, total, grown = (int(value) for value in done.stdout.split())
    assert (count, total) == (ROWS, int(rows[:, 0].astype(np.float64).sum()))
    assert grown < LIMIT_MIB, f"{name}: {grown} MiB"


def test_a_small_file_cannot_ask_for_much_memory(tmp_path, read):
    from vecstore.errors import InputError

    huge = (1 << 31) - 1
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387903, 1048576), }\n"
    files = {
        "a.npy": b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head,
        "a.fbin": huge.to_bytes(4, "little") * 2,
        "a.fvecs": huge.to_bytes(4, "little"),
        "a.bin": b"99999999999999 1048576\n",
        "a.safetensors": (1 << 62).to_bytes(8, "little"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError):
            read(tmp_path / name)
