"""What ledgers say is what is there: arrays that live, files on disk, memory of a process that reads all."""

import gc
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import vecstore as vs
from vecstore.cli.accounts import read_all
from vecstore.codecs.base import Codec
from vecstore.codecs.tables.state import file_ledger
from vecstore.memory import held_bytes

sys.path.append(str(Path(__file__).parent / "codecs"))
from cases import SPECS, make_rows

ROWS = make_rows(300, 8)
MEMORY_PARTS = ("codes", "side", "shared", "ids", "index")
FILE_PARTS = ("codes", "side", "shared", "ids", "index", "format", "carried")
# Around an archive of Arrow's form: names, shapes, types, and padding to 64 bytes of each array.
FORM_BYTES, ARRAY_FORM_BYTES = 1200, 420

READ = """
import resource, sys
import numpy as np
import vecstore as vs

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def read(kind, path):
    if kind == "table":
        table = vs.table_open(path)
        fields = {name: np.arange(count) for name, count, _ in table.setup.fields}
        for name, ids in fields.items():
            for start in range(0, len(ids), 4096):
                table.lookup({name: ids[start : start + 4096]})
        return table
    found = vs.open(path)
    for ids, rows in found.scan(4096):
        rows.sum()
    found.get(ids[:1])
    found.search(np.ones((1, found.dim), np.float32), 1, metric="cosine")
    return found

kind, small, large = sys.argv[1:]
kept = [read(kind, small)]  # libraries, kernels and their tables are there from here on
before = resident()
kept.append(read(kind, large))
print(resident() - before, kept[1].ledger().total if kind == "table" else kept[1].memory_ledger().total)
"""


def arrays(codec):
    """All that it holds, a chain's parts in turn."""
    inside = [*getattr(codec, "transforms", ()), *([codec.codec] if hasattr(codec, "codec") else [])]
    return [array for part in (codec, *inside) for array in part.arrays().values()]


@pytest.mark.parametrize("spec", SPECS)
def test_a_codec_s_ledger_counts_its_codes_and_its_live_arrays(spec):
    codec = vs.fit(spec, ROWS)
    live = sum(array.nbytes for array in arrays(codec))
    form = FORM_BYTES + ARRAY_FORM_BYTES * len(arrays(codec))
    if not isinstance(codec, Codec):
        assert live <= len(vs.dumps(codec)) <= live + form
        return
    codes, ledger = codec.encode(ROWS), codec.ledger(len(ROWS))
    assert ledger.codes + ledger.side == codes.nbytes and ledger.side == codec.side_bytes * len(ROWS)
    assert ledger.shared == len(vs.dumps(codec))
    assert live <= ledger.shared <= live + form
    assert ledger.total == codes.nbytes + ledger.shared


@pytest.mark.parametrize("spec", SPECS)
def test_an_archive_s_ledger_is_its_file(spec, tmp_path):
    ids = [f"row {number}" for number in range(len(ROWS))]
    ledger = vs.compress(ROWS, tmp_path / "a.arrow", spec, ids=ids).ledger
    assert ledger.total == (tmp_path / "a.arrow").stat().st_size
    assert ledger.total == sum(getattr(ledger, part) for part in FILE_PARTS)
    assert ledger.ids >= sum(map(len, ids)) and ledger.carried == 0
    with vs.open(tmp_path / "a.arrow") as archive:
        assert archive.ledger() == ledger
        if isinstance(archive.codec, Codec):
            assert ledger.codes + ledger.side == archive.codec.code_bytes * len(ROWS)
            # Arrow keeps the codec's bytes in a text of its metadata.
            assert ledger.shared >= archive.codec.ledger(0).shared


def traced(path):
    """What reading all of a collection leaves in memory, by Python's and Arrow's own counts (the most and the
    least), and by its account."""
    for _ in range(2):  # What was open before is found by the second.
        gc.collect()
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        with vs.open(path) as found:
            read_all(found)
            gc.collect()
            shot = tracemalloc.take_snapshot()
            ours = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
            sizes = [trace.size for trace in shot.filter_traces([ours]).traces]
            most = sum(sizes) + pa.total_allocated_bytes() - before
            return most, most - sizes.count(1), found.memory_ledger()  # numpy asks for a byte to hold nothing
    finally:
        tracemalloc.stop()


