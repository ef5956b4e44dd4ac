import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

import vecstore as vs
from vecstore.codecs.ragged import Ragged, RaggedCodec
from vecstore.codecs.transforms.fde import bits_of, bucket_of
from vecstore.kernels.isa import available


def documents(n, dim=16, seed=0):
    """Rows of 3 to 20 unit tokens around a direction of their own."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        tokens = rng.standard_normal(dim) + rng.standard_normal((rng.integers(3, 21), dim))
        found.append((tokens / np.linalg.norm(tokens, axis=1, keepdims=True)).astype(np.float32))
    return found


def chamfer(query, document):
    return float((query @ document.T).max(axis=1).sum())


def fde(spec, rows, seed=0):
    return vs.fit(f"{spec}+f32", rows, seed=seed).transform


def plain_fde(transform, tokens, *, query):
    """The paper's section 2 in numpy, for one ragged row."""
    parts = []
    for r in range(transform.reps):
        normals = transform.planes[:, r * transform.bits : (r + 1) * transform.bits]
        above = tokens @ normals > 0
        weights = transform.signs[:, r * transform.kept : (r + 1) * transform.kept] * 2.0 - 1
        inside = tokens @ weights / np.sqrt(transform.kept) if transform.kept else tokens
        for bucket in range(2**transform.bits):
            gray = bucket ^ (bucket >> 1)
            wanted = np.array([gray >> bit & 1 for bit in range(transform.bits - 1, -1, -1)], bool)
            chosen = inside[(above == wanted).all(axis=1)]
            if len(chosen):
                parts.append(chosen.sum(axis=0) if query else chosen.mean(axis=0))
            elif transform.fill and not query:
                parts.append(inside[(above != wanted).sum(axis=1).argmin()])
            else:
                parts.append(np.zeros(inside.shape[1]))
    return np.concatenate(parts) / np.sqrt(transform.reps)


@pytest.mark.parametrize("bits", range(11))
def test_every_bucket_number_decodes_to_the_bits_that_made_it(bits):
    numbers = np.arange(2**bits)
    assert np.array_equal(bucket_of(bits_of(numbers, bits)), numbers)
    every = (numbers[:, None] >> np.arange(bits)) & 1 > 0
    assert np.array_equal(bits_of(bucket_of(every), bits), every)
    assert len(set(bucket_of(every).tolist())) == 2**bits


@pytest.mark.parametrize(
    "spec", ["fde:reps=3,bits=3,dim=4", "fde:reps=2,bits=2,dim=0", "fde:reps=4,bits=0,dim=5"]
)
@pytest.mark.parametrize("fill", ["", ",fill=true"])
def test_encodings_are_those_of_the_paper(spec, fill):
    rows = documents(30)
    transform = fde(spec + fill, rows)
    kept, asked = transform.apply_documents(rows), transform.apply_queries(rows)
    assert kept.shape == asked.shape == (30, transform.dim_out)
    for row, one, other in zip(rows, kept, asked, strict=True):
        assert np.allclose(one, plain_fde(transform, row, query=False), atol=1e-5)
        assert np.allclose(other, plain_fde(transform, row, query=True), atol=1e-5)


def test_products_of_encodings_follow_the_chamfer_similarity():
    rows = documents(200)
    queries = [row[:4] + np.float32(0.05) for row in rows[:40]]
    transform = fde("fde:reps=20,bits=3,dim=0", rows)
    found = transform.apply_queries(queries) @ transform.apply_documents(rows).T
    true = np.array([[chamfer(query, row) for row in rows] for query in queries])
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.8
    best = true.argmax(axis=1)
    first = np.argsort(-found, axis=1)[:, :10]
    assert np.mean([b in f for b, f in zip(best, first, strict=True)]) > 0.8


def test_more_repetitions_estimate_better():
    rows, queries = documents(100), documents(30, seed=1)
    true = np.array([[chamfer(query, row) for row in rows] for query in queries])
    fits = []
    for reps in (1, 40):
        transform = fde(f"fde:reps={reps},bits=4,dim=8", rows)
        found = transform.apply_queries(queries) @ transform.apply_documents(rows).T
        fits.append(np.corrcoef(found.ravel(), true.ravel())[0, 1])
    assert fits[1] > fits[0] + 0.1


def test_a_chain_takes_ragged_rows_and_finds_them_by_ragged_queries():
    rows = documents(300)
    codec = vs.fit("fde:reps=8,bits=3,dim=8+pq:m=64", rows)
    assert isinstance(codec, RaggedCodec)
    assert codec.dim == 8 * 8 * 8 and codec.code_bytes == 64
    codes = codec.encode(rows)
    assert codes.shape == (300, 64) and codes.dtype == np.uint8
    assert np.array_equal(codes, codec.encode(codec.transform.apply_documents(rows)))
    scan = codec.scan(codes)
    found = np.empty((50, 300), np.float32)
    scan.dots(scan.prepare(codec.queries(rows[:50])), 0, 300, found)
    assert np.mean(found.argmax(axis=1) == np.arange(50)) > 0.9
    error = np.square(codec.decode(codes) - codec.transform.apply_documents(rows)).sum()
    assert error < 0.6 * np.square(codec.transform.apply_documents(rows)).sum()


