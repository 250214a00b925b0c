"""What has to be written, and in which order, to bring the cluster to what the policies of one Service want.

Closing goes allowlist, Service, deny-all, so that an allowed client loses nothing at nodes with a ready pod; what
somebody else opened comes before everything else; letting go comes last and runs backwards. Pure: the same plan
serves the operator, ``mode: Audit`` and the offline commands. Not the business of this module: carrying it out
(``reconcile``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from nodeport_access import desired
from nodeport_access.api import (
    ALLOW_SUFFIX,
    DENY_SUFFIX,
    Body,
    ConditionType,
    Effect,
    Isolation,
    Mode,
    Policy,
    PolicyKey,
    TrafficPolicy,
)
from nodeport_access.conditions import is_true
from nodeport_access.drift import (
    Difference,
    has_second_controller,
    network_policy_additions,
    network_policy_drift,
    service_drift,
)
from nodeport_access.observed import NetworkPolicy, Service
from nodeport_access.outcome import Kind
from nodeport_access.snapshot import Role, Snapshot

DELETED = "deleted"
"""The field that a drift names when the whole object is gone."""

OPENING = frozenset({Effect.OPENED, Effect.DEPENDS})
"""Effects of a change that may have let somebody in."""


class Verb(StrEnum):
    """What a write does to its object."""

    CREATE = "create"
    UPDATE = "update"
    STRIP = "strip"
    RELEASE = "release"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One write, on behalf of ``policy`` (None for what no policy asks for any more).

    ``body`` is whole and absent where nothing is wanted; ``uid`` and ``resource_version`` are those observed, empty for
    a creation. With ``strips_first`` what others added has to go before: the API server would refuse the apply, or hold
    the object that is to be created anew. A write with ``after_others`` is due only if those whose turn it is leave the
    object: the garbage collector, or whoever holds it by a finalizer. What a release takes back was done for
    ``former``, which has to be gone (None: it is there, and does not want it).
    """

    verb: Verb
    kind: Kind
    namespace: str
    name: str
    policy: PolicyKey | None
    body: Body | None = None
    uid: str = ""
    resource_version: str = ""
    differences: tuple[Difference, ...] = ()
    strips_first: bool = False
    after_others: bool = False
    former: PolicyKey | None = None

    @property
    def object(self) -> str:
        """Kind and name, as messages and metrics name the object."""
        return f"{self.kind}/{self.name}"

    @property
    def is_allowlist(self) -> bool:
        """Whether it makes or changes an allowlist, without which nothing may be closed further."""
        named = self.policy is not None and self.name == f"{self.policy.name}{ALLOW_SUFFIX}"
        return named and self.verb is not Verb.STRIP

    @property
    def drift(self) -> Difference | None:
        """The worst of what somebody else did to the object, None where nobody did."""
        order = (Effect.OPENED, Effect.DEPENDS, Effect.CLOSED, Effect.NONE)
        foreign = [difference for difference in self.differences if difference.foreign]
        return min(foreign, key=lambda difference: order.index(difference.effect), default=None)

    @property
    def opens(self) -> bool:
        """Whether the object as it stands, or its absence from the start, may admit somebody whom it should not."""
        first = self.verb is Verb.CREATE and all(difference.path != DELETED for difference in self.differences)
        return first or any(difference.effect in OPENING for difference in self.differences)


def plan(snapshot: Snapshot) -> tuple[Write, ...]:
    """The writes in order; none where everything is as wanted."""
    writes: list[Write] = []
    for policy in snapshot.policies:
        match snapshot.role(policy):
            case Role.HOLDER:
                # sorted is stable: among writes of one urgency the closing order stays.
                writes += sorted(_holder_writes(snapshot, policy), key=_urgency)
            case Role.WAITING:
                writes += _deny_write(snapshot, policy, holder=False)
    if _stays_shut(snapshot, writes):
        writes += _leftovers(snapshot)
    return (*writes, *_release(snapshot))


def _urgency(write: Write) -> int:
    """What somebody else opened comes first; then what may let too many in for any other reason; then the rest, and
    what changes nobody's access last."""
    if write.drift is not None and write.drift.effect in OPENING:
        return 0
    if write.verb is Verb.STRIP:
        return 3
    return 1 if write.opens else 2


