# ruff: noqa: E501
import json
import re
import sys

import pytest
from click.testing import CliRunner
from report_records import CODECS, COMMON, HOSTILE, MACHINE, SCANS, hostile, write

from vecstore.bench import plots
from vecstore.bench.report import build, charts, html, markdown, reading
from vecstore.bench.report.charts import OTHERS, OURS, Axes, Bound, Point
from vecstore.bench.report.model import Table, number
from vecstore.cli.main import main
from vecstore.errors import InputError, NotFoundError


def reported(tmp_path, *records):
    return build.report([write(tmp_path / "records.jsonl", *records)])[0]


def told(report):
    return [f"{trouble.where}: {trouble.what}" for trouble in report.troubles]


def test_the_conclusion_names_the_best_method_at_each_budget_and_the_best_of_others(tmp_path):
    (section,) = reported(tmp_path, *CODECS).sections
    (best,) = section.best
    assert best.title == "some: what to take at which budget"
    lines = {line[0]: line[1:] for line in best.lines}
    assert lines["8"] == ["pq:bytes=8", "0.500", "faiss pq:m=8", "0.490", "pq:bytes=8", "0.4", "1.50"]
    # Of equals the one that names a codec, not a budget.
    assert lines["16"][:4] == ["tcq:bytes=16", "0.800", "faiss opq:m=16", "0.700"]
    assert "24" not in lines, "a budget at which nothing changes has no line"


def test_a_chart_has_the_bound_and_says_where_it_has_none(tmp_path):
    error, recall = reported(tmp_path, *CODECS).sections[0].charts
    assert [mark.name for mark in error.marks][:3] == [
        "best of vecstore",
        "best of others",
        "rate-distortion bound",
    ]
    drawn = [layer for layer in error.spec["layer"] if layer["mark"].get("color") == "@bound"]
    assert [point["value"] for point in drawn[0]["data"]["values"]] == [0.3, 0.1, 0.01]
    assert "rate-distortion bound is drawn" in error.alt and error.note == ""
    assert "bound" not in [mark.name for mark in recall.marks]
    (bare, _) = reported(tmp_path, *[r for r in CODECS if r["kind"] != "limit"]).sections[0].charts
    assert "--methods limit" in bare.note


def test_every_chart_and_table_names_the_command_that_makes_it(tmp_path):
    report = reported(tmp_path, *CODECS, *SCANS)
    for section in report.sections:
        for part in (*section.charts, *section.tables, *section.best):
            assert part.command.startswith(f"vecstore bench {section.name}"), part.title
        assert section.command == f"vecstore bench {section.name}"
    assert "--datasets some" in report.sections[0].charts[0].command


def test_a_name_that_a_shell_would_take_apart_is_quoted_in_commands(tmp_path):
    report = reported(tmp_path, *[{**r, "dataset": "a; rm -rf b"} for r in CODECS])
    assert "--datasets 'a; rm -rf b'" in report.sections[0].charts[0].command


def test_scans_are_shown_by_their_share_of_memory(tmp_path):
    shares, ratios = reported(tmp_path, *SCANS).sections[0].charts
    assert "share of memory" in shares.title and [dot.value for dot in shares.plain.dots] == [0.9]
    assert {dot.what: (dot.low, dot.value, dot.high) for dot in ratios.plain.dots} == {
        "1 query": (1.05, 2.1, 4.2), "32 queries": (2.0, 4.0, 8.0),
    }  # fmt: skip


