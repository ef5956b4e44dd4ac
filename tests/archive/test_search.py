"""Search in archives finds what a sort of all decoded rows finds."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from vecstore.archive import Archive
from vecstore.archive import search as search_module
from vecstore.errors import CorruptError, InputError, ShapeError, SpecError

N, DIM = 2500, 16
SPECS = ["f32", "f16", "sq:bits=8", "sq:bits=4", "pq:m=4", "normalize+rotate+sq:bits=8", "lossless"]


def queries(count=4):
    return np.random.default_rng(9).standard_normal((count, DIM)).astype(np.float32)


def decoded(archive):
    return np.concatenate([block for _, block in archive.scan()]).astype(np.float64)


def similarity(wanted, rows, metric):
    wanted = wanted.astype(np.float64)
    if metric == "l2":
        return -np.square(wanted[:, None] - rows[None]).sum(axis=2)
    dots = wanted @ rows.T
    if metric == "cosine":
        dots /= np.linalg.norm(wanted, axis=1)[:, None] * np.linalg.norm(rows, axis=1)
    return dots


def best(wanted, rows, metric, k=10, mask=None):
    found = similarity(wanted, rows, metric)
    if mask is not None:
        found[:, ~mask] = -np.inf
    return np.argsort(-found, axis=1, kind="stable")[:, :k], -np.sort(-found, axis=1)[:, :k]


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
@pytest.mark.parametrize("spec", SPECS)
def test_the_best_rows_are_found(tmp_path, write, spec, metric, monkeypatch):
    monkeypatch.setattr(search_module, "_PART_BYTES", 1 << 12)
    write(tmp_path / "a", spec)
    with Archive(tmp_path / "a") as archive:
        for count in (1, 300):
            ids, scores = archive.search(queries(count), metric=metric)
            numbers, wanted = best(queries(count), decoded(archive), metric)
            assert (ids.dtype, scores.dtype, ids.shape) == (np.int64, np.float32, (count, 10))
            assert np.allclose(-scores if metric == "l2" else scores, wanted, atol=2e-4)
            assert (ids == numbers).mean() > 0.999
        if spec in ("sq:bits=8", "pq:m=4"):
            assert len(archive._search.searcher().scan.parts) > 1


def test_the_metric_is_the_archives_own(tmp_path, write):
    write(tmp_path / "a", card={"metric": "l2"})
    with Archive(tmp_path / "a") as archive:
        found = archive.search(queries())
        assert all(
            np.array_equal(a, b) for a, b in zip(found, archive.search(queries(), metric="l2"), strict=True)
        )
        assert (np.diff(found[1], axis=1) >= 0).all()


@pytest.mark.parametrize("kind", [pa.int64(), pa.string()])
def test_ids_are_given_as_they_were(tmp_path, write, kind):
    names = pa.array(np.arange(N) * 7 - 5).cast(kind)
    write(tmp_path / "a", "sq:bits=8", names)
    with Archive(tmp_path / "a") as archive:
        ids, _ = archive.search(queries(), k=3)
        numbers, _ = best(queries(), decoded(archive), "ip", 3)
        assert ids.shape == (4, 3)
        assert ids.tolist() == [names.take(pa.array(row)).to_pylist() for row in numbers]
        assert ids.dtype == (np.int64 if kind == pa.int64() else object)
        assert archive.search(queries(0))[0].shape == (0, 10)


@pytest.mark.parametrize("spec", ["sq:bits=8", "lossless"])
def test_where_takes_text_expressions_and_masks(tmp_path, write, columns, spec):
    write(tmp_path / "a", spec, None, columns)
    lang = columns.column("lang").cast(pa.string()).to_pylist()
    mask = (np.arange(N) % 30 >= 25) & np.array([name == "de" for name in lang])
    with Archive(tmp_path / "a") as archive:
        numbers, wanted = best(queries(), decoded(archive), "ip", 10, mask)
        for where in (
            "lang = 'de' and year >= 25",
            (pc.field("lang") == "de") & (pc.field("year") >= 25),
            mask,
            pa.array(mask),
            "lang = 'de' and year >= 25",
        ):
            ids, scores = archive.search(queries(), where=where)
            assert (ids == numbers).mean() > 0.99 and np.allclose(scores, wanted, atol=1e-4)
        assert archive.search(queries(), where="id in (3, 17)")[0].shape == (4, 2)
        assert archive.search(queries(), where="year > 100")[0].shape == (4, 0)
        assert archive.search(queries(), k=99_999, where=~mask)[0].shape == (4, N - mask.sum())


def test_a_where_that_does_not_fit_says_what_there_is(tmp_path, write, columns):
    write(tmp_path / "a", "sq:bits=8", None, columns)
    with Archive(tmp_path / "a") as archive:
        for where in ("land = 'de'", "year = 'de'", "code = 'x'"):
            with pytest.raises(SpecError, match=r"id \(int64\), lang \(string\), year \(int64\)"):
                archive.search(queries(), where=where)
        with pytest.raises(SpecError, match="character 8"):
            archive.search(queries(), where="year > and")
        for wrong in (np.ones(3, bool), [True] * N, 5):
            with pytest.raises(ShapeError, match="where is"):
                archive.search(queries(), where=wrong)


def test_queries_that_cannot_be_are_refused(tmp_path, write):
    write(tmp_path / "a")
    with Archive(tmp_path / "a") as archive:
        bad = queries()
        bad[2, 1] = np.nan
        with pytest.raises(InputError, match="query 2 holds nan"):
            archive.search(bad)
        with pytest.raises(ShapeError, match=r"expected a real dtype, \(n, 16\)"):
            archive.search(bad[:, :5])
        with pytest.raises(SpecError, match="metric is 'dot'"):
            archive.search(queries(), metric="dot")


def test_rerank_takes_the_best_of_more_rows(tmp_path, write):
    write(tmp_path / "a", "pq:m=4")
    with Archive(tmp_path / "a") as archive:
        ids, scores = archive.search(queries(), k=5, rerank=200)
        numbers, wanted = best(queries(), decoded(archive), "ip", 5)
        assert np.array_equal(ids, numbers) and np.allclose(scores, wanted, rtol=1e-6)


def test_an_archive_of_no_rows_finds_nothing(tmp_path, write):
    write(tmp_path / "whole")
    with Archive(tmp_path / "whole") as archive:
        codec = archive.codec
    from vecstore.archive import ArchiveWriter

    ArchiveWriter(tmp_path / "a", codec, card={"metric": "ip"}).close()
    with Archive(tmp_path / "a") as archive:
        ids, scores = archive.search(queries())
        assert ids.shape == scores.shape == (4, 0)


@pytest.mark.parametrize("spec", ["sq:bits=8", "lossless"])
def test_damaged_codes_are_not_searched(tmp_path, write, spec):
    write(tmp_path / "a", spec)
    data = bytearray((tmp_path / "a").read_bytes())
    with Archive(tmp_path / "a") as archive:
        data[int(archive._contents.offsets[2]) + 600] ^= 4
    (tmp_path / "a").write_bytes(data)
    with Archive(tmp_path / "a") as archive, pytest.raises(CorruptError, match="do not match"):
        archive.search(queries())


@pytest.mark.parametrize("spec", ["sign", "itq:bits=11", "rbe:bits=2"])
def test_codes_are_compared_with_codes(tmp_path, write, spec, monkeypatch):
    monkeypatch.setattr(search_module, "_PART_BYTES", 1 << 12)
    write(tmp_path / "a", spec, card={"metric": "l2"})
    with Archive(tmp_path / "a") as archive:
        scan = archive.codec.scan_symmetric(archive.get_codes(np.arange(N)))
        wanted = np.empty((4, N), np.float32)
        scan.dots(scan.prepare(queries()), 0, N, wanted)
        plain = archive.search(queries())
        ids, scores = archive.search(queries(), symmetric=True)
        assert np.array_equal(ids, np.argsort(-wanted, axis=1, kind="stable")[:, :10])
        assert np.array_equal(scores, np.take_along_axis(wanted, ids, axis=1))
        assert all(np.array_equal(a, b) for a, b in zip(archive.search(queries()), plain, strict=True))
        again = archive.search(queries(), rerank=N, symmetric=True)
        assert (again[0] == plain[0]).mean() > 0.99 and np.allclose(again[1], plain[1], rtol=1e-4)


@pytest.mark.parametrize("spec", ["f32", "lossless", "sq:bits=8"])
def test_archives_that_compare_no_codes_say_so(tmp_path, write, spec):
    write(tmp_path / "a", spec)
    with Archive(tmp_path / "a") as archive, pytest.raises(SpecError, match="no symmetric search"):
        archive.search(queries(), symmetric=True)
