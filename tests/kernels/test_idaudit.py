import numpy as np
import pytest
from numba.core import config

from vecstore.kernels import gather, idaudit, idfile

pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="reads addresses")

MASK, FREE = 2**64 - 1, 2**64 - 1


def place(segment, row):
    return (segment << gather.ROW_BITS) | row


def audited(words, segments, live):
    """What `audit` says of slots. segments: the keys (rows, w) of each, None for one that is not there."""
    there = [keys for keys in segments if keys is not None]
    begins = iter(np.cumsum([0, *map(len, there)]).tolist())
    starts = np.array([-1 if keys is None else next(begins) for keys in segments])
    rows = np.array([1000 if keys is None else len(keys) for keys in segments])
    seen = np.zeros(sum(map(len, there)), np.bool_)
    keys, middle = np.concatenate(there), len(words) // 3
    spans = [(0, middle), (middle, len(words))]
    found = [idaudit.audit(span, words, (starts, rows), keys, (live, seen)) for span in spans]
    return max(slot for slot, _ in found), sum(repeats for _, repeats in found), int(seen.sum())


def filled(segments, slots):
    words = np.full((slots, segments[0].shape[1] + 1), 2**64 - 1, np.uint64)
    for number, keys in enumerate(segments):
        idfile.fill(words, keys, place(number, np.arange(len(keys))), True)
    return words


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("seed", range(10))
def test_an_audit_counts_live_rows_of_one_id_and_sees_all_rows(width, seed):
    rng = np.random.default_rng(seed)
    segments = [rng.integers(0, 400, (150, width)).astype(np.uint64) for _ in range(3)]
    segments[0][:3] = 2**64 - 1  # as in a free slot
    words = filled(segments, 452 if seed % 2 else 1200)
    live = rng.random(450) < 0.7
    keys = [
        tuple(key) for key, is_live in zip(np.concatenate(segments).tolist(), live, strict=True) if is_live
    ]
    assert audited(words, segments, live) == (-1, len(keys) - len(set(keys)), 450)
    own = [keys for at, keys in enumerate(np.split(live, 3)) if at != 1]
    slot, _, seen = audited(words, [segments[0], None, segments[2]], np.concatenate(own))
    assert (slot, seen) == (-1, 300)


@pytest.mark.parametrize("what", ["key", "segment", "row", "twice", "lost"])
def test_an_audit_finds_a_slot_that_leads_astray(what):
    rng = np.random.default_rng(0)
    segments = [rng.integers(0, 1 << 63, (300, 1)).astype(np.uint64)]
    words, live = filled(segments, 600), np.ones(300, np.bool_)
    taken = np.flatnonzero(words[:, 1] != 2**64 - 1)
    at = int(taken[100])
    if what == "key":
        words[at, 0] += np.uint64(1)
    elif what == "twice":
        words[at, 1] = words[taken[101], 1]
        words[at, 0] = words[taken[101], 0]
    elif what == "lost":  # far from where it is looked for, with a free slot between
        free = np.flatnonzero(words[:, 1] == 2**64 - 1)
        words[free[free > at + 50][0]] = words[at]
        words[at] = 2**64 - 1
    else:
        words[at, 1] = place(7, 3) if what == "segment" else place(0, 300)
    assert audited(words, segments, live)[0] >= 0


SECRET = np.array([0x1234567890ABCDEF, 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03], np.uint64)


def mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def trace(key, at):
    """One row's part of the sum, in Python's own numbers."""
    a, b, c = SECRET.tolist()
    return mix((mix(key[0]) + key[-1] * b + at * c + a) & MASK)


