"""Saving: no second copy in memory, and a file that is whole whenever a process is killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vecstore as vs

PEAK = """
import sys, threading, time
import numpy as np, vecstore as vs
from vecstore.train.export import dump

def held():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024

class Peak:
    def __enter__(self):
        self.before, self.most, self.on = held(), 0.0, True
        self.thread = threading.Thread(target=self.watch); self.thread.start(); return self
    def watch(self):
        while self.on:
            self.most = max(self.most, held() - self.before); time.sleep(0.0005)
    def __exit__(self, *_):
        self.on = False; self.thread.join()

folder = sys.argv[1]
def made(count):
    table = vs.table("plain", {"x": count}, dim=16, optimizer="adagrad")
    table.lookup({"x": np.arange(0, count, 97)})
    table.update({"x": np.ones((-(-count // 97), 16))}, lr=0.1)
    return table
def everything(table, name):
    yield "whole", lambda: table.save(f"{folder}/{name}", force=True)
    table.lookup({"x": [1, 2]}); table.update({"x": np.ones((2, 16))}, lr=0.1)
    yield "delta", lambda: table.save(f"{folder}/{name}.delta", since=f"{folder}/{name}", force=True)
    yield "dump", lambda: dump(table, f"{folder}/{name}.arrow", force=True)
for _, run in everything(made(1000), "small"):
    run()
for what, run in everything(made(500_000), "large"):  # 61 MiB, rows and state
    with Peak() as peak:
        run()
    print(what, peak.most)
"""

KILLED = """
import sys
import numpy as np, vecstore as vs
path = sys.argv[1]
table = vs.table("cafe", {"x": 20_000}, budget="50%", dim=32)
while True:
    rows = table.lookup({"x": np.arange(table.updates, table.updates + 500)})
    table.update({"x": np.cos(rows["x"])}, lr=0.1)
    table.save(path, force=True)
    print(table.updates, flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts pages as Linux does")
def test_files_are_written_without_a_second_copy_in_memory(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, check=True, env=_env()
    )
    found = {what: float(mib) for what, mib in (line.split() for line in ran.stdout.splitlines())}
    assert set(found) == {"whole", "delta", "dump"}
    assert all(mib < 20 for mib in found.values()), found


@pytest.mark.parametrize("wait", [0.003, 0.02, 0.05])
def test_a_killed_process_leaves_the_last_whole_table(wait, tmp_path):
    path = tmp_path / "it.table"
    command = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_env()) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        time.sleep(wait)
        process.kill()
        said = [int(line) for line in process.stdout.read().split()] or [3]
    table = vs.table_open(path)
    assert said[-1] <= table.updates <= said[-1] + 1
    assert [file.name for file in tmp_path.iterdir()] == ["it.table"]


def _env():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
