"""Where an object comes from, down to the line of one of its fields.

Not the business of this module: how files are read (``documents``), or what is wrong with an object (``checking``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

_INDEX = re.compile(r"\[(\d+)\]")


class InventoryError(Exception):
    """The objects cannot be had: one sentence with the place and the way out."""


class InputError(InventoryError):
    """A file cannot be used: one sentence with file, line and field."""


@dataclass(frozen=True, slots=True)
class Origin:
    """``source`` is the file as it was given, or what else sentences call it; ``node`` the YAML that the object was
    made of, None where it comes from elsewhere. ``double``: the path of a field that stands there twice, of which YAML
    keeps the last. ``derived``: nobody wrote the object, it follows from others."""

    source: str
    node: yaml.Node | None = field(default=None, compare=False, repr=False)
    double: str = ""
    derived: bool = False

    @property
    def line(self) -> int:
        """The line at which the object begins, from 1; 0 where it has none."""
        return self.node.start_mark.line + 1 if self.node is not None else 0

    def line_of(self, path: str) -> int:
        """The line of a field, as in ``place``; 0 where there is none."""
        return line_of(self.node, path) if self.node is not None else 0

    def place(self, path: str = "") -> str:
        """File and line of a field, such as ``spec.allowedCIDRs[2].cidr``; of the innermost field around it that is
        there. What follows the path in the text is passed over."""
        if self.node is None:
            return self.source
        return f"{self.source}, line {line_of(self.node, path)}"


def line_of(node: yaml.Node, path: str) -> int:
    """The line of a field, from 1. A key may hold dots, so the longest that fits is taken."""
    line, rest, inner = node.start_mark.line, path, node
    while rest:
        found = _step(inner, rest)
        if found is None:
            break
        line, inner, rest = found
    return line + 1


def _step(node: yaml.Node, path: str) -> tuple[int, yaml.Node, str] | None:
    """The line of the next field on the path, the field, and the rest of the path."""
    if isinstance(node, yaml.SequenceNode):
        index = _INDEX.match(path)
        if index is None or int(index[1]) >= len(node.value):
            return None
        item = node.value[int(index[1])]
        return item.start_mark.line, item, path[index.end() :].removeprefix(".")
    if isinstance(node, yaml.MappingNode):
        fitting = [pair for pair in node.value if _begins(path, pair[0].value)]
        if not fitting:
            return None
        key, value = max(fitting, key=lambda pair: len(pair[0].value))
        return key.start_mark.line, value, path[len(key.value) :].removeprefix(".")
    return None


def repeated(node: yaml.Node, path: str = "", seen: set[int] | None = None) -> str:
    """The path of the first field that stands there twice; empty where none does. To be asked before the node is
    constructed, which mixes in what merge keys (``<<``) bring."""
    seen = set() if seen is None else seen
    if id(node) in seen:  # an alias may stand in itself
        return ""
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value if isinstance(key.value, str)]
        if (double := next((name for name in names if names.count(name) > 1), None)) is not None:
            return f"{path}{double}"
        inner = [(f"{path}{key.value}.", value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        inner = [(f"{path.removesuffix('.')}[{index}].", value) for index, value in enumerate(node.value)]
    else:
        return ""
    return next((found for step, value in inner if (found := repeated(value, step, seen))), "")


def _begins(path: str, key: object) -> bool:
    return isinstance(key, str) and bool(key) and re.match(rf"{re.escape(key)}(?![\w-])", path) is not None
