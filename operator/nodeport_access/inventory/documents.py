"""From paths to Kubernetes objects as they are written: files, folders, standard input; YAML of many documents, JSON,
and lists.

A folder is read as GitOps repositories are: what is no Kubernetes object is passed over, as are the templates of a Helm
chart, which are no YAML before they are rendered. Not the business of this module: which kinds matter, and whether an
object can be read (``checking``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nodeport_access.api import Body
from nodeport_access.inventory.origins import InputError, Origin, repeated

STDIN = "-"
SUFFIXES = (".yaml", ".yml", ".json")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml is ten times as fast
    """YAML as kubectl reads it: a time is a text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class Document:
    """One object as it is written; ``body`` has a kind."""

    origin: Origin
    body: Body

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.body["kind"])

    @property
    def object(self) -> str:
        """Kind, namespace and name, as sentences name it, as far as they are there."""
        metadata = self.body.get("metadata")
        named = metadata if isinstance(metadata, dict) else {}
        name = "/".join(str(named[key]) for key in ("namespace", "name") if named.get(key))
        return f"{self.kind} {name}".rstrip()

    def refuse(self, problem: str) -> InputError:
        """The sentence about a problem that begins with the path of a field."""
        problem = problem.removeprefix(".")
        return InputError(f"{self.origin.place(problem)}: {self.object}: {problem.rstrip('.')}.")


@dataclass(slots=True)
class Reading:
    """What was read, and what was passed over although somebody might have meant it."""

    documents: list[Document] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_documents(paths: Sequence[str], *, stdin: Callable[[], str], kinds: Iterable[str] | None = None) -> Reading:
    """Every object of these files, in the order of paths, files and lines; each file once. With ``kinds``, a file in a
    folder that mentions none of them is not even parsed. Raises InputError."""
    mentioned = re.compile("|".join(re.escape(kind) for kind in kinds)) if kinds is not None else None
    reading, seen = Reading(), set[Path]()
    for path in paths:
        if path == STDIN:
            reading.documents += _required("standard input", _parsed("standard input", stdin(), strict=True))
        elif Path(path).is_dir():
            for file in _files(Path(path), reading.notes):
                if _is_new(file, seen):
                    text = _text(file)
                    if mentioned is None or mentioned.search(text):
                        reading.documents += _parsed(str(file), text, strict=False)
        elif _is_new(Path(path), seen):
            reading.documents += _required(path, _parsed(path, _text(Path(path)), strict=True))
    return reading


def _is_new(path: Path, seen: set[Path]) -> bool:
    real = path.resolve()
    if real in seen:
        return False
    seen.add(real)
    return True


def _files(folder: Path, notes: list[str]) -> Iterator[Path]:
    """The files of a folder and the folders in it, by name; folders whose names begin with a dot are not entered."""
    found = False
    for here, folders, files in os.walk(folder):
        chart = "Chart.yaml" in files and "templates" in folders
        if chart:
            notes.append(
                f"{Path(here, 'templates')} is passed over: it holds the templates of a Helm chart; give the output of"
                " `helm template` to -f."
            )
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not (chart and name == "templates")
        )
        for name in sorted(files):
            if name.endswith(SUFFIXES):
                found = True
                yield Path(here, name)
    if not found:
        raise InputError(f"{folder} holds no file named {', '.join(f'*{suffix}' for suffix in SUFFIXES)}.")


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; -f takes a file, a folder, or - for standard input.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}.") from error
    # To JSON a tab is white space, to YAML an error; inside a string of JSON there is none.
    return text.replace("\t", " ") if path.suffix == ".json" else text


def _required(source: str, documents: list[Document]) -> list[Document]:
    if not documents:
        raise InputError(f"{source} holds no Kubernetes object.")
    return documents


def _parsed(source: str, text: str, *, strict: bool) -> list[Document]:
    try:
        loader = _Loader(text)
        found: list[Document] = []
        while loader.check_node():
            node = loader.get_node()
            origin = Origin(source, node, double=repeated(node))
            body = loader.construct_document(node)
            if body is not None:
                found += _objects(origin, body, strict=strict)
        return found
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}, line {mark.line + 1}" if mark else source
        raise InputError(f"{where}: this is not YAML: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{source} cannot be read: {' '.join(str(error).split())}.") from error
    except RecursionError as error:
        raise InputError(f"{source} cannot be read: it is nested too deeply.") from error


def _objects(origin: Origin, body: object, *, strict: bool) -> Iterator[Document]:
    """The object, or the items of a list of objects."""
    if not isinstance(body, dict) or not isinstance(body.get("kind"), str) or not body["kind"]:
        if strict:
            raise InputError(f"{origin.place()}: this is no Kubernetes object, it has no kind.")
        return
    items = body.get("items")
    if body["kind"].endswith("List") and isinstance(items, list) and "apiVersion" in body:
        yield from _items(origin, body, items)
    else:
        yield Document(origin, body)


def _items(origin: Origin, body: Body, items: list[Any]) -> Iterator[Document]:
    """The items of a List say what they are; those of a ServiceList need not."""
    kind = body["kind"].removesuffix("List")
    given = {"apiVersion": body["apiVersion"], "kind": kind} if kind else {}
    for index, (item, node) in enumerate(zip(items, _item_nodes(origin.node), strict=True)):
        whole = {**given, **item} if isinstance(item, dict) else item
        begin = f"items[{index}]."
        double = origin.double.removeprefix(begin) if origin.double.startswith(begin) else ""
        yield from _objects(Origin(origin.source, node, double=double), whole, strict=True)


def _item_nodes(node: yaml.Node | None) -> list[yaml.Node]:
    assert isinstance(node, yaml.MappingNode), "it was constructed into a dict"
    return next(value.value for key, value in reversed(node.value) if key.value == "items")
