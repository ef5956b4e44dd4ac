"""Each method against its published formula, written out in plain Python; gradients by differences."""

import tracemalloc

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.tables import combining
from vecstore.codecs.tables.ids import string_keys

MASK = (1 << 64) - 1
FIELDS = {"user": 60, "item": 40}


def mix(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def salt(field, number, seed=0):
    """Salt `number` of a field: splitmix64 from the seed and the hash of the field's name."""
    start = seed ^ int(string_keys(np.array([field])).view(np.uint64)[0])
    return mix(start + (number + 1) * 0x9E3779B97F4A7C15 & MASK)


def hashed(x, field, number, rows):
    return (mix(x + salt(field, number) & MASK) >> 32) * rows >> 32


def drawn(method, budget="40%", dim=6, **options):
    """A table whose parameters are far from zero, and those of store k by k."""
    table = vs.table(method, FIELDS, dim=dim, budget=budget, optimizer="sgd", **options)
    rng = np.random.default_rng(0)
    stores = [store.values for store in table.stores]
    for values in stores:
        values[...] = rng.normal(0.2, 0.7, values.shape)
    return table, stores


def row(table, x, field="item"):
    return table.lookup({field: [x]})[field][0]


def check(table, expected, ids=(0, 1, 7, 39)):
    for x in ids:
        assert np.allclose(row(table, x), expected(x), rtol=1e-5, atol=1e-6), x


def test_hash_is_a_row_of_the_fields_own_table():
    table, (_user, item) = drawn("hash")
    check(table, lambda x: item[hashed(x, "item", 0, len(item))])


def test_multihash_is_the_sum_of_rows():
    table, (_user, item) = drawn("multihash", probes=3)
    check(table, lambda x: sum(item[hashed(x, "item", k, len(item))] for k in range(3)))


def test_hashemb_is_a_sum_with_weights_that_are_hashed_too():
    table, (rows, weights) = drawn("hashemb", probes=2)

    def expected(x):
        weight = weights[hashed(x, "item", 0, len(weights))]
        return sum(weight[k] * rows[hashed(x, "item", k + 1, len(rows))] for k in range(2))

    check(table, expected)


@pytest.mark.parametrize("combine", ["mult", "sum", "concat"])
def test_qr_combines_quotient_and_remainder(combine):
    table, (_user, item) = drawn("qr", combine=combine, budget="45%")
    top = table.setup.knobs[1]
    c = -(-40 // top)
    remainder, quotient = item[:c], item[c:]
    join = {"mult": np.multiply, "sum": np.add, "concat": lambda a, b: np.concatenate([a, b])}[combine]
    check(table, lambda x: join(remainder[x % c], quotient[x // c]))


def test_qr_with_three_digits():
    table, (_user, item) = drawn("qr", digits=3, budget="40%")
    top = table.setup.knobs[1]
    c = int(np.ceil(np.sqrt(40 / top)))
    check(table, lambda x: item[x % c] * item[c + x // c % c] * item[2 * c + x // c // c])


def test_unified_is_chunks_of_one_table_side_by_side():
    table, (rows,) = drawn("unified", chunks=3)
    check(table, lambda x: np.concatenate([rows[hashed(x, "item", c, len(rows))] for c in range(3)]))


@pytest.mark.parametrize(("method", "block"), [("robe", 4), ("hashednet", 1)])
def test_flat_arrays_are_read_in_blocks_with_signs(method, block):
    table, (flat,) = drawn(method, block=block)
    flat = flat[:, 0]

    def expected(x):
        found = []
        for i in range(6):
            h = mix(x + salt("item", i // block) & MASK)
            sign = -1 if h >> i % block & 1 else 1
            found.append(sign * flat[((h >> 32) * len(flat) // (1 << 32) + i % block) % len(flat)])
        return found

    check(table, expected)


def test_memcom_is_a_shared_row_times_an_own_weight_plus_an_own_bias():
    table, stores = drawn("memcom", budget="80%")
    rows, weights, biases = stores[3:]
    check(table, lambda x: rows[hashed(x, "item", 0, len(rows))] * weights[x] + biases[x])


@pytest.mark.parametrize(("method", "budget"), [("lowrank", "60%"), ("mde", "80%")])
def test_narrow_rows_are_times_a_matrix(method, budget):
    table, (rows, matrix, *_item) = drawn(method, budget=budget)
    assert matrix.shape == (rows.shape[1], 6) and rows.shape[1] < 6
    for x in (0, 1, 59):
        assert np.allclose(row(table, x, "user"), rows[x] @ matrix, rtol=1e-5, atol=1e-6)


def test_mde_has_widths_that_fall_with_the_number_of_ids():
    table = vs.table("mde", {"a": 10, "b": 1000, "c": 100_000}, dim=16, budget="20%")
    found = [table.branch(name).terms[0].store for name in "abc"]
    alpha = (4096 - table.setup.knobs[0]) / 1024
    for store, count in zip(found, (10, 1000, 100_000), strict=True):
        assert table.stores[store].plan.width == min(
            16, 2 ** max(0, round(np.log2(16 * (count / 10) ** -alpha)))
        )


def test_tt_is_a_product_of_three_cores():
    table, stores = drawn("tt", budget="60%", dim=8)
    first, second, third = stores[3:]
    r = table.setup.knobs[1]
    assert [len(core) for core in (first, second, third)] == [3, 4, 4]

    def expected(x):
        i, j, k = x // 16, x // 4 % 4, x % 4
        left = first[i].reshape(2, r) @ second[j].reshape(r, 2 * r)
        return (left.reshape(4, r) @ third[k].reshape(r, 2)).reshape(-1)

    check(table, expected)


def test_rows_of_tt_begin_as_spread_as_those_of_a_plain_table():
    table = vs.table("tt", {"item": 20_000}, dim=16, budget="10%", init=0.3)
    rows = table.lookup({"item": np.arange(20_000)})["item"]
    assert 0.9 < rows.std() / (0.3 / np.sqrt(3)) < 1.1


def test_dhe_is_a_network_of_hashes():
    table, layers = drawn("dhe", budget=None, hashes=3, layers=2)
    layers = layers[len(layers) // 2 :]

    def expected(x):
        values = np.array([(mix(x + salt("item", k) & MASK) >> 40) / 2**23 - 1 for k in range(3)])
        for at, layer in enumerate(layers):
            values = values @ layer[:-1] + layer[-1]
            if at < len(layers) - 1:
                values = values * np.tanh(np.log1p(np.exp(values)))
        return values

    if table.branch("item").closed:
        table, layers = drawn("dhe", budget="60%", hashes=3, layers=2)
        layers = layers[len(layers) // 2 :]
    check(table, expected)


def test_adapt_gives_frequent_ids_their_own_rows():
    often = {"user": np.arange(60), "item": np.arange(40) % 10 + 1}
    table, (_user, item) = drawn("adapt", frequencies=often)
    rows = table.setup.knobs[1]
    own = int(rows * 0.8)
    hot = sorted(np.argsort(-often["item"], kind="stable")[:own])
    check(
        table,
        lambda x: item[hot.index(x) if x in hot else own + hashed(x, "item", 0, rows - own)],
        ids=range(40),
    )


def test_ranks_in_a_long_bitmap_are_right():
    often = np.random.default_rng(0).random(5000)
    table = vs.table("adapt", {"item": 5000}, dim=4, budget="30%", frequencies={"item": often})
    address = table.branch("item").terms[0].address
    own = int(table.setup.knobs[0] * 0.8)
    hot = np.sort(np.argsort(-often)[:own])
    assert np.array_equal(address(hot).ravel(), np.arange(own))
    cold = np.setdiff1d(np.arange(5000), hot)
    assert (address(cold).ravel() >= own).all()


def test_mpe_has_more_bits_for_what_comes_more_often():
    often = {"item": np.random.default_rng(0).random(400)}
    table = vs.table("mpe", {"item": 400}, dim=8, budget="14%", frequencies=often)
    order = np.argsort(-often["item"])
    rows = table.lookup({"item": order})["item"]
    kept = table.setup.knobs[0]
    fine = -(-kept // 16)
    assert [store.plan.count for store in table.stores] == [fine, kept - fine]
    assert rows[:kept].any(1).all() and not rows[kept:].any()


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("tt", {"budget": "60%"}), ("tt", {"budget": "8%", "rows": "lsq4"}),
        ("qr", {"budget": "60%", "digits": 12}),
        ("dhe", {"budget": "40%", "hashes": 20, "layers": 2}),
        ("dhe", {"budget": "40%", "hashes": 20, "layers": 1, "norm": True}),
    ],
)  # fmt: skip
def test_many_ids_are_combined_a_block_at_a_time_with_the_same_results(method, how, monkeypatch):
    rng = np.random.default_rng(0)
    batch = {"user": (rng.integers(0, 60, 40), np.array([0, 3, 40])), "item": rng.integers(0, 40, 70)}
    slopes = {"user": rng.standard_normal((2, 6)), "item": rng.standard_normal((70, 6))}
    tables = []
    for at_once in (1 << 20, 50):
        monkeypatch.setattr(combining, "_AT_ONCE", at_once)
        monkeypatch.setattr(combining, "_MANY", 0)
        table = vs.table(method, FIELDS, dim=6, optimizer="adam", **how)
        for _ in range(3):
            table.lookup(batch)
            table.update(slopes, lr=0.01)
        assert (table.trace(batch)["item"].parts == []) == (at_once == 50)
        tables.append(table)
    one, other = tables
    for name, array in one.arrays().items():
        assert np.allclose(array, other.arrays()[name], rtol=1e-4, atol=1e-5), name


def test_a_lookup_of_many_ids_in_tt_takes_no_memory_for_each_ids_matrices():
    table = vs.table("tt", {"item": 100_000}, dim=16, budget="10%")
    width = table.stores[1].plan.width
    ids = np.random.default_rng(0).integers(0, 100_000, 8000)
    table.update(table.lookup({"item": ids[:10]}), lr=0.1)
    tracemalloc.start()
    try:
        table.update(table.lookup({"item": ids}), lr=0.1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40e6 < 4 * width * len(ids)


GRADIENTS = {
    "plain": {}, "hash": {}, "multihash": {"probes": 3}, "hashemb": {}, "qr": {}, "unified": {"chunks": 3},
    "robe": {},
    "hashednet": {}, "memcom": {"budget": "80%"}, "lowrank": {"budget": "60%"}, "mde": {"budget": "60%"},
    "tt": {"budget": "60%"}, "dhe": {"budget": "90%", "hashes": 3, "layers": 2}, "adapt": {},
}  # fmt: skip


@pytest.mark.parametrize("method", GRADIENTS)
def test_gradients_are_those_of_finite_differences(method):
    options = {"budget": "45%", **GRADIENTS[method]}
    if method == "plain":
        options["budget"] = "100%"
    table, stores = drawn(method, **options)
    rng = np.random.default_rng(1)
    batch = {
        "user": (rng.integers(0, 60, 12), np.array([0, 3, 4, 12]), rng.random(12)),
        "item": rng.integers(0, 40, 8),
    }
    slopes = {"user": rng.standard_normal((3, 6)), "item": rng.standard_normal((8, 6))}

    def loss():
        return sum(
            (slopes[field] * rows).sum(dtype=np.float64) for field, rows in table.lookup(batch).items()
        )

    before = [values.copy() for values in stores]
    table.lookup(batch)
    table.update(slopes, lr=1.0)
    found = [old - values for old, values in zip(before, stores, strict=True)]
    for values, old in zip(stores, before, strict=True):
        values[...] = old
    for values, gradient in zip(stores, found, strict=True):
        touched = np.argwhere(gradient != 0)
        others = np.argwhere(gradient == 0)
        for place in [*rng.permutation(touched)[:12], *rng.permutation(others)[:4]]:
            at, h = tuple(place), np.float32(1 / 128)
            kept, ends = values[at], []
            for sign in (1, -1):
                values[at] = kept + sign * h
                ends.append(loss())
            values[at] = kept
            assert np.isclose((ends[0] - ends[1]) / (2 * h), gradient[at], rtol=5e-3, atol=2e-3), at