def test_the_last_record_of_a_case_counts(tmp_path):
    report = reported(tmp_path, CODECS[0], {**CODECS[0], "recall_at_10": 0.6}, CODECS[2])
    assert report.sections[0].best[0].lines[0][2] == "0.600"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not JSON"),
        ("[1]", "a list; expected an object"),
        ("7", "a int; expected an object"),
        ('{"method": "x"}', "no task"),
        ('{"task": 3}', "no task"),
        ('{"task": "codecs"}', "unknown shape: it lacks"),
        ("[" * 100_000, "not JSON that can be read"),
        (json.dumps({**CODECS[0], "dataset": 3}), "dataset is a int; expected text"),
        (json.dumps({**CODECS[0], "threads": "two"}), "threads is two; expected a whole number"),
        (json.dumps({**CODECS[0], "recall_at_10": "much"}), "unknown shape"),
        (json.dumps({**CODECS[0], "ledger": None}), "unknown shape"),
        (json.dumps({**SCANS[0], "scan_ratio_min": None}), "unknown shape"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_and_the_rest_goes_on(tmp_path, line, why):
    report = reported(tmp_path, *CODECS, line, *SCANS)
    assert [section.name for section in report.sections] == ["codecs", "scan"]
    (trouble,) = report.troubles
    assert trouble.where.endswith(f"records.jsonl, line {len(CODECS) + 1}") and why in trouble.what


def test_bytes_that_are_no_text_and_lines_too_long_are_named(tmp_path, monkeypatch):
    path = tmp_path / "records.jsonl"
    good = "".join(json.dumps(record) + "\n" for record in CODECS).encode()
    path.write_bytes(b"\xff\xfe{}\n" + b"\n" + good)
    assert "line 1: not" in told(build.report([str(path)])[0])[0]
    monkeypatch.setattr(reading, "LONGEST", 1 << 20)
    path.write_bytes(b"x" * (5 << 19) + b"\n" + good)
    report, _ = build.report([str(path)])
    assert told(report) == [f"{path}, line 1: longer than 1 MiB"]
    assert report.sources == [(str(path), len(CODECS) + 1, len(CODECS))]


def test_numbers_that_are_none_are_missing_figures(tmp_path):
    text = json.dumps(CODECS[0]).replace("0.4,", "NaN,").replace("0.5,", "1e999,")
    report = reported(tmp_path, text, *CODECS[1:])
    assert told(report) == []
    assert "NaN" not in json.dumps([chart.spec for chart in report.sections[0].charts])


def test_many_troubles_are_counted(tmp_path):
    report = reported(tmp_path, *["{"] * (reading.LISTED + 5), *CODECS)
    assert (len(report.troubles), report.unlisted) == (reading.LISTED, 5)


def test_what_failed_is_missing_or_infeasible_is_said(tmp_path):
    bad = {k: CODECS[0][k] for k in ("task", "kind", "dataset", "threads", "machine")}
    tables = {**COMMON, "task": "tables", "dataset": "d", "method": "hash", "budget": 0.01, "threads": 1}
    report = reported(
        tmp_path, *CODECS, {**bad, "method": "x", "error": "Boom: it"}, {**bad, "method": "y", "missing": "faiss-cpu"},
        {**tables, "infeasible": "least is 5 B"},
    )  # fmt: skip
    assert told(report) == [
        "codecs, some, x: failed: Boom: it", "codecs, some, y: not installed: faiss-cpu",
        "tables, d, hash, budget 0.01: infeasible: least is 5 B",
    ]  # fmt: skip


def test_a_task_that_is_not_known_is_shown_by_the_names_of_its_figures(tmp_path):
    records = [
        {"task": "novel", "dataset": "own", "method": name, "budget": f"{size}B/row", "relative_mse": error,
         "recall_at_10": 1 - error, "machine": MACHINE, "seed": 0}
        for name, size, error in (("pq:m=8", 8, 0.4), ("faiss pq:m=8", 8, 0.45), ("sq:bits=8", 96, 1e-3))
    ]  # fmt: skip
    (section,) = reported(tmp_path, *records).sections
    assert "does not know" in section.title and len(section.charts) == 2
    assert section.best[0].lines[0][:3] == ["8", "pq:m=8", "0.600"]
    assert section.tables[0].header == ["dataset", "method", "budget", "relative_mse", "recall_at_10", "seed"]


def test_vectors_are_held_against_float32(tmp_path):
    common = {
        "task": "vectors",
        "seed": 0,
        "quick": False,
        "rows": 100,
        "dim": 16,
        "fit_s": 0.1,
        "machine": MACHINE,
    }
    records = [
        {**common, "dataset": dataset, "method": name, "bytes_per_row": size, key: value}
        for dataset, key in (("own", "recall_at_10"), ("limit_free_16", "limit_sets"))
        for name, size, value in (("f32", 64.0, 1), ("sq:bits=8", 16.0, 0.9), ("sign", 2.0, 0.0))
    ]
    (section,) = reported(tmp_path, *records).sections
    own, free = section.charts
    assert own.title == "own: recall@10 by bytes a row" and own.marks[1].name == "float32"
    assert free.command == "vecstore bench limit --dims 16 --out FILE"
    assert [table.title for table in section.best] == ["own: what to take at which budget"]


def test_quick_records_busy_ones_and_machines_are_noted(tmp_path):
    other = {**CODECS[1], "quick": True, "load_before": 7.0, "machine": {**MACHINE, "cpu": "Other"}}
    report = reported(tmp_path, CODECS[0], other, *CODECS[2:])
    assert [machine.records for machine in report.machines] == [7, 1]
    text = " ".join(report.notes)
    assert "--quick" in text and "load_before" in text and "2 different machines" in text


def test_no_record_at_all_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"line 1: not JSON"):
        reported(tmp_path, "{")
    with pytest.raises(NotFoundError, match="is no file"):
        build.report([str(tmp_path / "nothing.jsonl")])


