"""One object as the API server in memory keeps it: its leaves, who owns which of them, and what it adds of its own.

Not the business of this module: how a write changes any of it (``cluster``).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from nodeport_access.api import Body
from nodeport_access.demo import kinds
from nodeport_access.demo.fields import Fields, Owner, Path, assemble, fields_v1
from nodeport_access.kube import Resource


@dataclass(slots=True, kw_only=True)
class Record:
    """One object: its leaves, who owns which of them and since when, and what the API server adds."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    created: str
    version: int = 0
    generation: int = 1
    fields: Fields = field(default_factory=dict)
    owned: dict[Owner, frozenset[Path]] = field(default_factory=dict)
    times: dict[Owner, str] = field(default_factory=dict)

    def others(self, path: Path, owner: Owner) -> list[Owner]:
        """Who else owns a leaf."""
        return [other for other, paths in self.owned.items() if other != owner and path in paths]

    def body(self) -> Body:
        """The object as the API server gives it back."""
        body = copy.deepcopy(assemble(kinds.returned(self.resource, self.fields)))
        metadata = {
            "name": self.name,
            **({"namespace": self.namespace} if self.namespace else {}),
            "uid": self.uid,
            "resourceVersion": str(self.version),
            "creationTimestamp": self.created,
            **({"generation": self.generation} if self.resource in kinds.WITH_GENERATION else {}),
            **body.pop("metadata", {}),
            "managedFields": [self._entry(owner) for owner in self.owned],
        }
        return {"apiVersion": self.resource.api_version, "kind": self.resource.kind, "metadata": metadata, **body}

    def _entry(self, owner: Owner) -> Body:
        return {
            "manager": owner.manager,
            "operation": owner.operation,
            "apiVersion": self.resource.api_version,
            "time": self.times[owner],
            "fieldsType": "FieldsV1",
            "fieldsV1": fields_v1(self.owned[owner]),
            **({"subresource": owner.subresource} if owner.subresource else {}),
        }