def _stays_shut(snapshot: Snapshot, writes: Iterable[Write]) -> bool:
    """Whether a child of the holder isolates the pods once these writes are carried out. Until one does (both of their
    names are taken by strangers, the allowlist is too long), what another policy left is all that keeps them shut."""
    if (holder := snapshot.holder) is None:
        return True
    names = {holder.allow_name, holder.deny_name}
    standing = {
        name for name in names & snapshot.children.keys() if snapshot.children[name].is_child_of(holder.key.name)
    }
    return not names.isdisjoint({*standing, *(write.name for write in writes)})


def audit(snapshot: Snapshot, policy: Policy) -> tuple[Write, ...]:
    """The writes that this policy would cause if its mode were Enforce."""
    enforcing = replace(policy, mode=Mode.ENFORCE)
    policies = tuple(enforcing if other is policy else other for other in snapshot.policies)
    names = snapshot.enforcing_names | {policy.key.name}
    writes = plan(replace(snapshot, policies=policies, enforcing_names=names))
    return tuple(write for write in writes if write.policy == policy.key)


def _holder_writes(snapshot: Snapshot, policy: Policy) -> Iterator[Write]:
    service = snapshot.service
    if service is None or not service.selector:
        # Without pods to select nothing can be built; what stands stays as it is, shut.
        return
    if _allowlist_impossible(snapshot, policy, service):
        # To close now would cut off allowed clients; but what is in force is kept in force.
        rest = (*_service_write(policy, service), *_deny_write(snapshot, policy, holder=True))
        yield from (write for write in rest if write.drift is not None)
        return
    body = desired.allow_body(policy, service, snapshot.now)
    allow = tuple(_child_write(snapshot, policy, body, applied=ConditionType.ALLOWLIST_APPLIED))
    deny = tuple(_deny_write(snapshot, policy, holder=True))
    made_anew = any(write.verb is Verb.CREATE for write in deny)
    if policy.isolation is Isolation.NAMESPACE and made_anew and _moves_on(allow):
        # The pods that the allowlist leaves stay shut by a deny-all that is not there yet, or already going.
        yield from deny
        deny = ()
    yield from (*allow, *_service_write(policy, service), *deny)


def _moves_on(allow: Iterable[Write]) -> bool:
    return any(difference.path == "spec.podSelector" for write in allow for difference in write.differences)


def _allowlist_impossible(snapshot: Snapshot, policy: Policy, service: Service) -> bool:
    """Whether the allowlist cannot be written at all: it is too long, or a stranger's object has its name."""
    standing = snapshot.children.get(policy.allow_name)
    if standing is not None and not standing.is_child_of(policy.key.name):
        return True
    allowed = desired.allowed_addresses(policy, service, snapshot.now)
    return desired.networks_count(allowed) > desired.NETWORKS_LIMIT


def _deny_write(snapshot: Snapshot, policy: Policy, *, holder: bool) -> Iterator[Write]:
    if snapshot.service is not None and snapshot.service.selector:
        body = desired.deny_body(policy, snapshot.service, holder=holder)
        yield from _child_write(snapshot, policy, body, applied=ConditionType.DEFAULT_DENY_APPLIED)


def _child_write(snapshot: Snapshot, policy: Policy, body: Body, *, applied: ConditionType) -> Iterator[Write]:
    name = body["metadata"]["name"]
    observed = snapshot.children.get(name)
    if observed is None or (observed.deleting and observed.is_child_of(policy.key.name)):
        deleted = (_deleted(snapshot, policy, name),) if is_true(policy.status, applied) else ()
        held = network_policy_additions(None, observed) if observed is not None else ()
        yield _write(Verb.CREATE, policy, body, observed, differences=(*deleted, *held), strips_first=bool(held))
    elif observed.is_child_of(policy.key.name):
        differences, added = network_policy_drift(body, observed), network_policy_additions(body, observed)
        guarded = {**body, "metadata": {**body["metadata"], "uid": observed.uid}}
        one_field = not {one.path for one in differences}.isdisjoint(one.path for one in added)
        opened = any(one.effect in OPENING for one in differences)
        if one_field and (not opened or has_second_controller(body, observed)):
            # Another owner in place of ours is one repair. What opened access waits for it only where it has to.
            both = (*differences, *added)
            yield _write(Verb.UPDATE, policy, guarded, observed, differences=both, strips_first=True)
            return
        if differences:
            yield _write(Verb.UPDATE, policy, guarded, observed, differences=differences)
        if added:
            yield _write(Verb.STRIP, policy, guarded, observed, differences=added)


