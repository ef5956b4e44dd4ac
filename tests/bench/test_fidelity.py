import pytest

from vecstore.bench import fidelity

SET, SIZE = "classic3_minilm", 48


def record(method, recall, error=0.1, size=48.0, **more):
    return {
        "kind": "quality", "dataset": SET, "method": method, "bytes_per_row": size, "relative_mse": error,
        "recall_at_10": recall, "recall_at_10_error": 0.01,
    } | more  # fmt: skip


def verdicts(*records):
    return {line.what.removeprefix(f"{SET}, {SIZE} B: "): line for line in fidelity.judge(records)}


def test_each_figure_may_be_of_another_codec():
    found = verdicts(record("rq:m=48", 0.7, 0.115), record("opq:m=48+pq:m=48", 0.81, 0.2))
    assert found["relative MSE <= 0.116"].kept and "rq:m=48" in found["relative MSE <= 0.116"].found
    assert found["recall@10 >= 0.808"].kept and "opq" in found["recall@10 >= 0.808"].found


def test_side_data_counts_and_larger_codes_do_not_help():
    found = verdicts(record("rq:m=48", 0.9, size=50.0), record("rq:m=32", 0.7, 0.2, size=32.0))
    assert found["recall@10 >= 0.808"].kept is False
    assert found["relative MSE <= 0.116"].kept is False


def test_rows_whose_length_is_restored_reach_no_figure():
    found = verdicts(record("tcq:bytes=48", 0.9), record("tcq:bytes=48,renormalize=false", 0.8))
    assert found["recall@10 >= 0.808"].found.startswith("0.800")
    found = verdicts(record("tcq:bytes=48", 0.9))
    assert found["recall@10 >= 0.808"].kept is None


@pytest.mark.parametrize("peer, kept", [(0.79, True), (0.805, False), (0.82, False)])
def test_a_library_is_passed_by_more_than_the_sampling_error(peer, kept):
    found = verdicts(record("rq:m=48", 0.81), record("faiss opq:m=48", peer))
    assert found["recall@10 by a standard error above FAISS's best"].kept is kept


@pytest.mark.parametrize("recall, kept", [(0.795, True), (0.78, False)])
def test_a_budgets_choice_is_compared_with_the_best_of_ours(recall, kept):
    found = verdicts(record("tcq:bytes=48", 0.8), record("--budget 48B/row", recall))
    line = found["the budget's choice, recall@10 within 0.01 of our best"]
    assert line.kept is kept and "tcq:bytes=48" in line.found


def test_every_goal_is_at_a_size_that_is_measured():
    for goal in fidelity.GOALS:
        assert goal.size in fidelity.goal_sizes(goal.dataset)
