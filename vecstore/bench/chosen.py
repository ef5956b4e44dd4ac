"""Which labels of methods a user asks for by patterns, and what becomes of patterns that name none."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def chosen(patterns: Iterable[str], every: Iterable[str]) -> list[str]:
    """Labels that a pattern names, all of them where there is no pattern; then patterns that are labels of
    their own."""
    every, patterns = list(every), list(patterns)
    found = [label for label in every if not patterns or any(fnmatchcase(label, each) for each in patterns)]
    return found + [each for each in strangers(patterns, every) if is_label(each)]


def strangers(patterns: Iterable[str], labels: Iterable[str]) -> list[str]:
    """Patterns that name none of these labels."""
    labels = list(labels)
    return [each for each in patterns if not any(fnmatchcase(label, each) for label in labels)]


def is_label(pattern: str) -> bool:
    """Whether it can be a label, which may be measured, or be said to be none, by itself."""
    return not set(pattern) & set("*?[")
