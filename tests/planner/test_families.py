"""Members of families have the bytes that are said, and of each the largest that a budget holds is found."""

import itertools

import numpy as np
import pytest

import vecstore as vs
from vecstore.bench.plan_grid import GRID
from vecstore.ledger import parse_budget
from vecstore.planner.candidates import Candidates
from vecstore.planner.families import FAMILIES
from vecstore.planner.room import Room

RNG = np.random.default_rng(3)
ROWS = {
    dim: (RNG.standard_normal((700, dim)) @ RNG.standard_normal((dim, dim))).astype(np.float32)
    for dim in (7, 20)
}


@pytest.mark.parametrize("family", GRID, ids=lambda family: family.spec)
def test_members_have_the_bytes_that_are_said(family):
    for dim, rows in ROWS.items():
        sizes = family.tried(dim)
        assert list(sizes) == sorted(sizes, reverse=True)
        for size in {*sizes[:1], *sizes[-1:]}:
            spec, code_bytes, state = family.member(dim, size)
            codec = vs.fit(spec, rows)
            assert codec.code_bytes == code_bytes
            # Rather too low: where it were too high, room would be left that a larger member needs.
            assert state - 300 <= codec.ledger(0).shared, spec


@pytest.mark.parametrize("budget", ["6B/row", "30%", "40kB"])
def test_the_largest_member_that_a_budget_holds_is_found(budget):
    rows = ROWS[20]
    room = Room(parse_budget(budget), 20, 2000, 8.0)
    candidates, holding = Candidates(room), 0
    for family in FAMILIES:
        if family.spec.startswith(("lsq", "prq", "opq")):  # slow
            continue
        codec = candidates.fitted(family, rows)
        specs, found = [family.member(20, size)[0] for size in family.tried(20)], candidates.spec(family)
        larger = list(itertools.takewhile(lambda spec, found=found: spec != found, specs))
        if codec is not None:
            assert room.holds(codec) and len(larger) < len(specs)
            holding += 1
        # None that is larger by more than a few bytes of state would have done.
        for spec in larger[:-2]:
            assert not room.holds(vs.fit(spec, rows)), spec
    assert holding > 2


@pytest.mark.parametrize("dim", [1, 3, 64, 300])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.spec)
def test_the_largest_is_found_also_where_a_smaller_one_needs_more(family, dim):
    members = [family.member(dim, size) for size in family.tried(dim)]
    for share in (0.5, 1, 2, 3, 5, 8, 12, 20, 40):
        room = Room(parse_budget(f"{share}%"), dim, 30_000, 0.0)
        kept = [spec for spec, code_bytes, state in members if room.keeps(code_bytes, state + 256)]
        found = Candidates(room).largest(family)
        assert (found.spec if found else None) == next(iter(kept), None)


def test_what_is_too_large_when_fitted_gives_way_to_a_smaller_one():
    rows, room = ROWS[20], Room(parse_budget("7kB"), 20, 100, 8.0)
    family = next(family for family in FAMILIES if family.spec.startswith("pca:dim={size}+sq"))
    candidates = Candidates(room)
    first = candidates.largest(family)
    candidates.too_large(first, first.shared + 900)
    second = candidates.largest(family)
    assert 0 < second.code_bytes < first.code_bytes
    codec = candidates.fitted(family, rows)
    assert codec is not None and room.holds(codec) and codec.code_bytes <= second.code_bytes