def test_a_frontier_is_a_stair_of_the_best():
    points = [Point(8, 0.5, "a", "", OURS), Point(8, 0.4, "b", "", OURS), Point(9, 0.45, "c", "", OURS), Point(20, 0.1, "d", "", OURS)]  # fmt: skip
    assert [p.method for p in charts.frontier(points, low=True)] == ["b", "d"]
    assert [p.method for p in charts.frontier(points, low=False)] == ["a"]


def test_the_bound_between_two_points_lies_on_a_straight_line_of_logarithms():
    axes = Axes("bytes", "error", low=True)
    points = [Point(8.0, 0.5, "a", "F", OURS), Point(4.0, 0.9, "b", "F", OTHERS)]
    chart = charts.pareto("x", axes, points, ["F"], Bound("bound", [(4.0, 0.4), (16.0, 0.1)]), "run")
    assert [line[-1] for line in chart.figures.lines] == ["0.4", "0.2"]


def test_a_label_is_broken_at_commas():
    assert (
        charts.label("tcq:bits=2,states=256,stages=0", "against x")
        == "tcq:bits=2,states=256,|stages=0|against x"
    )


@pytest.mark.parametrize(
    ("cell", "value"),
    [("1,234 (1-2)", 1234), ("-0.5", -0.5), ("4e-05", 4e-5), ("12%", 12), ("-", None), ("pq:m=8", None)],
)
def test_a_cell_is_sorted_by_the_number_that_it_begins_with(cell, value):
    assert number(cell) == value


def test_a_column_is_numeric_if_all_its_figures_are():
    table = Table("t", ["a", "b", "c"], [["1", "x", "-"], ["-", "2", "-"]])
    assert table.numeric == [True, False, True]


def test_no_text_of_a_record_becomes_markup(tmp_path):
    pytest.importorskip("vl_convert", reason="the page's charts are not installed")
    page = html.page(reported(tmp_path, *hostile()))
    body = page[: page.index('<script type="application/json"')]
    assert "<img" not in body and "<script" not in body and "owned()" in body
    assert page.count("</script>") == 3, "two scripts and the charts' figures"
    data = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.S).group(1)
    assert "<" not in data and HOSTILE in json.dumps(json.loads(data), ensure_ascii=False).replace('\\"', '"')


def test_markdown_makes_nothing_of_a_record_either(tmp_path):
    page = markdown.page(reported(tmp_path, *hostile()))
    assert "<img" not in page.replace("\\<", "") and "[a](" not in page.replace("\\[", "").replace("\\]", "")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert rows and all(line.endswith("|") for line in rows)


def test_without_its_library_a_page_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(html, "_MODULE", "no_such_module")
    report = reported(tmp_path, *CODECS)
    with pytest.raises(NotFoundError, match=r"pip install 'vecstore\[report\]'"):
        html.page(report)
    assert "## Conclusions" in markdown.page(report)


def run(*arguments, **more):
    return CliRunner().invoke(main, ["report", *map(str, arguments)], **more)


def test_the_command_writes_markdown_and_does_not_overwrite(tmp_path):
    source, out = write(tmp_path / "r.jsonl", *CODECS, "{"), tmp_path / "r.md"
    done = run(source, "--md", out)
    assert done.exit_code == 0 and "1 lines or records" in done.stderr and done.stdout == ""
    assert "what to take at which budget" in out.read_text()
    assert run(source, "--md", out).exit_code == 5
    assert run(source, "--md", out, "--force").exit_code == 0
    assert run(source).exit_code == 2
    assert run(tmp_path / "none", "--md", tmp_path / "x").exit_code == 3


def test_the_command_reads_stdin_and_answers_programs(tmp_path):
    lines = "".join(json.dumps(record) + "\n" for record in (*CODECS, *SCANS))
    done = run("-", "--md", tmp_path / "r.md", "--json", input=lines)
    found = json.loads(done.stdout)
    assert (
        found["records"] == len(CODECS) + 2
        and found["sections"] == ["codecs", "scan"]
        and found["troubles"] == []
    )


def test_pictures_stay_in_their_folder_whatever_a_set_is_called(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures are not installed")
    source = write(tmp_path / "r.jsonl", *[{**r, "dataset": "../$x$\\frac"} for r in CODECS], *SCANS)
    done = run(source, "--png", tmp_path / "png", "--md", tmp_path / "r.md")
    assert done.exit_code == 0, done.output
    found = sorted(path.name for path in (tmp_path / "png").iterdir())
    assert "codecs-.._x_frac-error.png" in found and len(found) == 4
    assert all((tmp_path / "png" / name).read_bytes().startswith(b"\x89PNG") for name in found)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["png", "r.jsonl", "r.md"]
    shown = re.findall(r"!\[.*\]\(png/(.*)\)", (tmp_path / "r.md").read_text())
    assert sorted(shown) == found
    assert run(source, "--png", tmp_path / "png").exit_code == 5


def test_without_matplotlib_pictures_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "PACKAGE", "no_such_module")
    done = run(write(tmp_path / "r.jsonl", *CODECS), "--png", tmp_path / "png")
    assert done.exit_code == 3 and "vecstore[plots]" in done.stderr


