"""Stores forged with checksums that fit: refused, in bounded memory, and nothing outside is touched."""

import base64
import json
import os
import struct
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from conftest import some_rows

import vecstore as vs
from vecstore.store import Store, layout, tags, versions
from vecstore.store.manifest import sealed, unsealed

CAP = 256 << 20  # bytes of address space more than a sound store takes
READER = """
import resource, sys
import numpy as np
import vecstore as vs

def read(path):
    findings = vs.check(path)
    with vs.Store.open(path) as store:
        list(store.scan())
        store.get([1])
        store.search(np.ones((1, store.dim)))
        store.delete([1])
        store.compact()
        store.gc()
        return findings

read(sys.argv[1])
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + int(sys.argv[2]),) * 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[3:]:
    try:
        assert read(path), path
    except vs.VecstoreError as error:
        print(path, type(error).__name__, error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, "MiB")
"""


@pytest.fixture
def store(make):
    store = make(codec="center+f16", keep="f32")
    store.put([1, 2, 3], some_rows(3), columns={"n": [1, 2, 3]})
    store.delete([2])
    store.compact()
    store.delete([3])
    return store


def change(store, edit):
    """Edits the facts of the newest manifest."""
    path = versions.path_of(store.path, store.version)
    with open(path, "rb") as file:
        facts = unsealed(file.read(), path)
    edit(facts)
    with open(path, "wb") as file:
        file.write(sealed(facts))


def put(*keys, value):
    def edit(facts):
        for key in keys[:-1]:
            facts = facts[key]
        facts[keys[-1]] = value(facts[keys[-1]]) if callable(value) else value

    return edit


DEEP = {}
for _ in range(200):
    DEEP = {"a": DEEP}
