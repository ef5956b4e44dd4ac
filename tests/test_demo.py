"""The demonstration, its graph of words and its vectors."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import vecstore as vs
from vecstore.bench import demo
from vecstore.bench.fastrp import fastrp
from vecstore.bench.wordgraph import word_graph
from vecstore.cli.main import main


def dense(graph):
    matrix = np.zeros((len(graph.names),) * 2)
    for i in range(len(graph.names)):
        for t in range(graph.starts[i], graph.starts[i + 1]):
            matrix[i, graph.columns[t]] += graph.weights[t]
    return matrix


def test_an_edge_weighs_one_over_the_distance_of_its_words():
    graph = word_graph(["Red green blue. Red green!"], least=1, window=2)
    assert graph.names == ["green", "red", "blue"]
    at = {name: i for i, name in enumerate(graph.names)}
    weights = dense(graph)
    assert np.array_equal(weights, weights.T)
    assert weights[at["red"], at["green"]] == 1 + 1 / 2 + 1
    assert weights[at["red"], at["blue"]] == 1 / 2 + 1
    assert not weights.diagonal().any()


def test_no_edge_reaches_over_the_end_of_a_text():
    assert word_graph(["one two", "three four"], least=1, window=9).weights.sum() == 4


def test_rare_words_single_letters_and_words_alone_have_no_node():
    assert word_graph(["seen seen often often x x rare", "alone", "alone"]).names == ["often", "seen"]
    assert word_graph([]).names == []


def plain_fastrp(graph, dim, weights, seed):
    """Algorithm 1 of the paper with dense matrices, the columns standardised."""
    matrix = dense(graph)
    degree = matrix.sum(axis=1)
    n = len(degree)
    chosen = np.random.default_rng(seed).random((n, dim), np.float32)
    share = 1 / np.sqrt(n)
    signs = 1.0 * (chosen < share / 2) - (chosen > 1 - share / 2)
    power = np.diag(degree**-0.64) @ signs * np.sqrt(np.sqrt(n) / dim)
    total = 0
    for weight in weights:
        power = matrix / degree[:, None] @ power
        norms = np.linalg.norm(power, axis=1, keepdims=True)
        total = total + weight * power / np.where(norms > 0, norms, 1)
    deviation = total.std(axis=0)
    return (total - total.mean(axis=0)) / np.where(deviation > 0, deviation, 1)


def test_fastrp_is_the_paper_s_algorithm():
    rng = np.random.default_rng(0)
    letters = np.array([f"w{chr(97 + i)}{chr(97 + j)}" for i in range(6) for j in range(5)])
    graph = word_graph([" ".join(letters[rng.integers(0, 30, 400)])])
    found = fastrp(graph, 16, weights=(0.5, 1, 2), seed=3)
    assert found.dtype == np.float32
    assert np.allclose(found, plain_fastrp(graph, 16, (0.5, 1, 2), 3), atol=1e-4)
    assert np.array_equal(found, fastrp(graph, 16, weights=(0.5, 1, 2), seed=3))


def test_the_nearest_are_the_largest_cosines_without_the_row_itself():
    rows = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    scores = unit @ unit.T - 9 * np.eye(40)
    assert np.array_equal(demo.nearest(rows, 3), np.argsort(-scores, axis=1)[:, :3])


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    saved = tmp_path_factory.mktemp("demo") / "words.parquet"
    result = CliRunner().invoke(main, ["demo", "--json", "--save", str(saved)], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout), saved


def test_the_demonstration_says_what_each_codec_cost_and_lost(told):
    found, _ = told
    assert found["rows"] > 1000
    assert found["raw_bytes"] == found["rows"] * found["dim"] * 4
    by_spec = {codec["spec"]: codec for codec in found["codecs"]}
    assert list(by_spec) == list(demo.SPECS)
    for codec in by_spec.values():
        assert codec["bytes"] == codec["ledger"]["total"]
        assert codec["share"] == codec["bytes"] / found["raw_bytes"]
    assert by_spec["lossless"]["relative_mse"] == 0
    assert by_spec["lossless"]["recall_at_10"] == 1
    assert by_spec["sq:bits=8"]["recall_at_10"] > 0.95
    assert by_spec["pq:m=32,bits=4"]["share"] < 0.1


def test_the_words_near_a_word_make_sense(told):
    found, _ = told
    # Texts differ between versions of Python.
    assert {"float", "real"} <= set(found["neighbours"]["complex"]["before"])
    assert found["neighbours"]["complex"]["lossless"] == found["neighbours"]["complex"]["before"]


def test_the_saved_vectors_go_on_as_the_last_lines_say(told, tmp_path):
    found, saved = told
    summary = vs.compress(saved, tmp_path / "words.arrow", budget="10%")
    assert summary.rows == found["rows"]
    assert summary.bytes <= 0.1 * found["raw_bytes"]
    with vs.open(tmp_path / "words.arrow") as words:
        assert words.get(["loop"]).shape == (1, found["dim"])


def test_an_existing_file_is_not_saved_over_unless_told(told):
    _, saved = told
    before = saved.read_bytes()
    result = CliRunner().invoke(main, ["demo", "--save", str(saved)])
    assert result.exit_code == 5
    assert result.stdout == ""
    assert saved.read_bytes() == before


def test_people_get_tables_of_at_most_80_columns():
    result = CliRunner().invoke(main, ["demo"], catch_exceptions=False)
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for spec in demo.SPECS:
        assert any(line.startswith(spec) for line in lines)
    assert "compress words.parquet words.arrow" in result.stdout
