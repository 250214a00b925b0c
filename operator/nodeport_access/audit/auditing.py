"""The audit of an inventory, at one instant.

Not the business of this module: any single answer (``reaching``) or trap (``traps``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime

from nodeport_access.api import ConditionType, Policy, PolicyKey
from nodeport_access.audit.policy_traps import of_policy
from nodeport_access.audit.reaching import Reaching
from nodeport_access.audit.report import Guard, PortReport, Report, ServiceReport, Trap
from nodeport_access.audit.setting import Setting, place_of
from nodeport_access.audit.traps import found_in
from nodeport_access.conditions import Condition
from nodeport_access.evaluate import DEFAULT, Known, Scene
from nodeport_access.inventory import Inventory, ObjectKey, judged, store
from nodeport_access.inventory.scenes import Scenes
from nodeport_access.kube import NODES, SERVICES
from nodeport_access.observed import ServicePort, parse_service

Judged = dict[PolicyKey, tuple[Condition, ...]]


def audit(
    inventory: Inventory,
    *,
    now: datetime,
    source: str,
    known: Known = DEFAULT,
    namespaces: Collection[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Every exposed Service of these namespaces, or of all, worst first; ``source`` is what the report says that it
    was made of, ``progress`` is told what is being done."""
    held, scenes, conditions, reaching = store(inventory), Scenes(inventory), judged(inventory, now), Reaching(known)
    exposed = [
        service.key
        for service in map(parse_service, inventory.bodies(SERVICES))
        if service.exposed and (not namespaces or service.key.namespace in namespaces)
    ]
    services = []
    for number, key in enumerate(exposed, start=1):
        progress(f"judging Service {number} of {len(exposed)}")
        setting = Setting(
            inventory=inventory,
            snapshot=held.snapshot(key, now),
            service=scenes[key].service,
            conditions={name.name: found for name, found in conditions.items() if name.namespace == key.namespace},
        )
        services.append(_service(setting, scenes[key], reaching))
    told = {policy.key for key in exposed for policy in held.policies_of(key)}
    return Report(
        made_at=now,
        source=source,
        assumed=tuple(unknown.sentence(*sorted(options)) for unknown, options in known.items()),
        nodes=tuple(sorted(body["metadata"]["name"] for body in inventory.bodies(NODES))),
        services=tuple(sorted(services, key=lambda one: (one.openness.rank, -len(one.traps), one.key))),
        traps=tuple(
            trap
            for policy in sorted(held.policies, key=lambda policy: policy.key)
            if not policy.deleting and policy.key not in told and (not namespaces or policy.key.namespace in namespaces)
            for trap in _loose(inventory, policy, conditions)
        ),
        notes=inventory.notes,
    )


def _service(setting: Setting, scene: Scene, reaching: Reaching) -> ServiceReport:
    service = setting.service
    return ServiceReport(
        key=service.key,
        type=service.type,
        external_traffic_policy=service.external_traffic_policy or "Cluster",
        ports=tuple(_port(port, scene, reaching) for port in service.ports),
        guard=_guard(setting),
        traps=found_in(setting),
        place=place_of(setting.inventory, ObjectKey(SERVICES, service.key.namespace, service.key.name)),
    )


def _port(port: ServicePort, scene: Scene, reaching: Reaching) -> PortReport:
    return PortReport(
        name=port.name,
        port=port.port,
        protocol=port.target.protocol,
        node_port=port.node_port,
        cells=reaching.cells(scene, port),
    )


def _guard(setting: Setting) -> Guard | None:
    """The holder; where there is none, a policy that would be one if it were not in mode Audit."""
    policy = setting.snapshot.holder or next(iter(setting.policies), None)
    if policy is None:
        return None
    found = setting.conditions.get(policy.key.name, ())
    ready = next(condition for condition in found if condition.type is ConditionType.READY)
    return Guard(
        policy=policy.key,
        mode=str(policy.mode),
        ready=ready.holds,
        reason=str(ready.reason),
        message=ready.message,
    )


def _loose(inventory: Inventory, policy: Policy, conditions: Judged) -> tuple[Trap, ...]:
    return tuple(of_policy(inventory, policy, conditions.get(policy.key, ())))
