"""The page of what the image holds beside its base: licence, who asks for it, who keeps it.

Licences and who asks for whom are read off the installed packages; who keeps them is written here by hand, so that
nothing comes into the lock unseen. Not its business: which versions (`requirements/runtime.lock`), and why the direct
ones were chosen (docs/decisions/0002-dependencies.md).
"""

from __future__ import annotations

import importlib.metadata
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from packaging.licenses import canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "nodeport-access-operator"
LOCK = Path(__file__).resolve().parents[1] / "requirements" / "runtime.lock"

ACCEPTED = frozenset(
    {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "PSF-2.0"},
)
"""SPDX identifiers of licences under which Apache-2.0 software may use a package and hand it on unchanged."""

OTHERWISE = {"Apache 2.0": "Apache-2.0", "BSD License": "BSD-3-Clause"}
"""What packages say that is no SPDX expression, as their licence texts have it."""

KEPT_BY = {
    "aiohappyeyeballs": "aio-libs",
    "aiohttp": "aio-libs",
    "aiohttp-retry": "one person",
    "aiosignal": "aio-libs",
    "annotated-types": "annotated-types",
    "attrs": "python-attrs",
    "certifi": "certifi; the certificate authorities of Mozilla. In a cluster its own authority counts",
    "charset-normalizer": "one person",
    "click": "Pallets",
    "durationpy": "one person; one small module",
    "frozenlist": "aio-libs",
    "idna": "one person",
    "iso8601": "one person; one small module",
    "jinja2": "Pallets",
    "jsonpatch": "one person",
    "jsonpointer": "one person",
    "kopf": "one person; what of it is used, and how it would be replaced: decision record 0002",
    "kubernetes": "Kubernetes",
    "markupsafe": "Pallets",
    "multidict": "aio-libs",
    "oauthlib": "oauthlib",
    "prometheus-client": "Prometheus",
    "propcache": "aio-libs",
    "pydantic": "Pydantic",
    "pydantic-core": "Pydantic",
    "python-dateutil": "dateutil",
    "python-json-logger": "one person; one small module",
    "pyyaml": "the YAML project",
    "requests": "Python Software Foundation",
    "requests-oauthlib": "Requests",
    "setuptools": "Python Packaging Authority; builds the project, and is not in the image",
    "typing-extensions": "Python",
    "typing-inspection": "Pydantic",
    "tzdata": "Python",
    "urllib3": "urllib3",
    "websocket-client": "one person",
    "yarl": "aio-libs",
}

HEAD = """# Dependencies

Made by `make docs` from the locked packages themselves, and from `docs/dependencies_page.py`, where it is written by
hand who keeps each: a package that nobody has looked at fails the tests. Versions and hashes are in
[`requirements/runtime.lock`](../requirements/runtime.lock); why the direct ones were chosen, and how updates are taken,
is in [decision record 0002](decisions/0002-dependencies.md).

Everything here may be used and handed on by software under Apache-2.0. MPL-2.0 asks that changes to its files stay
under it; nothing is changed. Each package's own licence text is in the image, in its `.dist-info` folder. The base
image brings Python (PSF-2.0) and Debian packages under licences of their own, the GPL among them; their texts are in
`/usr/share/doc/*/copyright`.

| package | licence | asked for by | kept by |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A locked package; `licence` is an SPDX expression."""

    name: str
    licence: str
    asked_for_by: tuple[str, ...]


def locked() -> list[str]:
    """Names of everything in the lock, canonical (PEP 503)."""
    text = LOCK.read_text(encoding="utf-8")
    return [canonicalize_name(name) for name in re.findall(r"(?m)^([A-Za-z0-9._-]+)==", text)]


def packages() -> list[Package]:
    """Everything in the lock, as installed here. Raises InvalidLicenseExpression where a licence is none that SPDX
    knows."""
    names = locked()
    askers: defaultdict[str, set[str]] = defaultdict(set)
    for asker in (PROJECT, *names):
        for asked in importlib.metadata.requires(asker) or ():
            requirement = Requirement(asked)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                askers[canonicalize_name(requirement.name)].add("the operator" if asker == PROJECT else asker)
    return [
        Package(name=name, licence=licence(importlib.metadata.metadata(name)), asked_for_by=tuple(sorted(askers[name])))
        for name in names
    ]


def licence(metadata: importlib.metadata.PackageMetadata) -> str:
    """What a package says of itself: `License-Expression` (PEP 639), or what was usual before."""
    classified = [text for text in metadata.get_all("Classifier") or [] if text.startswith("License :: ")]
    said = [*(metadata.get_all("License-Expression") or []), *(metadata.get_all("License") or []), *classified]
    given = next((text for text in said if text), "").rpartition(" :: ")[2]
    return canonicalize_license_expression(OTHERWISE.get(given, given))


def identifiers(expression: str) -> frozenset[str]:
    """The licences in an SPDX expression."""
    return frozenset(re.findall(r"[A-Za-z0-9.+-]+", expression)) - {"AND", "OR", "WITH"}


def page() -> str:
    """The whole page."""
    return HEAD + "".join(
        f"| {one.name} | {one.licence} | {', '.join(one.asked_for_by) or 'the build'} | {KEPT_BY[one.name]} |\n"
        for one in packages()
    )