FIELDS = pa.schema([("n", pa.string())])
FORGERIES = {
    "segment climbs out": put("segments", 0, "name", value="../../../../etc/passwd"),
    "segment is absolute": put("segments", 0, "name", value="/etc/passwd"),
    "codec climbs out": put("codec", value="../" * 20 + "x" * 4),
    "deletes climb out": put("segments", 0, "deletes", 0, "name", value="..%2f" * 6 + "ab"),
    "rows overflow": put("segments", 0, "rows", value=1 << 63),
    "rows are many": put("segments", 0, "rows", value=1 << 40),
    "rows are negative": put("segments", 0, "rows", value=-1),
    "rows are true": put("segments", 0, "rows", value=True),
    "rows are one more": put("segments", 0, "rows", value=lambda rows: rows + 1),
    "size overflows": put("segments", 0, "size", value=1 << 64),
    "size is many": put("segments", 0, "size", value=1 << 61),
    "both are many": lambda facts: facts["segments"][0].update(rows=1 << 39, size=1 << 61),
    "deletes are many": lambda facts: facts["segments"][0]["deletes"][0].update(rows=1 << 30, size=1 << 34),
    "one segment twice": put("segments", value=lambda segments: segments * 2),
    "deletes twice": put("segments", 0, "deletes", value=lambda deletes: deletes * 2),
    "dim is much": put("card", "dim", value=1 << 60),
    "ids are dates": put("id_type", value="date32"),
    "dim is another": put("card", "dim", value=9),
    "ids are text": put("id_type", value="string"),
    "columns are others": put("columns", value=base64.b64encode(FIELDS.serialize()).decode()),
    "columns are none": put("columns", value=None),
    "columns are no schema": put("columns", value=base64.b64encode(b"x" * 99).decode()),
    "card is a list": put("card", value=[]),
    "segments are a number": put("segments", value=7),
    "format is text": put("format", value="new"),
    "created is no date": put("created", value="yesterday"),
    "sources are deep": put("sources", value=DEEP),
    "no segments key": lambda facts: facts.pop("segments"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_manifests_are_refused(store, name):
    change(store, FORGERIES[name])
    store.close()
    assert vs.check(store.path) != []
    with pytest.raises(vs.VecstoreError), Store.open(store.path) as forged:
        forged.get([1])
        list(forged.batches())
        forged.search(some_rows(1))
        forged.delete([1])
        forged.compact()


def raw(store, body):
    path = versions.path_of(store.path, store.version)
    with open(path, "wb") as file:
        file.write(body + f"vecstore-sum xxh3_128 {xxhash.xxh3_128_hexdigest(body)}\n".encode())


def test_forged_text_is_refused(store):
    for body in (b"[" * 1_000_000, b'{"a":' * 100_000 + b"1" * 50_000, b"", b"null", b"\xff", b"1" * 10_000):
        raw(store, body + b"\n")
        with pytest.raises(vs.CorruptError):
            Store.open(store.path)
        assert vs.check(store.path) != [] and not vs.repair(store.path).sound


def test_a_forged_tag_is_refused(store):
    store.tag("a")
    path = layout.tag_path(store.path, "a")
    for facts in ([], {}, {"tag": "a"}, {"tag": "a", "manifest": 7}, {"tag": "b", "manifest": {}}):
        with open(path, "wb") as file:
            file.write(sealed(facts))
        with pytest.raises(vs.CorruptError):
            tags.read(store.path, "a")
        assert vs.check(store.path) != []


def lying(values):
    """An Arrow stream of compressed zeros that say they are 2**44 bytes."""
    out = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(out, values.schema, options=options) as writer:
        writer.write_batch(values)
    length = struct.pack("<q", values.column(0).nbytes)
    data = bytes(out.getvalue())
    at = data.rindex(length)
    return data[:at] + struct.pack("<q", 1 << 44) + data[at + 8 :]


def bomb_of_a_codec(store):
    path = layout.codec_path(store.path, store.view.manifest.codec)
    with open(path, "rb") as file, pa.ipc.open_stream(file.read()) as reader:
        table = reader.read_all()
    values = pa.record_batch({table.schema.names[0]: np.zeros(1 << 16)})
    with open(path, "wb") as file:
        file.write(lying(values.replace_schema_metadata(table.schema.metadata)))


def state_of_many_bytes(store):
    """A codec whose head says that its array has 2**60 bytes."""
    path = layout.codec_path(store.path, store.view.manifest.codec)
    with open(path, "rb") as file, pa.ipc.open_stream(file.read()) as reader:
        table = reader.read_all()
    head = json.loads(table.schema.metadata[b"vecstore.codec"])
    head["steps"][0]["shapes"] = {key: [1 << 58] for key in head["steps"][0]["shapes"]}
    with pa.ipc.new_stream(path, table.schema.with_metadata({"vecstore.codec": json.dumps(head)})) as out:
        out.write_table(table)


def buffer_of_many_bytes(store):
    """A codec whose Arrow buffer says that it has 2**60 bytes."""
    path = layout.codec_path(store.path, store.view.manifest.codec)
    with open(path, "rb") as file:
        data = file.read()
    length = struct.pack("<q", 4 * store.dim)
    at = data.rindex(length)
    with open(path, "wb") as file:
        file.write(data[:at] + struct.pack("<q", 1 << 60) + data[at + 8 :])


def folder_in_a_circle(name):
    def edit(store):
        os.rename(f"{store.path}/{name}", f"{store.path}/{name}.old")
        os.symlink(name, f"{store.path}/{name}")

    return edit


def segment_in_a_circle(store):
    path = layout.segment_path(store.path, store.view.manifest.segments[0].name)
    os.unlink(path)
    os.symlink(path, path)


def bomb_of_deletes(store):
    data = b"ARROW1\0\0" + lying(pa.record_batch({"row": np.zeros(1 << 16, np.int64)}))
    entry = store.view.manifest.segments[0].deletes[0]
    with open(layout.deletes_path(store.path, entry.name), "wb") as file:
        file.write(data)
    facts = {"rows": 1, "size": len(data), "seal": xxhash.xxh3_128_hexdigest(data)}
    change(store, put("segments", 0, "deletes", 0, value=lambda entry: entry | facts))


def long_file(folder, size):
    def edit(store):
        for name in os.listdir(f"{store.path}/{folder}"):
            os.truncate(f"{store.path}/{folder}/{name}", size)

    return edit


def test_memory_is_not_taken_for_what_is_not_there(make, tmp_path):
    def forged(name, edit):
        store = make(name, codec="center+f16", keep="f32")
        store.put([1, 2, 3], some_rows(3), columns={"n": [1, 2, 3]})
        store.delete([2])
        store.compact()
        store.delete([3])
        edit(store)
        return store.path

    edits = [lambda store, name=name: change(store, FORGERIES[name]) for name in FORGERIES if "many" in name]
    edits += [state_of_many_bytes, buffer_of_many_bytes, segment_in_a_circle]
    edits += [folder_in_a_circle(name) for name in ("versions", "segments", "codecs")]
    edits += [bomb_of_a_codec, bomb_of_deletes, long_file("versions", 1 << 42), long_file("deletes", 1 << 42)]
    edits += [long_file("codecs", 1 << 42), long_file("segments", 1 << 42), long_file("fine", 1 << 42)]
    sound = forged("sound.store", lambda store: None)
    paths = [forged(f"{number}.store", edit) for number, edit in enumerate(edits)]
    done = subprocess.run(
        [sys.executable, "-c", READER, sound, str(CAP), *paths], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert len(lines) == len(paths), done.stdout
    assert int(last.split()[0]) < CAP >> 21, last


def test_json_of_a_manifest_is_what_it_was(store):
    """The forging above writes what is written otherwise."""
    path = versions.path_of(store.path, store.version)
    with open(path, "rb") as file:
        before = file.read()
    change(store, lambda facts: None)
    with open(path, "rb") as file:
        assert file.read() == before
    assert json.loads(before.splitlines()[0])["format"] == 1