def read_once(path):
    """Kernels are loaded from here on, and what all codecs share."""
    with vs.open(path) as found:
        read_all(found)


@pytest.mark.parametrize(("spec", "ids"), [*((spec, "numbers") for spec in SPECS), ("pq", "words")])
def test_an_archive_s_memory_is_its_live_arrays(spec, ids, tmp_path):
    """All arrays that numpy and Arrow have made and not let go; Arrow rounds its own up to 64 bytes each."""
    names = [f"row {7 * number}" for number in range(300)] if ids == "words" else 7 * np.arange(300)
    vs.compress(ROWS, tmp_path / "a.arrow", spec, ids=names, metric="cosine")
    read_once(tmp_path / "a.arrow")
    most, least, memory = traced(tmp_path / "a.arrow")
    assert memory.total == sum(getattr(memory, part) for part in MEMORY_PARTS)
    assert least - (4 * 64 if ids == "words" else 0) <= memory.total <= most, memory
    assert memory.ids >= 8 * len(ROWS)
    with vs.open(tmp_path / "a.arrow") as archive:
        if isinstance(archive.codec, Codec):
            assert memory.shared >= sum(array.nbytes for array in arrays(archive.codec))
            alone = archive.codec.memory_ledger(300)
            assert alone.codes + alone.side == 300 * archive.codec.code_bytes
            assert alone.shared == held_bytes(archive.codec)


@pytest.mark.parametrize("keep", [None, "f16"])
@pytest.mark.parametrize("ids", ["numbers", "words"])
def test_a_store_s_memory_is_its_live_arrays(keep, ids, tmp_path):
    def named(numbers):
        return numbers if ids == "numbers" else [f"word {number}" for number in numbers]

    with vs.Store.create(tmp_path / "s", dim=8, codec="sq:bits=8", keep=keep) as store:
        for first in (0, 300, 600):
            store.put(named(range(first, first + 300)), ROWS)
        store.delete(named([5, 600]))
        store.refit("pq:m=2,bits=4")
        store.compact()
        store.put(named(range(1000, 1300)), ROWS)
    read_once(tmp_path / "s")
    most, least, memory = traced(tmp_path / "s")
    assert least - (4 * 64 if ids == "words" else 0) <= memory.total <= most, memory
    assert memory.shared > 0 and memory.ids > 0 and memory.codes > 0


@pytest.mark.parametrize("keep", [None, "f16"])
@pytest.mark.parametrize("ids", ["numbers", "words"])
def test_a_store_s_ledger_is_its_files_whatever_was_done_to_it(keep, ids, tmp_path):
    def named(numbers):
        return numbers if ids == "numbers" else [f"word {number}" for number in numbers]

    def right(store):
        files = [path for path in (tmp_path / "s").rglob("*") if path.is_file() and path.name != "LOCK"]
        return store.ledger().total == sum(path.stat().st_size for path in files)

    with vs.Store.create(tmp_path / "s", dim=8, codec="sq:bits=8", keep=keep) as store:
        store.put(named(range(300)), ROWS, columns={"at": list(range(300))})
        store.put(named(range(100, 200)), ROWS[:100], columns={"at": list(range(100))})
        store.delete(named([5, 6]))
        store.gc()
        assert right(store)
        store.refit("pq:m=2,bits=4")
        store.put(named(range(300, 310)), ROWS[:10], columns={"at": list(range(10))})
        store.compact()
        store.gc()
        assert right(store) and store.check() == []
    with vs.Store.open(tmp_path / "s", read_only=True) as store:
        assert right(store) and len(store) == 308


def growth(kind, small, large):
    """Resident bytes that reading all of the large one adds to a fresh process that has read a small one, and
    what its account says that it holds then."""
    done = subprocess.run(
        [sys.executable, "-c", READ, kind, str(small), str(large)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()))


def archive(path, rows):
    return vs.compress(rows, path, "f16").ledger.total


def searched(path, rows):
    """Codes that a search lays out in memory."""
    return vs.compress(rows, path, "sq:bits=8", ids=3 * np.arange(len(rows))).ledger.total


def codebooks(path, rows):
    """Few rows, and much that was learned."""
    return vs.compress(rows[:300], path, f"rq:m={len(rows) // 450}").ledger.total


