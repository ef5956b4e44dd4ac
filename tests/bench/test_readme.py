"""README shows what the records say, and nothing else."""

from pathlib import Path

import pytest

from vecstore.bench import readme
from vecstore.errors import FormatError

ROOT = Path(__file__).resolve().parents[2]


def test_figures_in_readme_are_those_of_the_records():
    text = (ROOT / "README.md").read_text("utf-8")
    assert readme.filled(text, ROOT / "docs" / "benchmarks") == text, "run python scripts/fill_readme.py"


def test_a_block_that_is_lost_is_said():
    with pytest.raises(FormatError, match="expected one block"):
        readme.filled("nothing", ROOT / "docs" / "benchmarks")
