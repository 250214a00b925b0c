"""Label selectors: does one select an object with these labels, and which objects could it select.

The rule is LabelSelector of the Kubernetes API reference (meta/v1): matchLabels and matchExpressions are ANDed, an
empty selector selects everything. Not the business of this module: where labels come from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

Labels = Mapping[str, str]


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
        self._filed: dict[str, tuple[str, str] | None] = {}
        self._names: defaultdict[tuple[str, str] | None, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._filed)

    def put(self, name: str, match_labels: Labels) -> None:
        """Files a selector under its first pair, in place of what the name had before."""
        self.drop(name)
        pair = min(match_labels.items(), default=None)
        self._filed[name] = pair
        self._names[pair].add(name)

    def drop(self, name: str) -> None:
        """Forgets a name; one that is not filed is nothing to forget."""
        if name in self._filed:
            pair = self._filed.pop(name)
            self._names[pair].discard(name)
            if not self._names[pair]:
                del self._names[pair]

    def candidates(self, labels: Labels) -> Iterator[str]:
        """Names of selectors that may select these labels; none that does is left out."""
        for pair in (*labels.items(), None):
            yield from self._names.get(pair, ())


class LabelIndex:
    """Finds the names of objects that carry every pair of a selector's matchLabels."""

    def __init__(self) -> None:
        self._labels: dict[str, Labels] = {}
        self._names: defaultdict[tuple[str, str], set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._labels)

    def put(self, name: str, labels: Labels) -> None:
        """Files an object under each of its pairs, in place of what the name had before."""
        self.drop(name)
        self._labels[name] = labels
        for pair in labels.items():
            self._names[pair].add(name)

    def drop(self, name: str) -> None:
        """Forgets a name; one that is not filed is nothing to forget."""
        for pair in self._labels.pop(name, {}).items():
            self._names[pair].discard(name)
            if not self._names[pair]:
                del self._names[pair]

    def labels(self, name: str) -> Labels:
        """Those of an object that is filed. Raises KeyError."""
        return self._labels[name]

    def matching(self, match_labels: Labels) -> frozenset[str]:
        """Names of the objects that carry every pair; no pair at all means every object."""
        if not match_labels:
            return frozenset(self._labels)
        return frozenset(set.intersection(*(self._names.get(pair, set()) for pair in match_labels.items())))