def _write(
    verb: Verb,
    policy: Policy,
    body: Body,
    observed: NetworkPolicy | None,
    *,
    differences: tuple[Difference, ...],
    strips_first: bool = False,
) -> Write:
    return Write(
        verb=verb,
        kind=Kind.NETWORK_POLICY,
        namespace=policy.key.namespace,
        name=body["metadata"]["name"],
        policy=policy.key,
        body=body,
        uid=observed.uid if observed is not None else "",
        differences=differences,
        strips_first=strips_first,
    )


def _deleted(snapshot: Snapshot, policy: Policy, name: str) -> Difference:
    """A child that status says was there. Any other of ours still isolates the Service's pods while it is gone; one
    that is being deleted may not, as some CNIs let go of it at once."""
    left = any(child.claims & snapshot.enforcing_names and not child.deleting for child in snapshot.children.values())
    is_deny = name == policy.deny_name
    whole_namespace = is_deny and policy.isolation is Isolation.NAMESPACE and policy is snapshot.holder
    kept = Effect.NONE if is_deny else Effect.CLOSED
    effect = kept if left and not whole_namespace else Effect.OPENED
    return Difference(path=DELETED, want="present", have="absent", foreign=True, effect=effect)


def _service_write(policy: Policy, service: Service) -> Iterator[Write]:
    if policy.traffic_policy is not TrafficPolicy.LOCAL or not service.has_node_ports:
        return
    same = policy.status.get("serviceUID") == service.uid
    remembered = policy.status.get("healthCheckNodePort", 0) if same and service.type == "LoadBalancer" else 0
    body = desired.service_body(
        policy, service, health_check_node_port=0 if service.external_traffic_policy == "Local" else remembered
    )
    held_before = same and is_true(policy.status, ConditionType.CLIENT_IP_PRESERVED)
    if differences := service_drift(body, service, held_before=held_before):
        yield Write(
            verb=Verb.UPDATE,
            kind=Kind.SERVICE,
            namespace=service.key.namespace,
            name=service.key.name,
            policy=policy.key,
            body=body,
            uid=service.uid,
            differences=differences,
        )


def _leftovers(snapshot: Snapshot) -> Iterator[Write]:
    """Children of ours that nobody wants: made by a policy that no longer enforces, or the allowlist of one that
    waits. Deny-all first, so that letting go never refuses whom the allowlist admits."""
    waiting = {policy.allow_name for policy in snapshot.policies if snapshot.role(policy) is Role.WAITING}
    present = {policy.key.name for policy in snapshot.policies if not policy.deleting}
    for name in sorted(snapshot.children, key=lambda name: (not name.endswith(DENY_SUFFIX), name)):
        child = snapshot.children[name]
        unwanted = child.claims and not (child.claims & snapshot.enforcing_names)
        if not unwanted and not (name in waiting and child.claims):
            continue
        if not child.deleting:
            yield _let_go(Verb.DELETE, child, after_others=child.owned_by_policy and not (child.claims & present))
        elif held := network_policy_additions(None, child):
            # While a policy holds the Service, what lingers may let in whom that one does not.
            yield _let_go(Verb.STRIP, child, differences=held, after_others=snapshot.holder is None)


def _let_go(verb: Verb, child: NetworkPolicy, *, after_others: bool, differences: tuple[Difference, ...] = ()) -> Write:
    return Write(
        verb=verb,
        kind=Kind.NETWORK_POLICY,
        namespace=child.namespace,
        name=child.name,
        policy=None,
        uid=child.uid,
        resource_version=child.resource_version,
        differences=differences,
        after_others=after_others,
    )


def _release(snapshot: Snapshot) -> Iterator[Write]:
    """Taken by us, and no living policy asks for it: the fields and the label go back."""
    service, holder = snapshot.service, snapshot.holder
    if service is None or not service.taken:
        return
    if holder is None or holder.traffic_policy is not TrafficPolicy.LOCAL or not service.has_node_ports:
        yield Write(
            verb=Verb.RELEASE,
            kind=Kind.SERVICE,
            namespace=service.key.namespace,
            name=service.key.name,
            policy=None,
            body=desired.released_service_body(service),
            uid=service.uid,
            former=_former_holder(snapshot, service),
        )


def _former_holder(snapshot: Snapshot, service: Service) -> PolicyKey | None:
    names = {policy.key.name for policy in snapshot.policies}
    is_gone = service.policy_label and service.policy_label not in names
    return PolicyKey(service.key.namespace, service.policy_label) if is_gone else None