def slow_slots(words, elsewhere):
    """The sum over all slots; whether a search comes to each; numbers of those under an id that comes twice
    between where it is looked for and there."""
    slots, lines = len(words), words.tolist()
    homes = np.empty(slots, np.int64)
    idfile.homes(words[:, :-1].copy(), slots, homes)
    total, reached, alike = 0, True, set()
    for at, (*key, found) in enumerate(lines):
        if found == FREE:
            continue
        segment, row = found >> gather.ROW_BITS, found & ((1 << gather.ROW_BITS) - 1)
        if not (segment < len(elsewhere) and row < elsewhere[segment]):
            total += trace(key, found)
        before = [lines[i % slots] for i in range(homes[at], at if homes[at] <= at else at + slots)]
        reached &= all(line[-1] != FREE for line in before)
        if key[0] in {line[0] for line in before}:
            alike.add(at)
    return total & MASK, reached, alike


def traced(words, elsewhere=(), run_slots=307):
    """What `trace_slots` says of all runs."""
    total, reached, picked = 0, True, []
    for first in range(0, len(words), run_slots):
        run = words[first : first + run_slots].copy()
        picks = np.empty(len(run) + 1, np.int64)
        some, all_reached, count = idaudit.trace_slots(
            first, run, words, np.array(elsewhere, np.int64), SECRET, picks
        )
        total, reached = total + int(some), reached and bool(all_reached)
        picked += picks[:count].tolist()
    return total & MASK, reached, picked


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("slots", [452, 600, 1200, 4000])
@pytest.mark.parametrize("run_slots", [307, 4000])
def test_sums_over_slots_are_those_of_a_slow_twin(width, slots, run_slots):
    rng = np.random.default_rng(slots)
    segments = [rng.integers(0, 400, (150, width)).astype(np.uint64) for _ in range(3)]
    segments[0][:3] = 2**64 - 1  # as in a free slot
    words, keys, live = filled(segments, slots), np.concatenate(segments), np.ones(450, np.bool_)
    for elsewhere in ([], [0, 150, 0]):
        total, reached, picked = traced(words, elsewhere, run_slots)
        slow, slow_reached, alike = slow_slots(words, elsewhere)
        assert (total, reached) == (slow, slow_reached) and slow_reached
        assert set(picked) >= alike and len(set(picked)) == len(picked)
        assert not elsewhere or len(picked) < 450
        rows = [
            int(idaudit.trace_rows(keys, place(number, 0), SECRET))
            for number, keys in enumerate(segments)
            if not elsewhere or not elsewhere[number]
        ]
        assert sum(rows) & MASK == total
    assert rows[0] == sum(trace(key, row) for row, key in enumerate(segments[0].tolist())) & MASK
    starts, lengths = np.array([0, 150, 300]), np.full(3, 150)
    for share in (1.0, 0.7, 0.0):
        live = rng.random(450) < share
        ids = [tuple(key) for key, lives in zip(keys.tolist(), live, strict=True) if lives]
        count = idaudit.count_alike(words, np.array(traced(words)[2]), (starts, lengths), live)
        assert count == len(ids) - len(set(ids))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("what", ["key", "segment", "row", "swapped", "twice", "missing", "moved", "added"])
def test_sums_tell_each_kind_of_damage(what, seed):
    rng = np.random.default_rng(seed)
    segments = [rng.integers(0, 1 << 63, (300, 1)).astype(np.uint64)]
    words = filled(segments, 600)
    wanted = int(idaudit.trace_rows(segments[0], 0, SECRET))
    assert traced(words)[:2] == (wanted, True)
    one, other = rng.choice(np.flatnonzero(words[:, 1] != FREE), 2, replace=False)
    free = rng.choice(np.flatnonzero(words[:, 1] == FREE))
    if what == "key":
        words[one, 0] ^= np.uint64(1 << int(rng.integers(64)))
    elif what == "segment":
        words[one, 1] ^= np.uint64(1 << 40)
    elif what == "row":
        words[one, 1] += np.uint64(1)
    elif what == "swapped":
        words[[one, other], 1] = words[[other, one], 1]
    elif what == "twice":
        words[one] = words[other]
    elif what == "missing":
        words[one] = FREE
    elif what == "moved":
        words[free], words[one] = words[one], FREE
    else:
        words[free] = words[one]
    total, reached, _ = traced(words)
    assert reached == slow_slots(words, [])[1]
    assert (total == wanted) == (what == "moved")
    assert what != "moved" or not reached
