"""What it means for a pass that the API server refused a write, or did not answer it.

Not the business of this module: what an answer says (``kube.errors``), and what the pass does about it (``reconcile``).
"""

from __future__ import annotations

from collections.abc import Hashable

from nodeport_access.complaints import API_SERVER
from nodeport_access.kube import ApiError, Forbidden, Invalid, SchemaOutdated, Unauthorized, Unreachable
from nodeport_access.outcome import Failure
from nodeport_access.reasons import Reason
from nodeport_access.status import CRD_OUTDATED


def failure_of(error: ApiError) -> Failure:
    """What it comes to in status, and whether a new try may fare better."""
    match error:
        case Forbidden() if not error.namespace_terminating:
            return Failure(reason=Reason.APPLY_FORBIDDEN, message=error.message)
        case SchemaOutdated():
            return Failure(reason=Reason.APPLY_REFUSED, message=f"{error.message}. {CRD_OUTDATED}")
        case Invalid():
            return Failure(reason=Reason.APPLY_REFUSED, message=error.message)
        case Unreachable(retry_after=float(seconds)):
            return Failure(reason=Reason.APPLY_FAILED, message=str(error), retry_after=seconds)
        case _:
            return Failure(reason=Reason.APPLY_FAILED, message=str(error))


def topic_of(error: ApiError, kind: str, written: Hashable) -> Hashable:
    """What is said once, however many objects it concerns, or what was to be written where it concerns that alone."""
    match error:
        case Unreachable(status=0):
            return API_SERVER
        case Unreachable() | Unauthorized():
            return (API_SERVER, error.status)
        case Forbidden():
            return (API_SERVER, error.status, kind)
        case SchemaOutdated():
            return CRD_OUTDATED
        case _:
            return written


def is_cut_off(error: ApiError) -> bool:
    """Whether no request would have fared better."""
    return isinstance(error, Unauthorized) or (isinstance(error, Unreachable) and not error.status)
