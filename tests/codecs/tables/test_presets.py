"""The page on tables has every method with its options."""

import re
from pathlib import Path

import pytest

from vecstore.codecs.tables.presets import PRESETS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "tables.md").read_text("utf-8")


@pytest.mark.parametrize("method", PRESETS)
def test_every_method_stands_in_the_page_with_its_options(method):
    lines = [line for line in PAGE.splitlines() if re.match(rf"\|[^|]*`{method}`", line)]
    assert lines, method
    for option in PRESETS[method].options:
        # What the page says of all methods at once.
        assert f"`{option}=" in lines[0] or option in ("rows", "init", "half", "decay"), option
