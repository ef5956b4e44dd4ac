import re
from itertools import pairwise

import pytest

from vecstore import registry
from vecstore.bench import plots
from vecstore.errors import NotFoundError


def record(method, size, error, kind="quality", dataset="some"):
    found = {"kind": kind, "dataset": dataset, "method": method, "threads": 1, "bytes_per_row": size}
    return found | {"relative_mse": error, "recall_at_10": 1 - error if isinstance(error, float) else None}


RECORDS = [
    record("pq:bytes=8", 8.0, 0.4), record("pq:bytes=16", 16.0, 0.2), record("pq:m=16", 16.0, 0.25, "method"),
    record("pq:m=16,bits=4", 8.0, 0.45), record("faiss pq:m=8", 8.0, 0.41), record("sq:bits=8", 64.0, 1e-4),
    record("f16", 128.0, 1e-8), record("lossless:mode=best", 200.0, 0.0),
    record("faiss itq:bits=64", 8.0, None),
    record("limit", [4.0, 8.0, 16.0, 64.0], [0.5, 0.3, 0.1, 1e-5], "limit"),
    record("pq:bytes=8", 8.0, 0.4, dataset="other"), {"kind": "quality", "dataset": "third", "method": "x"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("label", "place"),
    [
        ("pq:m=8", ("pq", "Product")),
        ("pq:bytes=8,bits=4", ("pq 4 bit", "Product")),
        ("faiss opq:m=8,rounds=10", ("opq", "Product")),
        ("opq:m=8+pq:m=8", ("opq+pq", "Product")),
        ("normalize+sq:bits=4", ("sq", "Scalar")),
        ("pca:dim=32+sq:bits=4", ("pca+sq 4 bit", "Scalar")),
        ("rotate+sq:bits=4", ("rotate+sq", "Scalar")),
        ("pca:dim=32+sq:bits=8", ("pca+sq", "Scalar")),
        ("faiss turboquant:bits=2", ("turboquant", "Rotated, untrained")),
        ("prefix:dim=32+sq:bits=8", None),
        ("zstd:level=3", None),
        ("f16", None),
    ],
)
def test_a_label_has_a_line_and_a_family(label, place):
    assert plots.place_of(label) == place


def test_every_codec_that_loses_by_its_size_has_a_family():
    for name, part in registry.CODECS.items():
        if {"bytes", "bits", "m"} & set(part.option_names()):
            assert plots.place_of(name) is not None, f"{name} is in no family of vecstore/bench/plots.py"


def test_a_line_is_the_best_of_a_codec_at_each_size():
    lines = {(line.name, line.faiss): line.points for line in plots.lines_of(RECORDS[:9], "relative_mse")}
    assert lines == {
        ("pq", False): ((8.0, 0.4), (16.0, 0.2)),
        ("pq 4 bit", False): ((8.0, 0.45),),
        ("pq", True): ((8.0, 0.41),),
        ("sq", False): ((64.0, 1e-4),),
    }
    recall = {line.name: line.points for line in plots.lines_of(RECORDS[:3], "recall_at_10")}
    assert recall == {"pq": ((8.0, 0.6), (16.0, 0.8))}


@pytest.mark.parametrize("heights", [[], [0.5], [0.5, 0.5, 0.5], [0.98, 0.99, 1.3], [-0.2, 0.0, 0.9, 0.9]])
def test_names_keep_apart_and_inside(heights):
    found = plots._apart(heights)
    assert all(b - a >= plots._GAP - 1e-9 for a, b in pairwise(found))
    assert all(-1e-9 <= height <= 1 + 1e-9 for height in found)


def test_pictures_are_the_same_each_time_and_say_what_they_show(tmp_path):
    pytest.importorskip("matplotlib")
    first = plots.draw(RECORDS, tmp_path)
    assert [picture.path.name for picture in first] == [
        f"codecs-{name}-{what}.svg" for name in ("some", "other") for what in ("error", "recall")
    ]
    text = first[0].path.read_text()
    plots.draw(RECORDS, tmp_path)
    assert first[0].path.read_text() == text
    assert re.search(r"<!-- Gaussian bound -->", text)
    assert "ours: pq, pq 4 bit, sq" in first[0].alt


def test_without_the_package_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(plots, "missing", lambda: "matplotlib")
    with pytest.raises(NotFoundError, match=r"vecstore\[plots\]"):
        plots.draw(RECORDS, tmp_path)
