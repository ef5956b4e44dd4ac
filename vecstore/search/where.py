"""The language of `--where`: comparisons of columns with values, made into an Arrow expression.

    lang = 'en' and (year >= 2020 or score between 0.5 and 1) and not name like 'draft%' and url is not null

A name is a column, in double quotes if it has other characters than letters, digits and `_`. Values are
numbers, 'text' (a quote in it is doubled), date '2020-01-31', timestamp '2020-01-31 12:00:00', true, false,
null. A text that a column of dates, times, timestamps or decimals is compared with is taken for one of these,
in a column with a time zone for UTC if it names none; and a number for a decimal. Where a column is null,
comparisons do not hold, nor does `not` of one. Nothing of the text is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, NamedTuple

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


class _Side(NamedTuple):
    """What stands beside a comparison: a column, of a field if that is known, or a text or number as it was
    given, or another value."""

    value: pc.Expression
    field: pa.Field | None = None
    given: str | None = None


def parse(text: str, schema: pa.Schema | None = None) -> pc.Expression:
    """The expression that a text stands for; SpecError says where it cannot be read.

    schema: of the columns, whose types texts take.
    """
    if len(text) > _LONGEST:
        raise SpecError(
            f"where has {len(text)} characters; expected at most {_LONGEST}: give an array of bool"
        )
    reader = _Reader(text, pa.schema([]) if schema is None else schema)
    found = reader.either(0)
    if reader.kind != "end":
        raise reader.unexpected("'and', 'or' or the end")
    return found


def _typed(given: str, kind: pa.DataType) -> pa.Scalar | None:
    """A text or number as a value of a column's type, None for a type that takes it as it is; ValueError."""
    if pa.types.is_date(kind):
        return pa.scalar(date.fromisoformat(given))
    if pa.types.is_time(kind):
        return pa.scalar(time.fromisoformat(given), pa.time64("us"))
    # Of uint64 and a number of another type Arrow makes no common one but by way of decimals.
    if pa.types.is_decimal(kind) or pa.types.is_uint64(kind):
        return pa.scalar(Decimal(given))
    if not pa.types.is_timestamp(kind):
        return None
    try:
        return pa.scalar(given).cast(kind)
    except pa.ArrowException:  # Arrow reads nanoseconds, but wants a zone where there is one.
        found = datetime.fromisoformat(given)
        if kind.tz is None and found.tzinfo is not None:
            raise ValueError("the column has no time zone") from None
        found = found.replace(tzinfo=UTC) if kind.tz is not None and found.tzinfo is None else found
        return pa.scalar(found, pa.timestamp("us", kind.tz))


def _example(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind) or pa.types.is_uint64(kind):
        return "1.25" if pa.types.is_decimal(kind) else "125"
    if pa.types.is_time(kind):
        return "'12:30:00'"
    return "'2020-01-31'" if pa.types.is_date(kind) else "'2020-01-31 12:30:00'"


class _Reader:
    """A text, and the token that is next in it."""

    def __init__(self, text: str, schema: pa.Schema) -> None:
        self._text, self._schema = text, schema
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
        side = self._operand()
        left = side.value
        if self._took("is"):
            turned = self._took("not")
            self._need("null")
            null: pc.Expression = left.is_null()
            return ~null if turned else null
        turned = self._took("not")
        if self._took("in"):
            found = self._member(side)
        elif self._took("between"):
            low = self._as(self._operand(), side)
            self._need("and")
            found = (left >= low) & (left <= self._as(self._operand(), side))
        elif self._took("like"):
            found = pc.match_like(left, self._pattern())
        elif not turned and (sign := self._took(*_COMPARE)):
            other = self._operand()
            return _COMPARE[sign](self._as(side, other), self._as(other, side))
        elif not turned and is_column and self.token in ("and", "or", ")", ""):
            return left  # a column of true and false
        else:
            raise self.unexpected("a comparison")
        return ~found if turned else found

    def _as(self, side: _Side, other: _Side) -> pc.Expression:
        """What stands on a side, as the column on the other has it."""
        found = self._scalar(side, other.field)
        return side.value if found is None else pc.scalar(found)

    def _scalar(self, side: _Side, field: pa.Field | None) -> pa.Scalar | None:
        if field is None or side.given is None:
            return None
        try:
            return _typed(side.given, field.type)
        except (ValueError, ArithmeticError, pa.ArrowException) as error:
            raise SpecError(
                f"where {self._text!r} compares the column {field.name!r}, which is {field.type}, with "
                f"{side.given!r}, which is none; expected a value such as {_example(field.type)}"
            ) from error

    def _member(self, side: _Side) -> pc.Expression:
        self._need("(")
        values, left = self._listed(side.field), side.value
        while self._took(","):
            values += self._listed(side.field)
        self._need(")")
        own = side.field is not None and all(one is None or isinstance(one, pa.Scalar) for one in values)
        listed = pa.array(values, side.field.type if own and side.field is not None else None)
        # Arrow's own says that null is not among the values; here it is not known.
        found: pc.Expression = pc.if_else(left.is_valid(), left.isin(listed), pa.scalar(None, pa.bool_()))
        return found

    def _listed(self, field: pa.Field | None) -> list[Any]:
        """The next value of a list, as a column has it; none if the column cannot have it."""
        given = self._given()
        value = self._value()
        found = self._scalar(_Side(pc.scalar(value), None, given), field)
        if found is None or field is None:
            return [value]
        try:
            return [found.cast(field.type)]
        except pa.ArrowInvalid:  # finer than the column's unit
            return []

    def _given(self) -> str | None:
        """The token that is next, if it is a text or a number."""
        if self.kind == "text":
            return self.token[1:-1].replace("''", "'")
        return self.token if self.kind == "number" else None

    def _pattern(self) -> str:
        if self.kind != "text":
            raise self.unexpected("a text with % and _ in it")
        return str(self._value())

    def _operand(self) -> _Side:
        if self.kind == "quoted":
            name = self.token[1:-1].replace('""', '"')
            self._advance()
            return self._column(name)
        if self.kind == "word":
            name = self.token
            self._advance()
            kind = _TIMES.get(name.lower()) if self.kind == "text" else None
            return self._column(name) if kind is None else _Side(pc.scalar(self._time(kind)))
        given = self._given()
        return _Side(pc.scalar(self._value()), None, given)

    def _column(self, name: str) -> _Side:
        at = self._schema.get_field_index(name)
        if at < 0:
            return _Side(pc.field(name))
        field = self._schema.field(at)
        half = pa.types.is_float16(field.type)  # Arrow does not compare these.
        return _Side(pc.field(name).cast(pa.float32()) if half else pc.field(name), field)

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
            # Larger numbers Arrow compares as decimals.
            return int(token) if int(token) < 2**63 else Decimal(token)
        return float(token)
