"""What Prometheus is told: counters of what was done, and gauges made at scrape time from what is known, so that no
series outlives its object.

The only module that imports ``prometheus_client``. Not the business of this module: which families there are
(``metric_families``), serving ``/metrics`` (``server``), or gathering the view (``controller``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client import exposition as text
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from nodeport_access import __version__, metric_families
from nodeport_access.api import Effect
from nodeport_access.drift import NETWORK_POLICY_FIELDS, SERVICE_FIELDS
from nodeport_access.metric_families import Family
from nodeport_access.outcome import Kind
from nodeport_access.plan import DELETED

# A `_created` gauge beside each counter says nothing that Prometheus' own resets() does not.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it carries no annotations

NO_ANSWER = 0
"""Stands for a status code where no answer came."""
KNOWN_CODES = frozenset(HTTPStatus) | {NO_ANSWER}
OTHER = "other"
"""Stands for a status code that HTTP does not know: whoever answers could think of any number of them."""

DRIFTING = (
    *((Kind.SERVICE, field) for field in SERVICE_FIELDS),
    *((Kind.NETWORK_POLICY, field) for field in (*NETWORK_POLICY_FIELDS, DELETED)),
)
"""What can drift: kinds and fields."""


class Format(Enum):
    """The formats of an exposition, each with its content type."""

    TEXT = text.CONTENT_TYPE_PLAIN_0_0_4
    OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST

    @staticmethod
    def accepted(accept: str) -> Format:
        """By a header Accept (RFC 9110, 12.5.1): OpenMetrics 1.0.0 for whoever takes it, text for everybody else. The
        library's own choice fails on versions that are no numbers."""
        for offer in accept.lower().split(","):
            media, *parameters = (part.strip() for part in offer.split(";"))
            given = dict(parameter.split("=", 1) for parameter in parameters if "=" in parameter)
            wanted = given.get("q", "1").strip("0.") != "" and given.get("version", "1.0.0") == "1.0.0"
            if media == "application/openmetrics-text" and wanted:
                return Format.OPENMETRICS
        return Format.TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyView:
    """One policy as metrics show it; ``deviating`` holds (type, status, reason) of conditions that are not as they
    should be, ``last_drifts`` (effect, seconds since the epoch), ``planned_writes`` is None but for mode Audit."""

    namespace: str
    name: str
    service: str
    ready: bool
    deviating: tuple[tuple[str, str, str], ...]
    next_expiry: float | None
    last_drifts: tuple[tuple[str, float], ...] = ()
    planned_writes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoveringView:
    """One NetworkPolicy that covers addresses of nodes or pods, for one Service with node ports whose pods it
    selects."""

    namespace: str
    service: str
    network_policy: str
    external_traffic_policy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that the gauges show, at one instant. Ages in seconds; ``next_expiry`` in seconds since the epoch;
    ``covering_nodes`` is worked out when the text is made, which may be in a thread."""

    policies: tuple[PolicyView, ...]
    unguarded: tuple[tuple[str, int], ...]
    covering_nodes: Callable[[], Iterable[CoveringView]]
    queue_depth: int
    oldest_key_age: float
    watches: tuple[tuple[str, str, float], ...]
    leads: bool
    contended: tuple[tuple[str, str, int], ...] = ()


class Metrics:
    """The operator's own registry; counters may be told from the event loop only, rendering may happen in a thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._drift = self._counter(metric_families.DRIFT)
        self._passes = self._counter(metric_families.RECONCILE)
        self._duration = Histogram(
            metric_families.RECONCILE_DURATION.name,
            metric_families.RECONCILE_DURATION.help,
            registry=self._registry,
        )
        self._requests = self._counter(metric_families.API_REQUESTS)
        self._events = self._counter(metric_families.EVENTS)
        ProcessCollector(registry=self._registry)
        for (kind, field), effect in product(DRIFTING, Effect):
            # From 0 on: to increase() a series that begins at 1 has not grown.
            self._drift.labels(kind, field, str(effect))

    def _counter(self, family: Family) -> Counter:
        return Counter(family.name, family.help, family.labels, registry=self._registry)

    def drifted(self, *, kind: str, field: str, effect: str) -> None:
        """Counts a repaired drift."""
        self._drift.labels(kind, field, effect).inc()

    def passed(self, *, outcome: str, seconds: float) -> None:
        """Counts a pass."""
        self._passes.labels(outcome).inc()
        self._duration.observe(seconds)

    def requested(self, verb: str, resource: str, code: int, _seconds: float) -> None:
        """Counts a request; what it took is not kept."""
        self._requests.labels(verb, resource, str(code) if code in KNOWN_CODES else OTHER).inc()

    def told(self, *, outcome: str) -> None:
        """Counts an Event by what became of it."""
        self._events.labels(outcome).inc()

    def render(self, view: View, *, format: Format = Format.TEXT) -> bytes:
        """What is known, in text format 0.0.4 or in OpenMetrics 1.0.0; without exemplars, of which we have none."""
        scrape = _Scrape(self._registry, _Gauges(view))
        if format is Format.OPENMETRICS:
            return bytes(openmetrics.generate_latest(scrape))  # type: ignore[no-untyped-call]  # no annotations
        return text.generate_latest(scrape)


