"""The language of `--where`: comparisons of columns with values, made into an Arrow expression.

    lang = 'en' and (year >= 2020 or score between 0.5 and 1) and not name like 'draft%' and url is not null

A name is a column, in double quotes if it has other characters than letters, digits and `_`. Values are
numbers, 'text' (a quote in it is doubled), date '2020-01-31', timestamp '2020-01-31 12:00:00', true, false,
null. Where a column is null, comparisons do not hold, nor does `not` of one. Nothing of the text is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vecstore.errors import SpecError

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")+")
    |(?P<word>[^\W\d]\w*)
    |(?P<sign><>|<=|>=|==|!=|[=<>(),]))""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Any, Any], pc.Expression]] = {
    "=": lambda a, b: a == b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip
_VALUES = {"true": True, "false": False, "null": None}
_WORDS = {"and", "or", "not", "in", "is", "like", "between", *_VALUES}
_TIMES: dict[str, type[date]] = {"date": date, "timestamp": datetime}
_DEEPEST, _LONGEST = 100, 1 << 14  # parentheses, characters: what reads an expression calls itself


def parse(text: str) -> pc.Expression:
    """The expression that a text stands for; SpecError says where it cannot be read."""
    if len(text) > _LONGEST:
        raise SpecError(
            f"where has {len(text)} characters; expected at most {_LONGEST}: give an array of bool"
        )
    reader = _Reader(text)
    found = reader.either(0)
    if reader.kind != "end":
        raise reader.unexpected("'and', 'or' or the end")
    return found


class _Reader:
    """A text, and the token that is next in it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = 0
        self.kind = self.token = ""
        self._advance()

    def _advance(self) -> None:
        start = len(self._text) - len(self._text[self._end :].lstrip())
        self._at = start
        if start == len(self._text):
            self.kind, self.token = "end", ""
            return
        match = _TOKEN.match(self._text, self._end)
        if match is None:
            self.token = self._text[start : start + 1]
            raise self.unexpected("a column, a value, a comparison or a parenthesis")
        self._end = match.end()
        self.kind = match.lastgroup or ""
        self.token = match[self.kind]
        if self.kind == "word" and self.token.lower() in _WORDS:
            self.kind, self.token = "sign", self.token.lower()

    def unexpected(self, wanted: str) -> SpecError:
        """The error for the token that is next."""
        found = repr(self.token) if self.token else "the end"
        return SpecError(
            f"where {self._text!r} has {found} at character {self._at + 1}; expected {wanted}, as in "
            "\"lang = 'en' and year >= 2020\""
        )

    def _took(self, *signs: str) -> str | None:
        """The sign that is next, passed over, if it is one of these."""
        if self.kind != "sign" or self.token not in signs:
            return None
        found = self.token
        self._advance()
        return found

    def _need(self, sign: str) -> None:
        if not self._took(sign):
            raise self.unexpected(repr(sign))

    def either(self, depth: int) -> pc.Expression:
        """a or b or ..."""
        if depth > _DEEPEST:
            raise SpecError(f"where nests more than {_DEEPEST} parentheses; write it flatter")
        found = self._both(depth)
        while self._took("or"):
            found = found | self._both(depth)
        return found

    def _both(self, depth: int) -> pc.Expression:
        found = self._turned(depth)
        while self._took("and"):
            found = found & self._turned(depth)
        return found

    def _turned(self, depth: int) -> pc.Expression:
        turned = False
        while self._took("not"):
            turned = not turned
        if self._took("("):
            found = self.either(depth + 1)
            self._need(")")
        else:
            found = self._comparison()
        return ~found if turned else found

    def _comparison(self) -> pc.Expression:
        is_column = self.kind in ("word", "quoted")
        left = self._operand()
        if self._took("is"):
            turned = self._took("not")
            self._need("null")
            null: pc.Expression = left.is_null()
            return ~null if turned else null
        turned = self._took("not")
        if self._took("in"):
            found = self._member(left)
        elif self._took("between"):
            low = self._operand()
            self._need("and")
            found = (left >= low) & (left <= self._operand())
        elif self._took("like"):
            found = pc.match_like(left, self._pattern())
        elif not turned and (sign := self._took(*_COMPARE)):
            return _COMPARE[sign](left, self._operand())
        elif not turned and is_column and self.token in ("and", "or", ")", ""):
            return left  # a column of true and false
        else:
            raise self.unexpected("a comparison")
        return ~found if turned else found

    def _member(self, left: pc.Expression) -> pc.Expression:
        self._need("(")
        values = [self._value()]
        while self._took(","):
            values.append(self._value())
        self._need(")")
        # Arrow's own says that null is not among the values; here it is not known.
        found: pc.Expression = pc.if_else(left.is_valid(), left.isin(values), pa.scalar(None, pa.bool_()))
        return found

    def _pattern(self) -> str:
        if self.kind != "text":
            raise self.unexpected("a text with % and _ in it")
        return str(self._value())

    def _operand(self) -> pc.Expression:
        if self.kind == "quoted":
            name = self.token[1:-1].replace('""', '"')
            self._advance()
            return pc.field(name)
        if self.kind == "word":
            name = self.token
            self._advance()
            time = _TIMES.get(name.lower()) if self.kind == "text" else None
            return pc.field(name) if time is None else pc.scalar(self._time(time))
        return pc.scalar(self._value())

    def _time(self, kind: type[date]) -> date:
        try:
            found = kind.fromisoformat(self.token[1:-1])
        except ValueError:
            raise self.unexpected(f"a {kind.__name__} as in '2020-01-31'") from None
        self._advance()
        return found

    def _value(self) -> object:
        token, kind = self.token, self.kind
        if token in _VALUES and kind == "sign":
            self._advance()
            return _VALUES[token]
        if kind == "text":
            self._advance()
            return token[1:-1].replace("''", "'")
        if kind != "number":
            raise self.unexpected("a column or a value" if kind != "word" else "a value")
        self._advance()
        if token.lstrip("+-").isdigit():
            if not -(2**63) <= int(token) < 2**64:
                raise SpecError(f"where {self._text!r} has {token}, which no column can hold")
            return int(token)
        return float(token)
