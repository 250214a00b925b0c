"""Events of policies come by Kopf's watches: how well he hears, by what becomes of his requests.

Not its business: starting him again (``handlers``), and the lists that make up for what he missed (``watches``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from logging import Logger
from math import inf

from nodeport_access.complaints import API_SERVER, Complaints
from nodeport_access.kube import ApiError, Resource, Unreachable
from nodeport_access.watches import why_not

STREAM_SECONDS = 300
"""What a stream of Kopf's may last."""
GRACE_SECONDS = 10.0
"""Within which Kopf asks again, whatever he is at: he tries every five seconds where he is refused."""


class Feed:
    """Events that come by another's watches, Kopf's: whether he hears, by what becomes of his requests.

    ``refused`` says why he does not, and is None while he does. ``on_gap`` is called when he breaks off,
    and ``on_heard`` when he hears again after anything that he may have missed; who lists anew does not learn what was
    deleted before. ``paths`` are those of his streams.
    """

    def __init__(
        self,
        *,
        resource: Resource,
        namespaces: Sequence[str | None],
        time: Callable[[], float],
        log: Logger,
        complaints: Complaints,
    ) -> None:
        """He follows the resource by one stream for each of the namespaces, None for all of them."""
        self.resource = resource
        self.on_gap: Callable[[], None] = lambda: None
        self.on_heard: Callable[[], None] = lambda: None
        self._time = time
        self._log = log
        self._complaints = complaints
        self._complained = False
        self.paths = tuple(resource.path(namespace=namespace) for namespace in namespaces)
        self._refused: dict[str, ApiError] = {path: Unreachable(message="no stream is open yet") for path in self.paths}
        self._due = dict.fromkeys(self.paths, inf)
        self._gaps: set[str] = set()

    @property
    def refused(self) -> ApiError | None:
        """Why at least one of his streams is not open."""
        return next(iter(self._refused.values()), None)

    def begins(self) -> None:
        """He is started, and should soon be asking."""
        self._due = dict.fromkeys(self._due, self._time() + GRACE_SECONDS)

    def broke_off(self, error: Exception) -> None:
        """He has ended, and hears nothing until he has been started again."""
        said = next((arg for arg in error.args if isinstance(arg, str)), str(error))
        why = f"Kopf broke off, and is started again: {type(error).__name__}: {' '.join(said.split())[:200]}"
        self._refused = dict.fromkeys(self._due, Unreachable(message=why))
        self._gaps.update(self._due)
        self._complain("a feed that breaks off", why)
        self.on_gap()

    def overdue(self) -> bool:
        """Whether a request of his for the resource is due: his streams end by themselves, and he opens others."""
        return self._time() > min(self._due.values())

    def told(self, verb: str, path: str, error: ApiError | None) -> None:
        """Takes what became of a request; the ``verb`` of a stream is ``watch``. Of all but lists and streams it only
        matters that he is at it."""
        now = self._time()
        self._due = {each: max(due, now + GRACE_SECONDS) for each, due in self._due.items()}
        if path not in self._due:
            return
        self._due[path] = now + STREAM_SECONDS + GRACE_SECONDS
        if error is not None:
            self._gaps.add(path)
            self._refused[path] = error
            topic = API_SERVER if isinstance(error, Unreachable) else f"the feed of {path}"
            self._complain(topic, why_not(error, verb=verb, resource=self.resource))
        elif verb != "watch":
            self._gaps.add(path)
        else:
            self._refused.pop(path, None)
            if self._complained and not self._refused:
                self._complained = False
                self._log.info("%s: works again", self)
            if path in self._gaps:
                self._gaps.discard(path)
                self.on_heard()

    def _complain(self, topic: str, sentence: str) -> None:
        if self._complaints.due(topic):
            self._complained = True
            self._log.warning("%s: %s", self, sentence, extra={"resource": str(self.resource)})

    def __str__(self) -> str:
        return f"events of {self.resource}"