def store(path, rows):
    with vs.Store.create(path, dim=rows.shape[1], codec="sq:bits=8", keep="f16") as made:
        made.put(np.arange(len(rows)), rows)
        return made.ledger().total


def table(path, rows, method="plain", budget=None, **options):
    made = vs.table(method, {"user": len(rows), "item": 10}, dim=rows.shape[1], budget=budget, **options)
    made.finish()
    made.save(path)
    return made.ledger().serve


def held(made):
    return sum(array.nbytes for array in made.arrays().values())


# With budgets, of the plain table's bytes, that give each enough of them to be seen in a process.
TABLES = {
    **dict.fromkeys(("plain", "int8", "int16", "alpt")),
    **dict.fromkeys(("tt", "dpq", "mgqe"), "5%"),
    **dict.fromkeys(
        (
            "lowbit", "fewbits", "unified", "unified:rows=int8", "hash", "lowrank", "dynamic", "cafe",
            "adaembed", "prune", "pep", "mde", "cce",
        ),
        "20%",
    ),
}  # fmt: skip


def asked(label):
    """Method, budget and options of a label of TABLES."""
    method, _, rest = label.partition(":")
    return {
        "method": method,
        "budget": TABLES[label],
        **dict(part.split("=") for part in rest.split(",") if part),
    }


@pytest.mark.parametrize("label", TABLES)
def test_a_table_s_ledger_is_its_live_arrays_and_its_file(label, tmp_path):
    """While it learns, when it is finished, and when it is opened again."""
    wanted = asked(label)
    made = vs.table(wanted.pop("method"), {"user": 20_000, "item": 10}, dim=16, **wanted)
    ids = {"user": np.arange(500), "item": np.arange(500) % 10}
    for _ in range(3):
        made.update({name: np.sin(7 * rows) for name, rows in made.lookup(ids).items()}, lr=0.05)
        assert held(made) == made.ledger().total
    made.finish()
    serve = made.ledger().serve
    assert held(made) == made.ledger().total == serve
    made.save(tmp_path / "t")
    form = FORM_BYTES + ARRAY_FORM_BYTES * len(made.arrays())
    assert serve <= (tmp_path / "t").stat().st_size <= serve + form
    disk = file_ledger(tmp_path / "t")
    assert disk.total == (tmp_path / "t").stat().st_size and 0 < disk.format <= form
    assert {**disk.as_dict(), "format": 0, "total": serve} == made.ledger().as_dict()
    opened = vs.table_open(tmp_path / "t")
    assert held(opened) == opened.ledger().total == serve
    for name, rows in made.lookup(ids).items():
        assert np.array_equal(opened.lookup(ids)[name], rows)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("label", ["unified", "int8", "alpt", "tt", "dpq", "dynamic", "cafe", "prune"])
def test_reading_all_of_a_table_takes_the_memory_that_its_ledger_says(label, tmp_path):
    """At most a fifth more than the ledger's bytes, and eight MiB of what lookups of 4,096 ids take. A table
    that learned as plain rows does not hold these again when it is opened to serve."""
    rows = np.empty((150_000, 64), np.float32)
    table(tmp_path / "small", rows[:4000], **asked(label))
    serve = table(tmp_path / "large", rows, **asked(label))
    grown, held = growth("table", tmp_path / "small", tmp_path / "large")
    assert held == serve
    assert 0.9 * serve <= grown <= 1.2 * serve + (8 << 20), (grown, serve)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("make", [archive, searched, codebooks, store, table])
def test_reading_all_takes_the_memory_that_its_account_says(make, tmp_path):
    """At most a tenth more, and 24 MiB of what batches are read into, decoded in, and searched with. Of a
    table, Arrow's allocator may keep the buffer that its file was read into."""
    rows = np.random.default_rng(0).standard_normal((60_000, 128), dtype=np.float32)
    make(tmp_path / "small", rows[:6400])
    total = make(tmp_path / "large", rows)
    kind, kept = ("table", total) if make is table else ("archive", 0)
    grown, held = growth(kind, tmp_path / "small", tmp_path / "large")
    assert 0.9 * held <= grown <= 1.1 * held + kept + (24 << 20), (grown, held)
