"""Reads the fields of a JSON object that nobody has checked: what is of another type than it should be is named, and
counts as absent.

Not the business of this module: which fields there are, and what follows from one that cannot be read (``api``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

SHOWN = 64
"""Characters of a value that a problem repeats: a value may be as large as an object."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one object, which stands at ``path``; ``problems`` takes one sentence for each thing amiss."""

    path: str
    values: Mapping[str, Any]
    problems: list[str]

    @classmethod
    def of(cls, value: object, *, path: str, problems: list[str]) -> Fields:
        """Those of an object, of which null has none."""
        if value is not None and not isinstance(value, Mapping):
            problems.append(f"{path}: {shown(value)} is not an object")
            value = None
        return cls(path, value or {}, problems)

    def wrong(self, name: str, why: str) -> None:
        """Names what is wrong with a field."""
        self.problems.append(f"{self.path}.{name}: {why}")

    def only(self, *known: str) -> None:
        """Names the fields beside these: what they ask for is not done."""
        for name in self.values.keys() - set(known):
            self.wrong(shown(name, quoted=False), "this operator does not know the field; it may be older than the CRD")

    def fields(self, name: str) -> Fields:
        """The fields of an inner object; none where it is absent."""
        return Fields.of(self.values.get(name), path=f"{self.path}.{name}", problems=self.problems)

    def text(self, name: str) -> str | None:
        """A string."""
        return self._typed(name, str, "a string")

    def number(self, name: str) -> int | None:
        """A whole number."""
        value = self.values.get(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        self.wrong(name, f"{shown(value)} is not a whole number")
        return None

    def texts(self, name: str) -> dict[str, str]:
        """An inner object whose values are all strings, as labels are."""
        inner = self.fields(name)
        found = {key: inner.text(key) for key in inner.values}
        return {key: value for key, value in found.items() if value is not None}

    def items(self, name: str) -> Iterator[tuple[str, Any]]:
        """The items of a list, each with its path; none where it is absent."""
        for index, item in enumerate(self._typed(name, list, "a list") or ()):
            yield f"{self.path}.{name}[{index}]", item

    def _typed(self, name: str, kind: type[T], noun: str) -> T | None:
        value = self.values.get(name)
        if value is None or isinstance(value, kind):
            return value
        self.wrong(name, f"{shown(value)} is not {noun}")
        return None


def shown(value: object, *, quoted: bool = True) -> str:
    """A value as a message repeats it: in JSON, and no more than its beginning."""
    text = json.dumps(value, ensure_ascii=False, default=str) if quoted or not isinstance(value, str) else value
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
