"""Lookups and steps of tables against plain loops, and the same bits on every instruction set."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numba.core import config

from vecstore.kernels import rowformats as formats
from vecstore.kernels.isa import available
from vecstore.kernels.radix import NONE, pack, sort_keys
from vecstore.kernels.tablepool import pool, pool_elements
from vecstore.kernels.tablestep import ADAGRAD, ADAM, ROWWISE, SGD, Rule, scratch_width, step_rows

pytestmark = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="intrinsics need the compiler")
F32 = np.float32
NO_OFFSETS, NO_WEIGHTS = np.empty(0, np.int64), np.empty(0, F32)


def drawn(width, chunks, probes, n=40, rows=23):
    rng = np.random.default_rng(width)
    addresses = rng.integers(-rows, rows, (n, chunks, probes))
    addresses[rng.random(addresses.shape) < 0.1] = NONE
    return rng.standard_normal((rows, width)).astype(F32), addresses, rng.random(n).astype(F32)


def plain_pool(values, addresses, offsets, weights, out):
    """The definition, term by term in float32."""
    width = values.shape[1]
    for b in range(len(offsets) - 1):
        for c in range(addresses.shape[1]):
            total = out[b, c * width : (c + 1) * width].copy()
            for i in range(offsets[b], offsets[b + 1]):
                for row in addresses[i, c]:
                    if row != NONE:
                        factor = weights[i] if row >= 0 else -weights[i]
                        total += factor * values[row if row >= 0 else -1 - row]
            out[b, c * width : (c + 1) * width] = total


SHAPES = [
    (1, 5, 2), (7, 2, 1), (8, 3, 1), (16, 1, 1), (30, 1, 2), (30, 2, 1), (20, 3, 1), (40, 2, 1), (64, 1, 1),
    (64, 2, 2), (150, 1, 1),
]  # fmt: skip


@pytest.mark.parametrize(("width", "chunks", "probes"), SHAPES)
@pytest.mark.parametrize("bagged", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_pooled_rows_are_the_plain_sums(width, chunks, probes, bagged, weighted):
    values, addresses, weights = drawn(width, chunks, probes)
    offsets = np.array([0, 3, 3, 20, 40]) if bagged else NO_OFFSETS
    plain = offsets if bagged else np.arange(41)
    if width > 1:  # only single values have signs
        addresses = np.where((addresses < 0) & (addresses != NONE), ~addresses, addresses)
    for adds in (0, 1):
        out = np.full((len(plain) - 1, chunks * width), adds, F32)
        expected = out.copy()
        how = offsets, (weights if weighted else NO_WEIGHTS)
        if width == 1:
            pool_elements(values[:, 0], addresses, *how, out, bool(adds))
        else:
            pool(values.view(np.uint8), addresses, *how, out, (formats.F32, width, adds))
        plain_pool(values, addresses, plain, weights if weighted else np.ones(40, F32), expected)
        assert np.array_equal(out, expected)


@pytest.mark.parametrize(("width", "chunks"), [(8, 1), (16, 2), (30, 1), (64, 2), (150, 1)])
def test_rows_of_bytes_are_pooled_as_the_floats_that_they_stand_for(width, chunks):
    values, addresses, _ = drawn(width, chunks, 1)
    addresses = np.where((addresses < 0) & (addresses != NONE), ~addresses, addresses)
    every, offsets = np.arange(len(values)), np.array([0, 3, 3, 20, 40])
    data = np.zeros((len(values), formats.row_bytes(formats.I8, width)), np.uint8)
    formats.encode_rows(values, data, every, formats.I8, np.uint64(1))
    scales = np.zeros((len(values), 2), np.uint16)
    scales[:, 1] = data[:, width:].copy().view(np.uint16)[:, 0]
    rows = data[:, :width].view(np.int8) * scales.view(F32)
    out = np.empty((4, chunks * width), F32)
    pool(data, addresses, offsets, NO_WEIGHTS, out, (formats.I8, width, 0))
    expected = np.zeros_like(out)
    plain_pool(rows, addresses, offsets, np.ones(40, F32), expected)
    assert np.array_equal(out, expected)


def rule(optimizer, width, kind=formats.F32):
    return Rule(optimizer, kind, F32(0.1), F32(1e-8), F32(0.9), F32(0.999), F32(0.01), np.uint64(5), width)


def plain_step(values, state, row, slope, optimizer):
    """One step in float64."""
    width = values.shape[1]
    if optimizer == ROWWISE:
        state[row] += (slope**2).mean()
        slope = slope / (np.sqrt(state[row]) + 1e-8)
    elif optimizer == ADAGRAD:
        state[row] += slope**2
        slope = slope / (np.sqrt(state[row]) + 1e-8)
    elif optimizer == ADAM:
        mean, square = state[row, :width], state[row, width:]
        mean[:] = 0.9 * mean + 0.1 * slope
        square[:] = 0.999 * square + 0.001 * slope**2
        slope = mean / (np.sqrt(square) + 1e-8)
    values[row] -= 0.1 * slope


def stepped(data, state, addresses, offsets, gradients, how):
    keys = np.empty(addresses.size, np.uint64)
    keys = keys[: pack(addresses, offsets, 0, (0, 1), keys, 0)]
    spare = np.empty_like(keys)
    keys = spare if sort_keys(keys, spare, np.empty((2, 2048), np.int64), 5) else keys
    width = gradients.shape[1] // addresses.shape[1]
    step_rows(
        data, state, keys, np.array([gradients.ctypes.data]), np.empty((2, scratch_width(width)), F32), how
    )


STATES = {SGD: lambda w: 0, ROWWISE: lambda w: 1, ADAGRAD: lambda w: w, ADAM: lambda w: 2 * w}


@pytest.mark.parametrize(("width", "chunks", "probes"), SHAPES)
@pytest.mark.parametrize("optimizer", STATES)
def test_a_row_takes_one_step_by_the_sum_of_its_gradients(width, chunks, probes, optimizer):
    values, addresses, _ = drawn(width, chunks, probes)
    offsets = np.array([0, 3, 3, 20, 40])
    gradients = np.random.default_rng(1).standard_normal((4, chunks * width)).astype(F32)
    state = np.zeros((len(values), STATES[optimizer](width)), F32)
    expected, kept = values.astype(np.float64), state.astype(np.float64)
    for _ in range(2):
        stepped(values.view(np.uint8), state, addresses, offsets, gradients, rule(optimizer, width))
        sums = np.zeros(expected.shape)
        for b in range(4):
            for i in range(offsets[b], offsets[b + 1]):
                for c in range(chunks):
                    for row in addresses[i, c][addresses[i, c] != NONE]:
                        part = gradients[b, c * width : (c + 1) * width].astype(np.float64)
                        sums[row if row >= 0 else -1 - row] += part if row >= 0 else -part
        for row in {int(r if r >= 0 else -1 - r) for r in addresses[addresses != NONE]}:
            plain_step(expected, kept, row, sums[row], optimizer)
    # A sum of gradients that cancel is a step of any size for a rule that divides by it.
    assert np.mean(np.isclose(values, expected, atol=2e-5, rtol=1e-4)) > 0.995


def halved(values):
    """The sum of sixteen by halves."""
    while len(values) > 1:
        values = values[: len(values) // 2] + values[len(values) // 2 :]
    return values[0]


def plain_rowwise(values, state, row, slope):
    """The step of a row in float32, in the order of the kernel."""
    padded = np.zeros(-(-len(slope) // 16) * 16, F32)
    padded[: len(slope)] = slope
    squares = np.zeros(16, F32)
    for part in padded.reshape(-1, 16):
        squares += part * part
    state[row] += halved(squares) / F32(len(slope))
    return values - F32(0.1) / (np.sqrt(state[row, 0]) + F32(1e-8)) * slope


@pytest.mark.parametrize("width", [5, 16, 30, 64, 150])
@pytest.mark.parametrize("kind", [formats.F32, formats.I8])
def test_rowwise_steps_are_those_of_plain_loops_bit_for_bit(width, kind):
    values, addresses, _ = drawn(width, 1, 1)
    addresses = np.where((addresses < 0) & (addresses != NONE), ~addresses, addresses)
    gradients = np.random.default_rng(1).standard_normal((40, width)).astype(F32)
    state, kept = np.zeros((len(values), 1), F32), np.zeros((len(values), 1), F32)
    data = values.view(np.uint8)
    if kind == formats.I8:
        data = np.zeros((len(values), width + 2), np.uint8)
        formats.encode_rows(values, data, np.arange(len(values)), kind, np.uint64(1))
    expected = data.copy()
    stepped(data, state, addresses, NO_OFFSETS, gradients, rule(ROWWISE, width, kind))
    for row in sorted(set(addresses[addresses != NONE].tolist())):
        slope = np.zeros(width, F32)
        for i in np.flatnonzero(addresses.reshape(-1) == row):
            slope += gradients[i]
        if kind == formats.F32:
            before = expected[row].view(F32)
            expected[row] = plain_rowwise(before, kept, row, slope).view(np.uint8)
        else:
            scale = np.array([0, 0, *expected[row, width:]], np.uint8).view(F32)[0]
            before = expected[row, :width].view(np.int8) * scale
            expected[row] = plain_bytes(plain_rowwise(before, kept, row, slope), row, scale)
    assert np.array_equal(data, expected) and np.array_equal(state, kept)


def plain_bytes(values, row, scale):
    """A row of bytes, rounded by its stream of numbers, as `rowformats` says."""
    need = np.abs(values).max() / F32(127)
    if need > scale or need < F32(0.75) * scale:
        need *= F32(1.0625) if 0 < scale < need else F32(1)
        bits = (int(need.view(np.uint32)) + 0xFFFF) >> 16 << 16
        scale = np.uint32(bits).view(F32)
    key = np.uint64(formats.key_of(np.uint64(5), np.uint64(row)))
    chances = np.array([formats.chance(key, j) for j in range(len(values))], F32)
    whole = np.floor(values * (F32(1) / scale) + chances)
    codes = np.clip(whole, -127, 127).astype(np.int8)
    return np.concatenate([codes.view(np.uint8), np.array([scale], F32).view(np.uint8)[2:]])


@pytest.mark.parametrize("kind", [formats.F16, formats.I16, formats.I8, formats.I4, formats.L8])
def test_rows_of_other_formats_step_to_within_their_rounding(kind):
    values, addresses, _ = drawn(30, 1, 1)
    gradients = np.random.default_rng(1).standard_normal((40, 30)).astype(F32)
    data = np.zeros((len(values), formats.row_bytes(kind, 30)), np.uint8)
    every = np.arange(len(values))
    formats.encode_rows(values, data, every, kind, np.uint64(1))
    pool(data, every.reshape(-1, 1, 1), NO_OFFSETS, NO_WEIGHTS, values, (kind, 30, 0))
    nothing = np.zeros((len(values), 0), F32)
    stepped(data, nothing, addresses, NO_OFFSETS, gradients, rule(SGD, 30, kind))
    stepped(values.view(np.uint8), nothing, addresses, NO_OFFSETS, gradients, rule(SGD, 30))
    out = np.empty_like(values)
    pool(data, every.reshape(-1, 1, 1), NO_OFFSETS, NO_WEIGHTS, out, (kind, 30, 0))
    # A scale is kept while the largest value takes three quarters of it.
    unit = np.abs(values).max(1, keepdims=True) / (formats.TOP[kind] or 1024) / 0.75
    cut = kind == formats.L8  # a step that is learned slowly cuts off what has grown
    assert (np.abs(out - values) <= 1.02 * unit).mean() > (0.8 if cut else 0.9999)


@pytest.mark.parametrize("width", [5, 16, 30])
def test_rows_are_rounded_with_steps_that_are_given_as_in_plain_loops(width):
    values = drawn(width, 1, 1)[0]
    steps = np.random.default_rng(2).uniform(0.001, 0.1, len(values)).astype(F32)
    data = np.zeros((len(values), formats.row_bytes(formats.L8, width)), np.uint8)
    formats.encode_with(values, steps, data, np.arange(len(values)), formats.L8, np.uint64(5))
    for row, step in enumerate(steps):
        key = np.uint64(formats.key_of(np.uint64(5), np.uint64(row)))
        chances = np.array([formats.chance(key, j) for j in range(width)], F32)
        codes = np.clip(np.floor(values[row] * (F32(1) / step) + chances), -127, 127).astype(np.int8)
        assert np.array_equal(
            data[row], np.concatenate([codes.view(np.uint8), np.array([step]).view(np.uint8)])
        )
    for kind in (formats.L16, formats.L8, formats.L4):
        data = np.zeros((len(values), formats.row_bytes(kind, width)), np.uint8)
        formats.encode_rows(values, data, np.arange(len(values)), kind, np.uint64(5))
        again, steps = np.zeros_like(data), np.ascontiguousarray(data[:, -4:]).view(F32)[:, 0]
        formats.encode_with(values, steps, again, np.arange(len(values)), kind, np.uint64(5))
        assert np.array_equal(data, again)


def test_a_learned_step_goes_down_its_slope():
    values = np.array([[1.0, -0.4, 0.26, 0.0]], F32)
    data = np.zeros((1, formats.row_bytes(formats.L4, 4)), np.uint8)
    formats.encode_rows(values, data, np.array([0]), formats.L4, np.uint64(1))
    before = np.empty((1, 4), F32)
    pool(data, np.zeros((1, 1, 1), np.int64), NO_OFFSETS, NO_WEIGHTS, before, (formats.L4, 4, 0))
    gradient = np.array([[1.0, 2.0, -3.0, 0.5]], F32)
    stepped(
        data,
        np.zeros((1, 0), F32),
        np.zeros((1, 1, 1), np.int64),
        NO_OFFSETS,
        gradient,
        rule(SGD, 4, formats.L4),
    )
    step = F32(1 / 7)
    ratio = (before - F32(0.1) * gradient) / step
    near = np.clip(np.rint(ratio), -7, 7)
    slope = (gradient * np.where(np.abs(ratio) > 7, near, near - ratio)).sum()
    assert np.isclose(data[0, -4:].view(F32)[0], step - 0.01 * slope / np.sqrt(4 * 7), rtol=1e-5)


DIGEST = """
import hashlib
import numpy as np
import vecstore as vs

digest = hashlib.sha256()
rng = np.random.default_rng(0)
for method, options in (
    ("plain", {}), ("unified", {"rows": "int8"}), ("unified", {"rows": "f16", "chunks": 2}), ("qr", {}),
    ("robe", {}), ("lowrank", {"rows": "int4"}), ("alpt", {}),
):
    for optimizer in ("rowwise_adagrad", "adam", "adagrad"):
        table = vs.table(method, {"a": 100, "b": 7}, dim=30, optimizer=optimizer, budget="100%", **options)
        for _ in range(3):
            rows = table.lookup({"a": rng.integers(0, 100, 2000), "b": rng.integers(0, 7, (50, 40))})
            slopes = {name: value * rng.random(value.shape, np.float32) for name, value in rows.items()}
            table.update(slopes, 0.1)
        for array in table.arrays().values():
            digest.update(array.tobytes())
print(digest.hexdigest())
"""


def test_tables_learn_the_same_bits_on_every_instruction_set():
    found = set()
    for isa in available():
        environment = {**os.environ, "VECSTORE_ISA": isa}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1
