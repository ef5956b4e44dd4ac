"""Every codec is held against its paper, or is from none, and the tests that are named are there."""

import ast
from pathlib import Path

from vecstore import registry
from vecstore.bench import papers

ROOT = Path(__file__).resolve().parents[2]


def functions_in(path):
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_codec_and_transform_is_checked_or_from_no_paper():
    shipped = {*registry.CODECS, *registry.TRANSFORMS, *registry.FIRST}
    checked = {check.name for check in papers.CHECKS}
    assert checked | {*papers.OF_NO_PAPER} == shipped
    assert not checked & {*papers.OF_NO_PAPER}


def test_the_tests_that_are_named_are_there():
    named = [check.test.split("::") for check in papers.CHECKS]
    found = {path: functions_in(path) for path, _ in named}
    assert [name for path, name in named if name not in found[path]] == []


def test_data_sheets_name_the_papers_of_the_codecs_that_are_checked_and_of_no_other():
    without = [check.name for check in papers.CHECKS if not papers.source(check.name)]
    assert without == []
    for name in papers.OF_NO_PAPER:
        assert "doi:" not in papers.source(name) and "arXiv:" not in papers.source(name)


def test_a_source_goes_on_over_lines_and_ends_with_its_entry():
    assert papers.source("rq").startswith("Chen, Guan, Wang 2010")
    assert papers.source("rq").endswith("(the beam search for sums of centroids)")
    assert papers.source("lossless").endswith("section 3 (`kernels.rans`)")
    assert papers.source("center") == ""


def test_the_table_has_each_source_once():
    _, header, lines = papers.table()
    assert all(len(line) == len(header) for line in lines)
    assert len([line for line in lines if line[0]]) == len({check.name for check in papers.CHECKS})
