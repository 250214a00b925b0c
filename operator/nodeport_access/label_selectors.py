"""Label selectors: does one select an object with these labels, and which objects could it select.

The rule is LabelSelector of the Kubernetes API reference (meta/v1): matchLabels and matchExpressions are ANDed, an
empty selector selects everything. Not the business of this module: where labels come from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Generic, TypeVar

K = TypeVar("K")
Labels = Mapping[str, str]
Pair = tuple[str, str]

FEW = 8
"""Names that are looked through one by one."""


def selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Whether a LabelSelector selects labels. An operator that the API does not know selects nothing."""
    match_labels = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in match_labels.items()):
        return False
    return all(_satisfies(expression, labels) for expression in selector.get("matchExpressions") or ())


def _satisfies(expression: Mapping[str, Any], labels: Labels) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            # An absent label satisfies NotIn (labels and selectors, set-based requirement).
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return False


class SelectorIndex:
    """Finds, for the labels of one object, the few selectors worth testing: those filed under a pair that the object
    carries, and those that demand no pair."""

    def __init__(self) -> None:
        self._filed: dict[str, Pair | None] = {}
        self._names = _Names[Pair | None]()

    def __len__(self) -> int:
        return len(self._filed)

    def put(self, name: str, match_labels: Labels) -> None:
        """Files a selector under its first pair, in place of what the name had before."""
        self.drop(name)
        pair = min(match_labels.items(), default=None)
        self._filed[name] = pair
        self._names.add(pair, name)

    def drop(self, name: str) -> None:
        """Forgets a name; one that is not filed is nothing to forget."""
        if name in self._filed:
            self._names.discard(self._filed.pop(name), name)

    def candidates(self, labels: Labels) -> Iterator[str]:
        """Names of selectors that may select these labels; none that does is left out."""
        for pair in (*labels.items(), None):
            yield from self._names.of(pair)


class LabelIndex:
    """Finds the names of objects that carry every pair of a selector's matchLabels."""

    def __init__(self) -> None:
        self._labels: dict[str, Labels] = {}
        self._names = _Names[Pair]()

    def __len__(self) -> int:
        return len(self._labels)

    def put(self, name: str, labels: Labels) -> None:
        """Files an object under each of its pairs, in place of what the name had before."""
        self.drop(name)
        self._labels[name] = labels
        for pair in labels.items():
            self._names.add(pair, name)

    def drop(self, name: str) -> None:
        """Forgets a name; one that is not filed is nothing to forget."""
        for pair in self._labels.pop(name, {}).items():
            self._names.discard(pair, name)

    def labels(self, name: str) -> Labels:
        """Those of an object that is filed. Raises KeyError."""
        return self._labels[name]

    def matching(self, match_labels: Labels) -> frozenset[str]:
        """Names of the objects that carry every pair; no pair at all means every object."""
        if not match_labels:
            return frozenset(self._labels)
        first, *rest = sorted(map(self._names.of, match_labels.items()), key=len)
        return frozenset(first).intersection(*rest)


class _Names(Generic[K]):
    """Names by what they are filed under. Few have a tuple, as a set of one takes four times as much, and most pairs
    are those of one object; many have a set, as they come and go one by one."""

    def __init__(self) -> None:
        self._of: dict[K, tuple[str, ...] | set[str]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def of(self, key: K) -> Collection[str]:
        return self._of.get(key, ())

    def add(self, key: K, name: str) -> None:
        names = self._of.get(key, ())
        if isinstance(names, set):
            names.add(name)
        elif name not in names:
            self._of[key] = (*names, name) if len(names) < FEW else {*names, name}

    def discard(self, key: K, name: str) -> None:
        names = self._of.get(key, ())
        if isinstance(names, set):
            names.discard(name)
        else:
            names = tuple(other for other in names if other != name)
            self._of[key] = names
        if not names:
            self._of.pop(key, None)
