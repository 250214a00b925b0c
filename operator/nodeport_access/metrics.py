"""What Prometheus is told: counters of what was done, and gauges made at scrape time from what is known, so that no
series outlives its object.

The only module that imports ``prometheus_client``. Not the business of this module: serving ``/metrics``
(``server``), or gathering the view (``controller``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from nodeport_access import __version__

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
PREFIX = "nodeport_access"

# A `_created` gauge beside each counter says nothing that Prometheus' own resets() does not.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it carries no annotations


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyView:
    """One policy as metrics show it; ``deviating`` holds (type, status, reason) of conditions that are not as they
    should be."""

    namespace: str
    name: str
    service: str
    ready: bool
    deviating: tuple[tuple[str, str, str], ...]
    next_expiry: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that the gauges show, at one instant. Ages in seconds; ``next_expiry`` in seconds since the epoch."""

    policies: tuple[PolicyView, ...]
    unguarded: tuple[tuple[str, int], ...]
    queue_depth: int
    oldest_key_age: float
    watches: tuple[tuple[str, str, float], ...]


class Metrics:
    """The operator's own registry; counters may be told from the event loop only, rendering may happen in a thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._drift = Counter(
            f"{PREFIX}_drift",
            "Changes by somebody else that were repaired, by what they did to access: opened, closed, depends, none.",
            ["kind", "field", "effect"],
            registry=self._registry,
        )
        self._passes = Counter(
            f"{PREFIX}_reconcile", "Passes over a Service, by outcome.", ["outcome"], registry=self._registry
        )
        self._duration = Histogram(
            f"{PREFIX}_reconcile_duration_seconds", "Duration of a pass over a Service.", registry=self._registry
        )
        self._requests = Counter(
            f"{PREFIX}_api_requests",
            "Requests to the API server; code 0 where no answer came.",
            ["verb", "resource", "code"],
            registry=self._registry,
        )
        self._events = Counter(
            f"{PREFIX}_events",
            "Kubernetes Events about policies: posted, failed (the log says why), or dropped (too many at once).",
            ["outcome"],
            registry=self._registry,
        )

    def drifted(self, *, kind: str, field: str, effect: str) -> None:
        """Counts a repaired drift."""
        self._drift.labels(kind, field, effect).inc()

    def passed(self, *, outcome: str, seconds: float) -> None:
        """Counts a pass."""
        self._passes.labels(outcome).inc()
        self._duration.observe(seconds)

    def requested(self, verb: str, resource: str, code: int, _seconds: float) -> None:
        """Counts a request; what it took is not kept."""
        self._requests.labels(verb, resource, str(code)).inc()

    def told(self, *, outcome: str) -> None:
        """Counts an Event by what became of it."""
        self._events.labels(outcome).inc()

    def render(self, view: View) -> bytes:
        """The text format of Prometheus, version 0.0.4."""
        scrape = CollectorRegistry(auto_describe=False)
        scrape.register(_Gauges(view))
        return generate_latest(self._registry) + generate_latest(scrape)


class _Gauges:
    """Collects one view."""

    def __init__(self, view: View) -> None:
        self._view = view

    def collect(self) -> Iterable[Metric]:
        yield _gauge("build_info", "The version that runs.", ["version"], [((__version__,), 1)])
        yield from self._policies()
        yield _gauge(
            "unguarded_services",
            "Services with node ports that no policy guards.",
            ["namespace"],
            [((namespace,), count) for namespace, count in self._view.unguarded],
        )
        yield _gauge("workqueue_depth", "Services that wait for a pass.", [], [((), self._view.queue_depth)])
        yield _gauge(
            "workqueue_oldest_key_seconds",
            "Age of the Service that has waited or been worked on longest.",
            [],
            [((), self._view.oldest_key_age)],
        )
        yield _gauge(
            "watch_last_word_seconds",
            "Age of the last event, bookmark or list of each watch.",
            ["resource", "namespace"],
            [((resource, namespace), age) for resource, namespace, age in self._view.watches],
        )

    def _policies(self) -> Iterator[Metric]:
        policies = self._view.policies
        yield _gauge(
            "policy_ready",
            "Whether a policy's condition Ready is True.",
            ["namespace", "policy", "service"],
            [((policy.namespace, policy.name, policy.service), float(policy.ready)) for policy in policies],
        )
        yield _gauge(
            "policy_condition",
            "Conditions that are not as they should be, each with its status and reason.",
            ["namespace", "policy", "type", "status", "reason"],
            [((policy.namespace, policy.name, *deviation), 1) for policy in policies for deviation in policy.deviating],
        )
        yield _gauge(
            "policy_next_expiry_timestamp_seconds",
            "When the next entry of a policy's allowedCIDRs ends.",
            ["namespace", "policy"],
            [
                ((policy.namespace, policy.name), policy.next_expiry)
                for policy in policies
                if policy.next_expiry is not None
            ],
        )


def _gauge(
    name: str, documentation: str, labels: list[str], samples: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", documentation, labels=labels)
    for values, value in samples:
        family.add_metric(list(values), value)
    return family
