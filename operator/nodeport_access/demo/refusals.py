"""What the API server in memory says no with: status, reason and words as a real one's.

Not the business of this module: when it says no (``cluster``, ``kinds``).
"""

from __future__ import annotations

from collections.abc import Mapping

from nodeport_access.demo.fields import Owner, Path, dotted
from nodeport_access.kube import Cause, Conflict, Invalid, NotFound, Resource

_HINTS = {
    "UID": "The object might have been deleted and then recreated",
    "ResourceVersion": "The object might have been modified",
}


def not_found(resource: Resource, name: str) -> NotFound:
    """There is no such object."""
    return NotFound(status=404, reason="NotFound", message=f'{resource} "{name}" not found', name=name)


def already_exists(resource: Resource, name: str) -> Conflict:
    """There is one by this name."""
    return Conflict(status=409, reason="AlreadyExists", message=f'{resource} "{name}" already exists')


def conflict(resource: Resource, name: str, text: str) -> Conflict:
    """A guard of the request did not hold."""
    message = f'Operation cannot be fulfilled on {resource} "{name}": {text}'
    return Conflict(status=409, reason="Conflict", message=message)


def modified(resource: Resource, name: str) -> Conflict:
    """The write means another version of the object."""
    text = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, name, text)


def precondition(resource: Resource, name: str, *, what: str, wanted: str, have: str) -> Conflict:
    """A delete means another object, or another version of it; ``what`` is UID or ResourceVersion."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    message = (
        f'Operation cannot be fulfilled on {kind} "{name}": the {what} in the precondition ({wanted}) does not match '
        f"the {what} in record ({have}). {_HINTS[what]}"
    )
    return Conflict(status=409, reason="Conflict", message=message)


def contested(resource: Resource, holders: Mapping[Path, list[Owner]]) -> Conflict:
    """Other managers hold what is applied: names each field and its manager, of an Update with the version it used."""
    causes = tuple(
        Cause(
            reason="FieldManagerConflict",
            field=dotted(path),
            message=f'conflict with "{owner.manager}"' + (f" using {resource.api_version}" if owner.updates else ""),
        )
        for path, owners in holders.items()
        for owner in owners
    )
    listed = ", ".join(f"{cause.message}: {cause.field}" for cause in causes)
    number = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    return Conflict(status=409, reason="Conflict", message=f"Apply failed with {number}: {listed}", causes=causes)


def invalid(resource: Resource, name: str, path: Path, detail: str) -> Invalid:
    """A refusal of one field, as the API server words it."""
    field = ".".join(path)
    full = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    cause = "FieldValueForbidden" if detail.startswith("Forbidden") else "FieldValueInvalid"
    return Invalid(
        status=422,
        reason="Invalid",
        message=f'{full} "{name}" is invalid: {field}: {detail}',
        causes=(Cause(reason=cause, field=field, message=detail),),
    )
