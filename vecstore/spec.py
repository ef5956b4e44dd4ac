"""The text that names a codec with its options, and chains of them: `pca:dim=128+pq:m=16`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vecstore.errors import SpecError

Value = int | float | bool | str

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_INT = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True)
class Step:
    """One name with its options, `pq:m=16,bits=8`."""

    name: str
    options: Mapping[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        options = ",".join(f"{key}={_show(value)}" for key, value in self.options.items())
        return f"{self.name}:{options}" if options else self.name


@dataclass(frozen=True)
class Spec:
    """A chain of steps: transforms, then one codec."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "+".join(str(step) for step in self.steps)


def parse(text: str) -> Spec:
    """Reads `name:key=value,key=value`, chained by `+`; SpecError says which part cannot be read."""
    if not isinstance(text, str) or not text.strip():
        raise SpecError("the spec is empty; expected something like 'pq:m=16' or 'pca:dim=64+sq:bits=8'")
    return Spec(tuple(_step(part.strip(), text) for part in text.split("+")))


def unknown(what: str, name: str, known: Iterable[str]) -> SpecError:
    """The error for a name or a key that nothing carries; lists the near ones, else all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known) or 'none'}"
    return SpecError(f"unknown {what} {name!r}; {hint}")


def _step(part: str, text: str) -> Step:
    name, colon, rest = part.partition(":")
    if not _NAME.fullmatch(name):
        raise SpecError(f"{part!r} in spec {text!r} does not start with a name; expected 'name:key=value'")
    if colon and not rest:
        raise SpecError(f"{part!r} in spec {text!r} ends in a colon; expected 'name:key=value'")
    options: dict[str, Value] = {}
    for pair in rest.split(",") if rest else ():
        key, equals, value = (piece.strip() for piece in pair.partition("="))
        if not equals or not _NAME.fullmatch(key) or not value:
            raise SpecError(f"{pair!r} in spec {text!r} is no option; expected 'key=value'")
        if key in options:
            raise SpecError(f"option {key!r} stands twice in {part!r} of spec {text!r}")
        options[key] = _value(value)
    return Step(name, options)


def _value(text: str) -> Value:
    if _INT.fullmatch(text):
        return int(text)
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


def _show(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
