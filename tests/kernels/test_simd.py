"""The vector instructions, each against numpy, and the ARM code that they become."""

import os
import re
import subprocess
import sys

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from llvmlite import ir

from vecstore.kernels import simd
from vecstore.kernels.isa import ISA, LANES

JIT = not numba.config.DISABLE_JIT
needs_jit = pytest.mark.skipif(not JIT, reason="vector instructions exist only in compiled code")
TO_ARM = """
import platform
import re
import llvmlite.binding as llvm
from numba import boolean, float32, float64, int8, int16, int32, int64, types, uint8, uint32, uint64

platform.machine = lambda: "aarch64"  # vecstore then generates for neon, numba still for this machine
from vecstore.kernels import beams, bits, bytedots, cellpicks, icm, isa, levels, matmul, nearest, planes
from vecstore.kernels import popcount, product, scores, top, trellisdots

assert isa.LANES == 4

llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
rows, line = float32[:, ::1], float32[::1]
codes, starts, blocks = uint8[:, ::1], int64[::1], uint8[:, :, :, ::1]
cubes, numbers, wanted = float32[:, :, ::1], int64[:, ::1], boolean[::1]
sums, heap = types.Tuple((uint8[:, :, ::1], rows)), types.Tuple((rows, numbers))
weights = types.Tuple((int8[:, :, :, :, ::1], line, line, wanted))
cells = types.Tuple((codes.copy(ndim=1), int64, line, line))
windows = types.Tuple((numbers, uint64[::1], float64[:, ::1]))
held = types.Tuple((uint64[:, :, ::1], uint64[:, ::1]))
for kernel, signature in (
    (nearest.assign_vectors, (rows, line, starts, codes, line, line)),
    (product._decode_vectors, (codes, rows, starts, rows)),
    (matmul._matmul_vectors, (rows, rows, rows, line)),
    (popcount._hamming_vectors, (blocks, int64, types.Tuple((codes, int64)), rows, line)),
    (bits._choose_vectors, (codes, rows, rows)),
    (beams._extend, (cubes, types.Tuple((rows, int16[:, :, ::1])), sums, codes, rows, int64)),
    (beams._nearest, (rows, rows, line, codes)),
    (bytedots._dots_bytes, (blocks, int64, weights, rows, line)),
    (bytedots._dots_nibbles, (blocks, int64, weights, rows, line)),
    (scores._dots_vectors, (rows, rows, rows)),
    (top.push, (rows, line, int64, wanted, int64, heap)),
    (levels._of_rows, (rows, int64, numbers, int32[:, ::1], types.Tuple((line, line, wanted)))),
    (icm.search, (int32[:, :, ::1], int16[:, :, :, ::1], uint8[:, :, ::1], codes)),
    (icm.keep_nearer, (rows, cubes, codes, codes)),
    (cellpicks.pick, (cells, numbers, cubes, float64[::1], float64[:, ::1])),
    (planes.split_planes, (uint32[::1], codes)),
    (trellisdots._lay_out, (codes, starts, uint64[:, :, ::1])),
    (trellisdots.pick, (held, numbers, windows, float64[:, :, ::1], float64[:, ::1])),
):
    kernel.compile(signature)
    text = kernel.inspect_llvm(kernel.signatures[0])
    text = re.sub(r"^target (triple|datalayout).*$", "", text, flags=re.M)
    text = re.sub(r'"(target-cpu|target-features)"="[^"]*"', "", text)
    # numba's reference counts are the one thing in it that knows the machine.
    text = re.sub(r"= (tail )?call i8 @llvm\\.x86\\.atomic[^\\n]*", "= add i8 0, 0", text)
    module = llvm.parse_assembly(text)
    module.triple = "aarch64-unknown-linux-gnu"
    machine = llvm.Target.from_triple(module.triple).create_target_machine(cpu="neoverse-n1", opt=3)
    print("KERNEL", machine.emit_assembly(module))
"""


def test_an_fma_made_of_float64_rounds_as_the_machine_does():
    rng = np.random.default_rng(0)
    exponents = rng.integers(-30, 30, (3, 20_000)).astype(np.float32)
    a, b, c = (rng.standard_normal((3, 20_000)) * 2**exponents).astype(np.float32)
    # Products that all but cancel, and sums half-way between two float32, are where a second rounding shows.
    c[::4] = -(a * b)[::4]
    c[1::4] = (a * b)[1::4] * np.float32(2**24)
    slow = np.array([simd._fma_exact(*values) for values in zip(a, b, c, strict=True)], np.float32)
    exact = np.array([_fma_of_integers(*map(float, values)) for values in zip(a, b, c, strict=True)])
    assert np.array_equal(slow, exact.astype(np.float32))
    if JIT:
        fast = numba.vectorize(["float32(float32, float32, float32)"])(_call_fma)(a, b, c)
        assert np.array_equal(slow, fast)


def _call_fma(a, b, c):
    return simd.fma(a, b, c)


