"""Damaged, cut and forged archives: every one is reported, none is given out as data, none crashes."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from vecstore.archive import Archive, is_archive, layout, seal
from vecstore.errors import CorruptError, InputError, VecstoreError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trials():
    """scripts/corrupt_archive.py, which runs the same at length."""
    spec = importlib.util.spec_from_file_location("corrupt_archive", ROOT / "scripts" / "corrupt_archive.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["corrupt_archive"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("spec", ["f16", "sq:bits=8", "lossless", "sq:bits=8 in tiers of 16,32"])
def test_random_damage_is_reported_and_never_given_out(trials, spec):
    found = trials.run(spec, flips=60, cuts=20, forged=60)
    assert (found["flips_reported"], found["cuts_reported"]) == (60, 20)
    assert found["forged"] == 60  # without a crash or an error of any other kind
    assert found["wrong_data"] == 0 and found["sound_when_restored"]


def test_every_byte_of_head_and_tail_counts(tmp_path, write, rows):
    path = tmp_path / "a"
    write(path, "sq:bits=8")
    whole = path.read_bytes()
    with Archive(path) as archive:
        contents = archive._contents
        places = [*range(0, contents.seal.head_end, 3), *range(contents.seal.tail_start, len(whole), 3)]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        assert Archive.examine(path) != [], place
        assert is_archive(path)


def test_every_cut_is_an_error(tmp_path, write):
    path = tmp_path / "a"
    write(path, "f32")
    whole = path.read_bytes()
    for stop in [*range(0, 700, 7), *range(len(whole) - 700, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:stop])
        with pytest.raises((CorruptError, InputError)):
            Archive(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptError, match="ends without a seal: it was cut"):
        Archive(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(CorruptError, match="seal does not match"):
        Archive(path)


def test_a_zeroed_sector_is_reported_with_its_place(tmp_path, write):
    path = tmp_path / "a"
    write(path, "f32")
    whole = bytearray(path.read_bytes())
    whole[70_000:70_512] = bytes(512)
    path.write_bytes(whole)
    with Archive(path) as archive:
        assert archive.get([0]).shape == (1, 16)  # its pages are good
        with pytest.raises(CorruptError, match="bytes 65536 to 131071 do not match"):
            archive.get([1000])
        with pytest.raises(CorruptError, match="restore it from a copy"):
            list(archive.scan())
        assert "65536 to 131071" in archive.check()[0]


def test_a_file_that_shrinks_while_open_is_an_error_and_not_a_crash(tmp_path, write):
    path = tmp_path / "a"
    write(path, "f32")
    with Archive(path) as archive:
        archive.get([5])
        with open(path, "r+b") as file:
            file.truncate(20_000)
        for read in (
            lambda: archive.get([2400]),
            lambda: list(archive.scan()),
            lambda: list(archive.batches()),
        ):
            with pytest.raises(CorruptError, match="and has 20000 now"):
                read()
        assert archive.check() != []


def reseal(path, change):
    """Changes the tail and seals it again: what only a bug or a forger could write."""
    data = bytearray(path.read_bytes())
    match = list(seal._SEAL.finditer(data))[-1]
    old = seal.read_seal(match)
    tail = data[old.tail_start :]
    start = match.start() - old.tail_start
    tail[start : start + len(match[0])] = old.text()
    change(tail)
    seal.set_seal(tail, old)
    path.write_bytes(data[: old.tail_start] + tail)


def summary(**changes):
    def change(tail):
        start = tail.index(b'{"rows"')
        found = json.loads(bytes(tail[start : start + layout.SUMMARY_BYTES]))
        text = json.dumps({**found, **changes}).encode().ljust(layout.SUMMARY_BYTES)
        tail[start : start + layout.SUMMARY_BYTES] = text

    return change


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 2499},
        {"rows": 99999},
        {"rows": -1},
        {"rows": "x"},
        {"batch_rows": 500},
        {"batch_rows": 1024},
        {"batch_rows": 0},
        {"page_bytes": 1},
        {"ledger": {}},
        {"ledger": {"codes": 1.5}},
        {"ledger": {"unknown": 1}},
        {"ledger": None},
    ],
)
def test_forged_counts_are_reported(tmp_path, write, changes):
    path = tmp_path / "a"
    write(path, "sq:bits=8")
    reseal(path, summary(**changes))
    assert Archive.examine(path) != []
    try:
        with Archive(path) as archive:
            assert sum(len(rows) for _, rows in archive.scan()) == 2500
    except VecstoreError:
        pass


def test_a_forged_claim_about_ids_is_reported(tmp_path, write):
    import pyarrow as pa

    path = tmp_path / "a"
    write(path, "sq:bits=8", pa.array(np.arange(2500) + 1))
    reseal(path, summary(row_number_ids=True))
    assert any("says its ids are the row numbers" in finding for finding in Archive.examine(path))


def test_repeated_ids_are_reported(tmp_path, write):
    import pyarrow as pa

    write(tmp_path / "a", "sq:bits=8", pa.array(np.arange(2500) % 2400))
    assert Archive.examine(tmp_path / "a") == [f"{tmp_path / 'a'} has 2500 rows but only 2400 different ids"]


def test_a_forged_footer_is_reported(tmp_path, write):
    path = tmp_path / "a"
    write(path, "sq:bits=8")

    def change(tail):
        tail[-40:-10] = bytes(30)

    reseal(path, change)
    assert Archive.examine(path) != []


def test_a_column_named_like_a_seal_does_no_harm(tmp_path, write):
    import pyarrow as pa

    name = f"VECSTORE-TAIL {9:020d} {5:020d} {'0' * 32} {'f' * 32}"
    write(tmp_path / "a", "f32", None, pa.record_batch({name: np.arange(2500)}))
    assert Archive.examine(tmp_path / "a") == []


def test_blocks_that_cannot_be_decoded_are_reported(tmp_path, write, monkeypatch):
    path = tmp_path / "a"
    with monkeypatch.context() as patched:
        patched.setattr("vecstore.codecs.lossless.Lossless.encode_block", lambda self, rows: b"\xffnothing")
        write(path, "lossless")
    findings = Archive.examine(path)
    assert len(findings) == 5 and all(re.search("batch . of .*cannot be decoded", line) for line in findings)
    with Archive(path) as archive, pytest.raises(CorruptError, match=r"batch 0 of .*cannot be decoded"):
        archive.get([1])
