import numpy as np
import pytest

from vecstore import registry
from vecstore.bench.contenders import catalog, ladder
from vecstore.bench.contenders.base import Contender
from vecstore.bench.datasets import generated
from vecstore.codecs.base import Codec

SIZES = ladder.sizes(16)


def test_sizes_go_up_to_one_byte_a_dimension():
    assert ladder.sizes(384) == [8, 16, 32, 48, 96, 192, 288, 384]
    assert ladder.sizes(128) == [8, 16, 32, 48, 64, 96, 128]
    assert ladder.sizes(3) == [1, 2, 3]
    assert ladder.sizes(20, (5, 30)) == [3, 5, 8, 10, 15, 16, 20]
    assert ladder.sizes(128, (5,), quick=True) == [16]


@pytest.mark.parametrize("dim", [16, 100])
def test_every_codec_of_the_registry_is_on_the_ladder_and_takes_the_bytes_it_says(dim):
    found = ladder.own_specs(dim, tuple(ladder.sizes(dim)))
    named = {spec.rpartition("+")[2].partition(":")[0] for spec in found}
    lossy = {n for n, part in registry.CODECS.items() if issubclass(part, Codec) and not part.is_lossless}
    assert named >= lossy
    rows = np.random.default_rng(0).standard_normal((16, dim), dtype=np.float32)
    for spec in found:
        codec = registry.fit(spec, rows)
        assert "bytes=" not in spec or codec.code_bytes == int(spec.partition("bytes=")[2].partition(",")[0])


def test_no_codec_is_measured_twice_at_a_setting():
    timed = list(catalog.contenders(128))
    labels = ladder.labels(128, ladder.sizes(128), timed)
    assert not set(labels) & set(timed)
    assert len(set(labels)) == len(labels)
    assert "pq:m=16" in timed and "pq:bytes=16" not in labels
    assert "pq:bytes=48" in labels


def test_chains_wait_for_their_names(monkeypatch):
    monkeypatch.setattr(ladder, "_CHAINS", ("nowhere:m={size}+pq:m={size}", "center+pq:m={size}"))
    assert list(ladder._chains(16, [4, 8])) == ["center+pq:m=4", "center+pq:m=8"]


def test_a_quick_run_has_one_size():
    quick = ladder.labels(128, ladder.sizes(128, quick=True))
    assert all("bytes=16" in spec for spec in quick if spec.startswith("pq"))
    assert len(quick) < len(ladder.labels(128, ladder.sizes(128))) / 2


@pytest.fixture(scope="module")
def rows():
    pytest.importorskip("faiss")
    return generated(16, rows=2000)


@pytest.mark.parametrize("label", ["symmetric sign", "symmetric itq:bytes=2", "symmetric rbe:bits=2"])
def test_codes_compared_with_codes_find_rows(label):
    rows = generated(16, rows=2000)
    contender = ladder.contender(label, 16, SIZES)
    assert label in ladder.labels(16, SIZES) and contender.label == label
    contender.fit(rows.fit, 0)
    coded = contender.encode(rows.base)
    found = contender.search(coded, rows.base[:20], 50)
    assert found.shape == (20, 50) and not contender.decodes
    assert np.mean([number in found[number] for number in range(20)]) > 0.3
    assert contender.ledger(coded, 2000)["codes"] == coded.nbytes


def faiss_labels():
    return [label for label in ladder.labels(16, [2]) if label.startswith("faiss ")]


@pytest.mark.parametrize("label", faiss_labels())
def test_codecs_of_faiss_give_rows_back_or_find_them(rows, label):
    contender = ladder.contender(label, 16, [2])
    assert isinstance(contender, Contender) and contender.label == label
    contender.use_threads(1)
    contender.fit(rows.fit, 0)
    coded = contender.encode(rows.base)
    ledger = contender.ledger(coded, len(rows.base))
    assert ledger["codes"] == coded.nbytes and ledger["shared"] > 0
    if contender.decodes:
        back = contender.decode(coded, np.empty_like(rows.base))[0]
        error = np.square(back - rows.base).sum() / np.square(rows.base).sum()
        assert error < 0.7
    found = contender.search(coded, rows.base[:20], 50) if hasattr(contender, "search") else None
    assert contender.decodes or found is not None
    if found is not None:
        assert found.shape == (20, 50)
        assert np.mean([number in found[number] for number in range(20)]) > 0.6


def test_lengths_that_turboquant_cannot_keep_are_counted_beside_its_code(rows):
    contender = ladder.contender("faiss turboquant:bits=4", 16, SIZES)
    contender.fit(rows.fit, 0)
    assert contender.encode(rows.base).shape[1] == 8
    stretched = rows.base * np.linspace(0.1, 9, len(rows.base), dtype=np.float32)[:, None]
    contender = ladder.contender("faiss turboquant:bits=4", 16, SIZES)
    contender.fit(stretched, 0)
    coded = contender.encode(stretched)
    assert coded.shape[1] == 12
    back = contender.decode(coded, np.empty_like(stretched))[0]
    assert np.square(back - stretched).sum() / np.square(stretched).sum() < 0.02
