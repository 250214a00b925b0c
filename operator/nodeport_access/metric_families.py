"""Every family of metrics, declared once: what it is called, what it counts, and what bounds the number of its series.

The exposition (``metrics``) and ``docs/metrics.md`` are made from it. Not the business of this module: the values.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "nodeport_access"


class Type(StrEnum):
    """The types of Prometheus that are in use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family. ``name`` is what follows ``# TYPE`` in OpenMetrics: of a counter without its ``_total``. ``bound``
    says how many series there can be, ``remedy`` what a person does about a value that is not as it should be."""

    name: str
    type: Type
    help: str
    labels: tuple[str, ...] = ()
    bound: str = "one series"
    remedy: str

    @property
    def series(self) -> tuple[str, ...]:
        """The names by which PromQL finds it."""
        match self.type:
            case Type.COUNTER:
                return (f"{self.name}_total",)
            case Type.HISTOGRAM:
                return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
            case Type.GAUGE:
                return (self.name,)


# --- policies and Services: gauges, made at scrape time from what is known, so that they end with their object --------

POLICY_READY = Family(
    name=f"{PREFIX}_policy_ready",
    type=Type.GAUGE,
    help="Whether a policy's condition Ready is True.",
    labels=("namespace", "policy", "service"),
    bound="one for each policy",
    remedy="At 0, kubectl describe npap says what is wrong; docs/conditions.md has every reason with the way out.",
)
POLICY_CONDITION = Family(
    name=f"{PREFIX}_policy_condition",
    type=Type.GAUGE,
    help="Conditions other than Ready that are not as they should be, each with its status and reason; always 1.",
    labels=("namespace", "policy", "type", "status", "reason"),
    bound="at most eight for each policy that is not as it should be; types, statuses and reasons are closed lists, and"
    " what somebody else writes into status is Other or not shown",
    remedy="Look the reason up in docs/conditions.md.",
)
POLICY_NEXT_EXPIRY = Family(
    name=f"{PREFIX}_policy_next_expiry_timestamp_seconds",
    type=Type.GAUGE,
    help="When the next entry of a policy's allowedCIDRs ends.",
    labels=("namespace", "policy"),
    bound="one for each policy with an entry that ends",
    remedy="Who is still needed then gets a later expiresAt; of whom nobody says so, the entry ends by itself.",
)
POLICY_LAST_DRIFT = Family(
    name=f"{PREFIX}_policy_last_drift_timestamp_seconds",
    type=Type.GAUGE,
    help="When somebody else's change was last repaired, by what it did to access: opened, closed, depends, none.",
    labels=("namespace", "policy", "effect"),
    bound="at most four for each policy that ever drifted",
    remedy="kubectl describe npap names the object, the field and the writer: change it at its source.",
)
POLICY_PLANNED_WRITES = Family(
    name=f"{PREFIX}_policy_planned_writes",
    type=Type.GAUGE,
    help="Writes that a policy in mode Audit would make, at most 16; policies in mode Enforce have no such series.",
    labels=("namespace", "policy"),
    bound="one for each policy in mode Audit",
    remedy="status.plan lists them; set mode to Enforce to have them made.",
)
CONTENDED_FIELDS = Family(
    name=f"{PREFIX}_contended_fields",
    type=Type.GAUGE,
    help="Fields and objects of a Service's guard that another writer has taken back at least twice in a row.",
    labels=("namespace", "service"),
    bound="one for each Service that is fought over now",
    remedy="status.lastDrift names the writer: a pipeline or another controller that has to leave the field alone.",
)
UNGUARDED_SERVICES = Family(
    name=f"{PREFIX}_unguarded_services",
    type=Type.GAUGE,
    help="Services with node ports that no policy in mode Enforce keeps Local.",
    labels=("namespace",),
    bound="one for each namespace that has any",
    remedy="nodeport-access audit names them with who gets in; give each a policy, or make it ClusterIP.",
)
NETWORK_POLICY_COVERS_NODES = Family(
    name=f"{PREFIX}_network_policy_covers_nodes",
    type=Type.GAUGE,
    help="NetworkPolicies whose ipBlocks cover node, tunnel or pod addresses, each with the Service whose pods it"
    " selects: under Cluster, everybody who comes in through another node gets in.",
    labels=("namespace", "service", "network_policy", "external_traffic_policy"),
    bound="one for each such pair, the first 10,000 of them",
    remedy="Guard the Service by a policy that names the clients, and take those addresses out.",
)

# --- what the operator did --------------------------------------------------------------------------------------------

DRIFT = Family(
    name=f"{PREFIX}_drift",
    type=Type.COUNTER,
    help="Changes by somebody else that were repaired, by what they did to access: opened, closed, depends, none.",
    labels=("kind", "field", "effect"),
    bound="at most 44: two kinds, the fields that the operator owns in them, four effects",
    remedy="One that opened access: find the policy by policy_last_drift_timestamp_seconds, and then the writer.",
)
EVENTS = Family(
    name=f"{PREFIX}_events",
    type=Type.COUNTER,
    help="Kubernetes Events about policies: posted, failed (the log says why), or dropped (too many at once).",
    labels=("outcome",),
    bound="three",
    remedy="Failed: the log has the API server's answer, as a rule a missing permission.",
)
API_REQUESTS = Family(
    name=f"{PREFIX}_api_requests",
    type=Type.COUNTER,
    help="Requests to the API server; code 0 where no answer came.",
    labels=("verb", "resource", "code"),
    bound="a few hundred: the verbs and resources of the operator's own code, and the status codes of HTTP",
    remedy="403: a permission is missing, the log says which. 0 and 5xx: look at the API server. 409: somebody else"
    " writes at the same time; a few are usual.",
)

# --- the operator itself ----------------------------------------------------------------------------------------------

BUILD_INFO = Family(
    name=f"{PREFIX}_build_info",
    type=Type.GAUGE,
    help="The version that runs; always 1.",
    labels=("version",),
    remedy="Absent: no operator is scraped.",
)
LEADER = Family(
    name=f"{PREFIX}_leader",
    type=Type.GAUGE,
    help="Whether this replica does the work (1, always so without leader election) or stands by (0).",
    remedy="No replica at 1: the lease cannot be had; the log says why.",
)
RECONCILE = Family(
    name=f"{PREFIX}_reconcile",
    type=Type.COUNTER,
    help="Passes over a Service, by outcome: Done, Wait, Stalled (a person has to mend it), Failed (a fault of the"
    " operator).",
    labels=("outcome",),
    bound="four",
    remedy="Failed: the log has the details; please report them.",
)
RECONCILE_DURATION = Family(
    name=f"{PREFIX}_reconcile_duration_seconds",
    type=Type.HISTOGRAM,
    help="Duration of a pass over a Service.",
    bound="17",
    remedy="Seconds instead of hundredths: the API server is slow, or asks to be left alone.",
)
WORKQUEUE_DEPTH = Family(
    name=f"{PREFIX}_workqueue_depth",
    type=Type.GAUGE,
    help="Services that wait for a pass.",
    remedy="Above 0 for minutes: passes end more slowly than changes come; see their duration.",
)
WORKQUEUE_OLDEST_KEY = Family(
    name=f"{PREFIX}_workqueue_oldest_key_seconds",
    type=Type.GAUGE,
    help="Age of the Service that has waited or been worked on longest.",
    remedy="Growing: a pass hangs. /healthz fails when none has ended for 300 s, and a new process is started.",
)
WATCH_LAST_WORD = Family(
    name=f"{PREFIX}_watch_last_word_seconds",
    type=Type.GAUGE,
    help="Age of the last event, bookmark or list of each watch; of policies, of the last list, taken every 300 s.",
    labels=("resource", "namespace"),
    bound="four for each --namespace, or for all of them; one for nodes; one for the pods of each namespace that has"
    " policies, or of all where those are more than 32",
    remedy="Above 90 s (policies: 390 s): /readyz and the log say what the API server answers.",
)
PROCESS = tuple(
    Family(name=f"process_{name}", type=type, help=help, remedy=remedy)
    for name, type, help, remedy in (
        ("cpu_seconds", Type.COUNTER, "Total user and system CPU time spent in seconds.", "See the passes' rate."),
        ("max_fds", Type.GAUGE, "Maximum number of open file descriptors.", "The limit of process_open_fds."),
        ("open_fds", Type.GAUGE, "Number of open file descriptors.", "Growing without end: please report it."),
        (
            "resident_memory_bytes",
            Type.GAUGE,
            "Resident memory size in bytes.",
            "Near the container's limit: raise it; about 100 MiB serve 1,000 policies.",
        ),
        (
            "start_time_seconds",
            Type.GAUGE,
            "Start time of the process since unix epoch in seconds.",
            "Changing: the process was started again; kubectl logs --previous says why.",
        ),
        ("virtual_memory_bytes", Type.GAUGE, "Virtual memory size in bytes.", "Says little; see the resident size."),
    )
)
"""What the client library tells of the process, under its own names, on Linux only."""

FAMILIES = (
    POLICY_READY,
    POLICY_CONDITION,
    POLICY_NEXT_EXPIRY,
    POLICY_LAST_DRIFT,
    POLICY_PLANNED_WRITES,
    CONTENDED_FIELDS,
    UNGUARDED_SERVICES,
    NETWORK_POLICY_COVERS_NODES,
    DRIFT,
    EVENTS,
    API_REQUESTS,
    BUILD_INFO,
    LEADER,
    RECONCILE,
    RECONCILE_DURATION,
    WORKQUEUE_DEPTH,
    WORKQUEUE_OLDEST_KEY,
    WATCH_LAST_WORD,
    *PROCESS,
)
