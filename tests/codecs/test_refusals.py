"""What no codec can be fitted with, and what the message says: specs, sizes, samples."""

import numpy as np
import pytest
from cases import make_rows

import vecstore as vs


def test_bytes_is_the_whole_row():
    rows = make_rows(600, 16)
    assert vs.fit("pq:bytes=4", rows).code_bytes == 4
    assert vs.fit("pq:bytes=4,bits=4", rows).m == 8
    assert vs.fit("normalize+pq:bytes=6", rows).code_bytes == 6
    assert vs.fit("sq:bytes=12", rows).bits == 6
    with pytest.raises(vs.SpecError, match="8 \\(bits=4\\)"):
        vs.fit("sq:bytes=13", rows)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pqq", "did you mean pq"),
        ("pq:n=3", "unknown option of 'pq' 'n'"),
        ("pq:m=0", "m=0"),
        ("pq:m=99", "8 dimensions"),
        ("pq:m=x", "no int"),
        ("pq:m=2.5", "no int"),
        ("sq:bits=5", "bits=5"),
        ("sq:clip=0.7", "clip"),
        ("pq+sq", "must end the chain"),
        ("center", "ends in the transform"),
        ("center+lossless", "takes no transforms"),
        ("prefix+f32", "needs the number"),
        ("whiten:floor=0+f32", "more than 0"),
        ("relative:anchors=0+f32", "anchors=0"),
        ("prefix:dim=9+f32", "the rows have 8"),
        ("", "empty"),
        ("pq:", "ends in a colon"),
        ("pq:m=2,m=3", "stands twice"),
        ("pq:m", "no option"),
        ("pq:bytes=0", "bytes=0, the whole row; expected 1 or more"),
        ("sq:bytes=true", "no int"),
        ("itq:bytes=true", "no int"),
        ("normalize+pq:bytes=2", "what stands before it takes 2; expected 3 or more"),
        ("groupcenter:by=lang+pq:bytes=1", "takes 1; expected 2 or more"),
        ("lsq:m=1000", "expected 1 to 16 .prq has more"),
    ],
)
def test_impossible_specs_say_what_is_wrong(spec, message):
    with pytest.raises(vs.SpecError, match=message):
        vs.fit(spec, make_rows(50, 8), columns={"lang": ["de"] * 50})


def test_rows_too_small_to_be_told_apart_are_refused_and_zeros_are_not():
    rows = make_rows(300, 4) * np.float32(1e-30)
    for spec in ("pq:m=2", "normalize+rq", "groupcenter:by=lang+sq"):
        with pytest.raises(vs.InputError, match="no value of the sample is larger than"):
            vs.fit(spec, rows, columns={"lang": ["de"] * 300})
    assert np.array_equal(vs.fit("f32", rows).encode(rows).view(np.float32), rows)
    codec = vs.fit("pq:m=2", rows * 0)
    assert not codec.decode(codec.encode(rows * 0)).any()
