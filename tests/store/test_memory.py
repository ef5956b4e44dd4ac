"""`memory=`: what a search holds is bounded, measured from outside, and finds the same."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from vecstore.store import Store

DIM, ROWS, SEGMENTS = 128, 50_000, 8
CHILD = """
import json, sys
import numpy as np
from vecstore.bench import machine
from vecstore.kernels.threads import set_threads
from vecstore.store import Store

set_threads(1)
path, small, memory = sys.argv[1], sys.argv[2], sys.argv[3] or None
queries = np.random.default_rng(5).standard_normal((20, 128)).astype(np.float32)

def look(path):
    with Store.open(path, memory=memory) as store:
        found = []
        for _ in range(3):
            found = [store.search(queries, 5, metric=metric)[0].tolist() for metric in ("ip", "l2")]
        files = {line.split()[-1] for line in open("/proc/self/maps") if path in line and ".arrow" in line}
        rows = store.get(np.arange(0, len(store), 97))
        return found, float(rows.sum()), len(files)

look(small)
before = machine.forget_peak()
answer = look(path)
print(json.dumps([machine.peak_bytes() - before, *answer]))
"""


def make(path, rows, spec, keep):
    with Store.create(path, dim=DIM, codec=spec, keep=keep) as store:
        for segment in range(SEGMENTS):
            rng = np.random.default_rng(segment)
            ids = np.arange(segment * rows, (segment + 1) * rows)
            store.put(ids, rng.standard_normal((rows, DIM), dtype=np.float32), check_space=False)
        store.reindex()
    return str(path)


def look(path, small, memory):
    done = subprocess.run(
        [sys.executable, "-c", CHILD, path, small, memory], capture_output=True, text=True, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="asks the system for the peak")
@pytest.mark.parametrize("spec", ["sq:bits=8", "rabitq:bits=4"])
def test_a_search_holds_no_more_than_it_was_given(tmp_path, spec):
    path, small = make(tmp_path / "x.store", ROWS, spec, None), make(tmp_path / "s.store", 2000, spec, None)
    codes = os.path.getsize(path + "/segments/" + os.listdir(path + "/segments")[0]) * SEGMENTS
    plain, little = look(path, small, ""), look(path, small, "4MB")
    assert little[1] == plain[1]
    assert plain[0] > codes  # laid out for the kernel, and more
    assert little[0] < plain[0] / 2
    assert plain[3] == SEGMENTS and little[3] <= 4


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="asks the system for the peak")
def test_finer_rows_do_not_stay_in_memory(tmp_path):
    path = make(tmp_path / "x.store", ROWS, "sign", "f16")
    small = make(tmp_path / "s.store", 2000, "sign", "f16")
    plain, little = look(path, small, ""), look(path, small, "24MB")
    assert little[1] == plain[1] and little[0] < 0.6 * plain[0]
