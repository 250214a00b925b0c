"""The page of all fields of a NodePortAccessPolicy, from the schema in crds/.

Not its business: how a policy is read (`nodeport_access.policy_body`), and what the API server makes of the rules
(tests/api/test_crd_rules.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CRD = Path(__file__).resolve().parents[1] / "crds" / "nodeportaccesspolicies.yaml"
Schema = Mapping[str, Any]

HEAD = """# Fields of a policy

Made by `make docs` from the schema of the resource, `crds/nodeportaccesspolicies.yaml`; `kubectl explain npap.spec`
shows the same in a terminal. A value that breaks a rule is refused by the API server, with the message that stands
here.

"""

_BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} keys",
    "pattern": "matches `{}`",
}


def page() -> str:
    """The whole page."""
    crd = yaml.safe_load(CRD.read_text(encoding="utf-8"))["spec"]
    (version,) = crd["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    parts = [HEAD, _names(crd, version), _escaped(schema["description"]) + "\n", *_rules(schema)]
    for name in ("metadata", "spec", "status"):
        parts.append(f"\n## {name}\n")
        parts += _fields(name, schema["properties"][name], required=name in schema["required"], level=3)
    return "\n".join(parts) + _columns(version["additionalPrinterColumns"])


def _names(crd: Schema, version: Schema) -> str:
    names = crd["names"]
    return (
        f"`apiVersion: {crd['group']}/{version['name']}`, `kind: {names['kind']}`, {crd['scope'].lower()}, in short"
        f" `{names['shortNames'][0]}`.\n"
    )


def _fields(path: str, schema: Schema, *, required: bool, level: int) -> Iterator[str]:
    """A section for the field and for each below it, in the order of the schema."""
    if path.count(".") or "[]" in path:
        yield f"{'#' * level} `{path}`\n"
    facts = [_type(schema), *(["required"] if required else []), *_bounds(schema)]
    if schema.get("description") or "items" in schema:
        yield f"*{facts[0]}*" + "".join(f", {fact}" for fact in facts[1:]) + "\n"
    if "description" in schema:
        yield _escaped(schema["description"]) + "\n"
    yield from _rules(schema)
    below = {f"{path}.{name}": each for name, each in schema.get("properties", {}).items()}
    if "items" in schema:
        below = {f"{path}[]": schema["items"]}
    elif "additionalProperties" in schema:
        below = {f"{path}[key]": schema["additionalProperties"]}
    for name, each in below.items():
        needed = name.rpartition(".")[2] in schema.get("required", ())
        yield from _fields(name, each, required=needed, level=level)


def _type(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    kind: str = schema["type"]
    if kind == "array":
        keys = schema.get("x-kubernetes-list-map-keys")
        return "list" + (f", one entry for each `{keys[0]}`" if keys else "")
    if "additionalProperties" in schema:
        return "map"
    return f"{kind} ({schema['format']})" if "format" in schema else kind


def _bounds(schema: Schema) -> Iterator[str]:
    if "enum" in schema:
        yield "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    if "default" in schema:
        yield f"default `{schema['default']}`"
    for key, words in _BOUNDS.items():
        if key in schema:
            yield words.format(schema[key])


def _rules(schema: Schema) -> Iterator[str]:
    rules = schema.get("x-kubernetes-validations", ())
    if rules:
        yield "Refused with:\n"
        yield "".join(f"- {_escaped(rule['message'])}\n" for rule in rules)


def _columns(columns: list[Schema]) -> str:
    lines = ["\n## Columns of `kubectl get npap`\n", "| column | shown | what it is |", "|---|---|---|"]
    for column in columns:
        shown = "with `-o wide`" if column.get("priority") else "always"
        lines.append(f"| {column['name']} | {shown} | {column.get('description', 'Since when the policy is there.')} |")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """What Markdown would take for its own."""
    return text.replace("<", "\\<").replace("*", "\\*").replace("_", "\\_")