def _fma_of_integers(a, b, c):
    """a * b + c as a fraction, rounded to float32 by one division of integers."""
    from fractions import Fraction

    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if not exact:
        return 0.0
    exponent = max(-149, _log2(abs(exact)) - 23)
    return float(round(exact / Fraction(2) ** exponent)) * 2.0**exponent


def _log2(value):
    guess = value.numerator.bit_length() - value.denominator.bit_length()
    from fractions import Fraction

    return guess if Fraction(2) ** guess <= value else guess - 1


def test_infinities_pass_an_fma():
    one, inf = np.float32(1), np.float32(np.inf)
    assert simd._fma_exact(inf, one, one) == inf
    assert simd._fma_exact(np.float32(3e38), np.float32(10), one) == inf


def test_scratch_begins_on_a_cache_line():
    for count in (1, 5, 1000):
        held = simd.empty_floats(count)
        assert held.shape == (count,) and held.dtype == np.float32 and held.ctypes.data % 64 == 0


@needs_jit
def test_lanes_are_added_multiplied_and_chosen():
    @numba.njit
    def work(a, b, c, out):
        at = simd.address(a), simd.address(b), simd.address(c), simd.address(out)
        x, y, z = simd.load(at[0]), simd.load(at[1]), simd.load(at[2])
        simd.store(at[3], simd.fma_lanes(x, y, z))
        simd.store(at[3] + 4 * LANES, simd.where_less(x, y, simd.splat(np.float32(2)), z))
        simd.store(at[3] + 8 * LANES, simd.add_lanes(x, y))

    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((3, LANES)).astype(np.float32)
    out = np.empty((3, LANES), np.float32)
    work(a, b, c, out)
    assert np.array_equal(out[0], [simd._fma_exact(*values) for values in zip(a, b, c, strict=True)])
    assert np.array_equal(out[1], np.where(a < b, np.float32(2), c))
    assert np.array_equal(out[2], a + b)


@needs_jit
def test_four_columns_of_a_register_of_rows_are_transposed():
    @numba.njit
    def work(rows, out):
        simd.transpose_quads(simd.address(rows) + 8, rows.shape[1] * 4, simd.address(out))

    rows = np.arange(max(LANES, 4) * 7, dtype=np.float32).reshape(-1, 7)
    out = np.empty((4, max(LANES, 4)), np.float32)
    work(rows, out)
    assert np.array_equal(out, rows[:, 2:6].T)


@needs_jit
def test_bytes_are_shuffled_in_groups_of_sixteen():
    @numba.njit
    def work(table, index, out):
        shuffled = simd.shuffle_bytes(
            simd.load_bytes(simd.address(table)), simd.load_bytes(simd.address(index))
        )
        simd.store_bytes(simd.address(out), shuffled)

    rng = np.random.default_rng(0)
    table = rng.integers(0, 256, simd.REGISTER_BYTES, dtype=np.uint8)
    index = rng.integers(0, 16, simd.REGISTER_BYTES, dtype=np.uint8)
    out = np.empty_like(table)
    work(table, index, out)
    assert np.array_equal(out, table[np.arange(len(table)) // 16 * 16 + index])


@needs_jit
@pytest.mark.skipif(ISA == "neon", reason="ARM runs the kernels themselves")
def test_the_kernels_become_arm_vector_code(tmp_path):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "VECSTORE_ISA": "neon"}
    done = subprocess.run([sys.executable, "-c", TO_ARM], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assign, decode, product, count, choose, extend, close, *others = done.stdout.split("KERNEL")[1:]
    assert len(others) == 11 and "llvm.x86" not in done.stdout
    assert len(re.findall(r"\bfmla\tv\d+\.4s", assign)) >= 16
    assert len(re.findall(r"\bfmla\tv\d+\.4s", product)) >= 24
    assert re.search(r"\bldr\tq\d+", decode) and re.search(r"\bstr\tq\d+", decode)
    assert "fmaf" not in assign + product  # no call into the C library
    for name, text in {"extend": extend, "nearest": close, "bytes": others[0], "scores": others[2]}.items():
        assert len(re.findall(r"\bv\d+\.(4s|8h|16b)", text)) >= 16, name
    assert re.search(r"\bcnt\tv\d+\.16b", count) and re.search(r"\b(bsl|bif|bit)\tv\d+\.16b", choose)


def test_the_byte_shuffle_becomes_one_arm_instruction(monkeypatch):
    monkeypatch.setattr(simd, "ISA", "neon")
    kind = ir.VectorType(ir.IntType(8), 16)
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(kind, [kind, kind]), "shuffle")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(simd.emit_shuffle_bytes(builder, *function.args))
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module.triple = "aarch64-unknown-linux-gnu"
    machine = llvm.Target.from_triple(module.triple).create_target_machine(opt=3)
    assert "\ttbl\t" in machine.emit_assembly(llvm.parse_assembly(str(module)))
