"""klt: cells as Lloyd and Max have them, and every axis coded by its own bits alone."""

import dataclasses

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs import klt
from vecstore.codecs.tcq.tables import normal_cells


def test_cells_have_the_known_errors():
    """Max 1960, table I, to four places; of many bits near the sqrt(3) pi / 2 4**-b of Panter and Dite."""
    known = [0.3634, 0.1175, 0.03454, 0.009497]
    assert np.allclose([normal_cells(bits)[1] for bits in range(1, 5)], known, rtol=5e-4)
    for bits in (7, 8):
        assert 0.96 < normal_cells(bits)[1] / (np.sqrt(3) * np.pi / 2 * 4.0**-bits) < 1


@pytest.mark.parametrize("spec", ["klt:bits=2", "klt:bytes=17", "klt:bits=7"])
def test_codes_are_the_nearest_levels_along_the_axes(spec):
    rng = np.random.default_rng(1)
    rows = (rng.standard_normal((900, 24)) * np.arange(1, 25)).astype(np.float32)
    codec = vs.fit(spec, rows)
    codes = codec.encode(rows)
    turned, values = (rows - codec.mean) @ codec.axes, codec.turned(codes)
    cells, _ = codec._layout
    for bits, table, dim, _, _ in cells[::3]:
        levels = codec.tables[table, 0, : 1 << bits] * codec.scales[dim]
        near = np.abs(turned[:, dim, None] - levels).min(axis=1)
        assert np.allclose(np.abs(turned[:, dim] - values[:, dim]), near, atol=1e-4 * np.abs(levels).max())


def test_state_whose_cells_have_a_memory_is_refused():
    codec = vs.fit("klt:bits=2", np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32))
    tables = codec.tables.copy()
    tables[0, 0, -1] += 1
    with pytest.raises(ValueError, match="their own bits"):
        dataclasses.replace(codec, tables=tables)


def test_levels_are_the_means_of_their_cells_and_fit_the_rows():
    rng = np.random.default_rng(0)
    rows, unseen = (
        (rng.laplace(size=(n, 24)) * np.arange(1, 25) ** -0.5).astype(np.float32) for n in (2000, 999)
    )
    codec = vs.fit("klt:bytes=9,scale=none", rows)
    turned, kinds = (rows - codec.mean) @ codec.axes, codec.kinds[:, 0]
    normal = [np.array(normal_cells(int(bits))[0]) for bits in kinds]
    cells = codec._layout[0]
    for table, (found, levels) in enumerate(
        zip(klt._improved(turned, codec.scales, normal, cells), normal, strict=True)
    ):
        dims = cells[cells[:, 1] == table, 2]
        values, weights = (
            (turned[:, dims] / codec.scales[dims]).ravel(),
            np.tile(codec.scales[dims] ** 2, 2000),
        )
        near = np.abs(values[:, None] - levels).argmin(1)
        wanted = [np.average(values[near == c], weights=weights[near == c]) for c in range(len(levels))]
        assert np.allclose(found, wanted, atol=1e-3)
    plain = dataclasses.replace(codec, tables=np.stack([klt._table(each, codec.states) for each in normal]))
    lost = [np.square(unseen - one.decode(one.encode(unseen))).sum() for one in (codec, plain)]
    assert lost[0] < 0.9 * lost[1]