class _Scrape(Collector):
    """Several collectors as one: OpenMetrics ends but once."""

    def __init__(self, *collectors: Collector) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        for collector in self._collectors:
            yield from collector.collect()


class _Gauges(Collector):
    """Collects one view."""

    def __init__(self, view: View) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        view = self._view
        yield _gauge(metric_families.BUILD_INFO, [((__version__,), 1)])
        yield _gauge(metric_families.LEADER, [((), view.leads)])
        yield from self._policies()
        yield _gauge(
            metric_families.CONTENDED_FIELDS,
            [((namespace, service), count) for namespace, service, count in view.contended],
        )
        yield _gauge(metric_families.UNGUARDED_SERVICES, [((namespace,), count) for namespace, count in view.unguarded])
        yield _gauge(
            metric_families.NETWORK_POLICY_COVERS_NODES,
            [
                ((one.namespace, one.service, one.network_policy, one.external_traffic_policy), 1)
                for one in view.covering_nodes()
            ],
        )
        yield _gauge(metric_families.WORKQUEUE_DEPTH, [((), view.queue_depth)])
        yield _gauge(metric_families.WORKQUEUE_OLDEST_KEY, [((), view.oldest_key_age)])
        yield _gauge(
            metric_families.WATCH_LAST_WORD,
            [((resource, namespace), age) for resource, namespace, age in view.watches],
        )

    def _policies(self) -> Iterator[Metric]:
        keyed = [((policy.namespace, policy.name), policy) for policy in self._view.policies]
        yield _gauge(
            metric_families.POLICY_READY, [((*key, policy.service), float(policy.ready)) for key, policy in keyed]
        )
        yield _gauge(
            metric_families.POLICY_CONDITION,
            [((*key, *deviation), 1) for key, policy in keyed for deviation in policy.deviating],
        )
        yield _gauge(
            metric_families.POLICY_NEXT_EXPIRY,
            [(key, policy.next_expiry) for key, policy in keyed if policy.next_expiry is not None],
        )
        yield _gauge(
            metric_families.POLICY_LAST_DRIFT,
            [((*key, effect), time) for key, policy in keyed for effect, time in policy.last_drifts],
        )
        yield _gauge(
            metric_families.POLICY_PLANNED_WRITES,
            [(key, policy.planned_writes) for key, policy in keyed if policy.planned_writes is not None],
        )


def _gauge(family: Family, samples: Iterable[tuple[tuple[str, ...], float]]) -> GaugeMetricFamily:
    told = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    for values, value in samples:
        told.add_metric(values, value)
    return told
