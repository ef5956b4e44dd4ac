import pytest

from vecstore.errors import BudgetError
from vecstore.ledger import Ledger, parse_budget


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("64MiB", 64 * 2**20, "total"), ("64MB", 64e6, "total"), ("1.5GB", 1.5e9, "total"),
        ("100B", 100, "total"),
        ("791kB", 791e3, "total"), ("2KiB", 2048, "total"),
        ("2kiB", 2048, "total"), ("3KB", 3000, "total"), ("5%", 0.05, "share"), ("48B/row", 48, "row"),
        ("1.5bit/dim", 1.5, "dim"),
    ],
)  # fmt: skip
def test_budgets_are_read(text, amount, unit):
    budget = parse_budget(text)
    assert budget.amount == pytest.approx(amount) and budget.unit == unit


@pytest.mark.parametrize(
    "text", ["", "5", "MB", "-5%", "0%", "5 percent", "nan%", "inf%", "5MBs", "1e400B/row", "x"]
)
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(BudgetError, match="cannot be read"):
        parse_budget(text)


def test_the_parts_sum_to_the_total():
    ledger = Ledger(codes=1, side=2, shared=4, ids=8, index=16, format=32, carried=64)
    assert ledger.total == 127 and ledger.as_dict()["total"] == 127


def test_a_budget_per_row_lets_a_tenth_of_shared_bytes_pass():
    budget = parse_budget("10B/row")
    assert budget.keeps(Ledger(codes=1000, shared=100, ids=10**6), dim=4, rows=100)
    assert not budget.keeps(Ledger(codes=1000, shared=101), dim=4, rows=100)


def test_a_share_counts_everything_but_carried_columns():
    budget = parse_budget("50%")
    assert budget.keeps(Ledger(codes=100, ids=50, format=50, carried=9999), dim=1, rows=100)
    assert not budget.keeps(Ledger(codes=100, ids=50, format=51), dim=1, rows=100)


def test_a_total_needs_the_number_of_rows():
    with pytest.raises(BudgetError, match="--rows"):
        parse_budget("5MB").row_bytes(8, None)
