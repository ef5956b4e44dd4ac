"""Every real set, compressed, checked, and restored; skipped where the sets are not at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

import vecstore as vs

DATA = Path(os.environ.get("VECSTORE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SETS = [
    "vectors/sift_sceaux/base.bvecs",
    "vectors/sift_sceaux/learn.bvecs",
    "vectors/sift_sceaux/query.fvecs",
    "vectors/sift_sceaux/groundtruth.ivecs",
    "vectors/word2vec_googlenews_8k/vectors.npy",
    "retrieval/classic3_minilm/corpus.npy",
    "retrieval/classic3_minilm/queries.npy",
    "retrieval/classic3_minilm/neighbors100.npy",
    "retrieval/limit_small_minilm/corpus.npy",
    "retrieval/limit_small_minilm/queries.npy",
]
# Held-out loss that no set exceeds; sq and f16 depend little on what is stored.
BOUNDS = {"f32": 0, "lossless": 0, "lossless:mode=plain": 0, "f16": 1e-6, "sq:bits=8": 1e-3, "pq": 1.0}


def read(path):
    if path.suffix == ".npy":
        return np.load(path).astype(np.float32)
    kind = {".bvecs": np.uint8, ".fvecs": np.float32, ".ivecs": np.int32}[path.suffix]
    raw = path.read_bytes()
    dim = int(np.frombuffer(raw, "<i4", 1)[0])
    records = np.frombuffer(raw, np.uint8).reshape(-1, 4 + dim * np.dtype(kind).itemsize)
    return np.ascontiguousarray(records[:, 4:]).view(kind).astype(np.float32)


@pytest.mark.parametrize("spec", BOUNDS)
@pytest.mark.parametrize("name", SETS)
def test_a_real_set_is_compressed_checked_and_restored(tmp_path, name, spec):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no data at {path}; VECSTORE_DATA says where it is")
    rows = read(path)
    summary = vs.compress(path, tmp_path / "a.arrow", spec)
    assert summary.rows == len(rows) and summary.relative_mse <= BOUNDS[spec]
    assert vs.check(tmp_path / "a.arrow") == []
    vs.decompress(tmp_path / "a.arrow", tmp_path / "b.npy")
    back = np.load(tmp_path / "b.npy")
    error = np.square(rows - back, dtype=np.float64).sum()
    assert error <= max(BOUNDS[spec], 0) * 1.5 * np.square(rows - rows.mean(0), dtype=np.float64).sum()
    if summary.relative_mse == 0:
        assert np.array_equal(rows.view(np.uint32), back.view(np.uint32))


def test_row_ids_of_word_vectors_can_be_their_words(tmp_path):
    folder = DATA / "vectors/word2vec_googlenews_8k"
    if not folder.exists():
        pytest.skip(f"no data at {folder}; VECSTORE_DATA says where it is")
    words = (folder / "words.txt").read_text(encoding="utf-8").split("\n")[:8000]
    rows = np.load(folder / "vectors.npy")
    vs.compress(rows, tmp_path / "a.arrow", "sq", ids=words)
    with vs.open(tmp_path / "a.arrow") as archive:
        assert np.abs(archive.get(["king"])[0] - rows[words.index("king")].astype(np.float32)).max() < 0.05