def test_the_records_of_the_docs_make_a_report_of_all_tasks():
    folder = plots.Path(__file__).parents[2] / "docs" / "benchmarks"
    docs = sorted(map(str, folder.glob("*.jsonl")))
    report, _ = build.report(docs)
    assert {"codecs", "scan", "store", "vectors", "plan", "tables"} <= {
        section.name for section in report.sections
    }
    assert not [trouble for trouble in report.troubles if ", line " in trouble.where]
    assert "vl_convert" not in sys.modules or html.missing() is None


def planned(budget="8B/row", got=0.5, best=0.6, **more):
    """Records of one budget: what a plan says, what was tried, and what the budget holds."""
    from vecstore.bench.plan_page import TASK

    shape = {"task": TASK, "dataset": "some", "rows": 2000, "dim": 16, "metric": "ip"}
    first = {
        "spec": "pq:m=4", "bytes_per_row": 4, "total_bytes": 9000, "recall_at_10_interval": [0.45, 0.55],
        "recall_at_10": 0.5, "relative_mse_interval": [0.1, 0.2],
    }  # fmt: skip
    tried = {
        "code_bytes": 4, "shared": 900, "fit_s": 1.0, "encode_s": 1.0, "search_s": 2.0, "recall_at_10": best,
        "unseen_recall": 0.48, "unseen_recall_error": 0.01, "unseen_relative_mse": 0.15,
    }  # fmt: skip
    plan = {
        "candidates": [first],
        "plan_s": 1.0,
        "looks_s": 0.4,
        "costs_s": 0.12,
        "file_bytes": 9000,
        "first": {**tried, "recall_at_10": got},
    }
    return [
        {**shape, "kind": "plan", "budget": budget, **plan, **more},
        {**shape, "kind": "fitted", "spec": "sq:bits=2", "full": "sq:bits=2", **tried},
        {**shape, "kind": "case", "budget": budget, "specs": ["sq:bits=2"]},
    ]


def test_plans_are_held_against_all_that_their_budgets_hold(tmp_path):
    (section,) = reported(tmp_path, *planned()).sections
    found = {line.what.partition(":")[0]: (line.found, line.kept) for line in section.targets}
    assert found["first choice within 0.01 of the best recall@10"] == ("0 of 1", False)
    assert found["error of unseen rows inside the plan's interval"] == ("1 of 1", True)
    assert found["time of a plan"] == ("0.25 of all sets (looks 0.10, costs 0.03): 0.25 some", False)
    assert found["bytes of the file as told"][1]
    recalls, times = section.charts
    assert {dot.what: dot.value for dot in recalls.plain.dots} == {
        "first choice": 0.5, "best of all that was tried": 0.6,
    }  # fmt: skip
    assert times.plain.scale.rule == 0.1 and section.tables[0].lines[0][0] == "some"


def test_half_of_a_plan_is_no_target_and_no_trouble(tmp_path):
    for records in (planned()[:1], planned()[1:], planned()[::2]):
        report = reported(tmp_path, *records)
        (section,) = report.sections
        assert all(line.kept is None for line in section.targets) and not section.charts
        assert told(report) == []
    broken = planned(error="holds nothing")
    assert "plan, some, budget 8B/row: failed: holds nothing" in told(reported(tmp_path, *broken))


def test_decoding_is_shown_as_a_share_of_memcpy(tmp_path):
    pair = {
        **{key: CODECS[0][key] for key in ("task", "dataset", "threads", "machine")}, "kind": "pair",
        "method": "pq:m=8", "peer": "faiss pq:m=8", "topic": "pq", "setting": "8", "encode_ratio": 2.0,
        "encode_ratio_min": 1.9, "encode_ratio_max": 2.1,
    }  # fmt: skip
    shares = {
        f"decode_to_memcpy_ratio{end}": value for end, value in (("", 0.7), ("_min", 0.6), ("_max", 0.8))
    }
    from vecstore.bench.report import codecs_section

    (chart,) = codecs_section._of_memory([pair | shares, {**pair, "method": "sq:bits=8"}])
    (dot,) = chart.plain.dots
    assert (dot.label, dot.low, dot.value, dot.high) == ("pq:m=8", 0.6, 0.7, 0.8)
    assert chart.plain.scale.rule == 1 and "share of memory bandwidth" in chart.title