@pytest.mark.parametrize(
    "spec", ["fde:reps=2,bits=2,dim=4+sq", "fde:fill=true+pca:dim=8+normalize+f16", "fde+f32"]
)
def test_a_chain_survives_storage_and_names_itself(spec):
    rows = documents(40)
    codec = vs.fit(spec, rows, seed=4)
    again = vs.loads(vs.dumps(codec))
    assert isinstance(again, RaggedCodec)
    assert again.identity == codec.identity and again.spec == codec.spec
    assert np.array_equal(again.encode(rows), codec.encode(rows))
    assert np.array_equal(again.queries(rows), codec.queries(rows))
    assert vs.fit(str(codec.spec), rows, seed=4).identity == codec.identity
    ledger = codec.ledger(rows=10)
    assert ledger.codes + ledger.side == 10 * codec.code_bytes and ledger.shared == len(vs.dumps(codec))
    json.dumps([step.config() for step in codec.steps])


def test_a_code_depends_on_its_row_alone_and_not_on_threads():
    rows = documents(1500, dim=8)
    codec = vs.fit("fde:reps=2,bits=2,dim=4+sq", rows[:100])
    codes = codec.encode(rows)
    assert np.array_equal(codec.encode(rows[700:703]), codes[700:703])
    vs.set_threads(1)
    assert np.array_equal(codec.encode(rows), codes)
    vs.set_threads(0)


def test_arrow_lists_of_fixed_size_lists_are_ragged_rows():
    rows = [*documents(20), np.empty((0, 16), np.float32)]
    inner = pa.list_(pa.float32(), 16)
    column = pa.array([row.tolist() for row in rows], pa.list_(inner))
    codec = vs.fit("fde:reps=2,bits=2,dim=4+f32", column)
    wanted = codec.encode(rows)
    assert np.array_equal(codec.encode(column), wanted)
    assert np.array_equal(codec.encode(column.slice(3, 5)), wanted[3:8])
    assert np.array_equal(codec.encode(pa.chunked_array([column.slice(0, 4), column.slice(4)])), wanted)
    assert np.array_equal(codec.encode(column.cast(pa.large_list(inner))), wanted)
    assert not codec.decode(wanted)[-1].any()


def test_no_rows_and_halves_and_one_block_of_rows():
    rows = documents(20)
    codec = vs.fit("fde:reps=2,bits=2,dim=4+f32", rows)
    assert codec.encode([]).shape == (0, codec.code_bytes)
    half = [row.astype(np.float16) for row in rows]
    assert np.array_equal(codec.encode(half), codec.encode([row.astype(np.float32) for row in half]))
    block = np.stack([row[:3] for row in rows])
    assert np.array_equal(codec.encode(block), codec.encode(list(block)))
    assert Ragged.of(rows).part(2, 4).values.shape[0] == len(rows[2]) + len(rows[3])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((5, 16), np.float32), r"ragged rows are float32 \(5, 16\); expected a list"),
        ([np.zeros((2, 16)), np.zeros(16)], r"row 1 is no \(tokens, dim\) array"),
        ([np.zeros((2, 16)), np.zeros((2, 15))], "row 1 has tokens of 15 dimensions; row 0 of 16"),
        (pa.array([[1.0]]), "ragged rows are Arrow list<item: double>"),
        ("words", "ragged rows are str"),
    ],
)
def test_what_is_not_ragged_is_refused(rows, message):
    with pytest.raises(vs.ShapeError, match=message):
        vs.fit("fde+f32", rows)


def test_tokens_that_are_not_finite_or_null_are_named():
    rows = documents(5)
    codec = vs.fit("fde+f32", rows)
    rows[3][2, 7] = np.nan
    with pytest.raises(vs.InputError, match="token 2 of row 3 holds nan in dimension 7"):
        codec.encode(rows)
    column = pa.array([[[1.0] * 16], None], pa.list_(pa.list_(pa.float32(), 16)))
    with pytest.raises(vs.InputError, match="nulls"):
        codec.encode(column)
    with pytest.raises(vs.ShapeError, match="tokens have 3 dimensions; expected 16"):
        codec.encode([np.zeros((2, 3))])
    with pytest.raises(vs.InputError, match="there are none"):
        vs.fit("fde+f32", [])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("fde", "ends in the transform"),
        ("fde+lossless", "takes no transforms"),
        ("center+fde+f32", "must come first"),
        ("fde:bits=11+f32", "bits=11"),
        ("fde:dim=17+f32", "the tokens have 16"),
        ("fde:reps=0+f32", "reps=0; expected 1 to"),
        ("fde:reps=200000+f32", "at most 1048576 dimensions"),
        ("fde:size=3+f32", "unknown option"),
    ],
)
def test_impossible_specs_say_what_is_wrong(spec, message):
    with pytest.raises(vs.SpecError, match=message):
        vs.fit(spec, documents(5))


def test_a_stored_state_that_does_not_fit_is_refused():
    transform = fde("fde:reps=2,bits=2,dim=4", documents(5))
    for change in ({"bits": 3}, {"reps": 0}, {"kept": 99}):
        with pytest.raises(vs.CorruptError, match=r"fde|expected"):
            type(transform).from_parts(transform.config() | change, transform.arrays())
    wild = transform.arrays() | {"signs": np.full((16, 8), 7, np.uint8)}
    with pytest.raises(vs.CorruptError, match="other than 0 and 1"):
        type(transform).from_parts(transform.config(), wild)


PROGRAM = """
import hashlib, numpy as np, vecstore as vs
rng = np.random.default_rng(0)
rows = [rng.standard_normal((n, 24)).astype(np.float32) for n in rng.integers(1, 30, 200)]
codec = vs.fit("fde:reps=3,bits=4,dim=5,fill=true+sq", rows)
found = codec.encode(rows).tobytes() + codec.queries(rows).tobytes()
print(codec.identity, hashlib.sha256(found).hexdigest())
"""


def test_every_instruction_set_gives_the_same_codes():
    outputs = set()
    for isa in available():
        environment = {**os.environ, "VECSTORE_ISA": isa}
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=True
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
