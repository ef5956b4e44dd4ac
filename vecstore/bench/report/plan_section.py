"""What a report says of plans beside exhaustive runs."""

from __future__ import annotations

from collections.abc import Sequence

from vecstore.bench import plan_page
from vecstore.bench.plan_page import COMMAND, TIME, Case
from vecstore.bench.report import charts
from vecstore.bench.report.model import Chart, Dot, Record, Scale, Section, Table

_KINDS = ("first choice", "best of all that was tried")


def section(records: Sequence[Record]) -> Section:
    """Of the records of scripts/bench_plan.py."""
    found = Section("plan", "Plans: what a first choice is worth", COMMAND)
    found.targets = plan_page.judge(records)
    cases, _ = plan_page.gathered(records)
    if cases:
        found.charts = [_recalls(cases), _times(cases)]
    found.tables = [Table(*table, COMMAND) for table in plan_page.tables(records)]
    found.not_shown = plan_page.ABOUT
    return found


def _recalls(cases: Sequence[Case]) -> Chart:
    drawn = [
        Dot(
            charts.label(str(case.plan["dataset"]), str(case.plan["budget"])),
            kind,
            float(one["recall_at_10"]),
        )
        for case in cases
        for kind, one in zip(reversed(_KINDS), (case.best, case.got), strict=True)
    ]
    scale = Scale("recall@10", logarithmic=False, kinds=_KINDS)
    return charts.dots("First choices beside the best that their budgets hold", scale, drawn, COMMAND)


def _times(cases: Sequence[Case]) -> Chart:
    drawn = [
        Dot(charts.label(name), "a plan", share) for name, share in plan_page.shares_of_time(cases).items()
    ]
    scale = Scale("time over that of an exhaustive run", rule=TIME, rule_name="what is asked")
    return charts.dots("Time of plans, of all budgets of a set", scale, drawn, COMMAND)
