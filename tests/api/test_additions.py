"""What others add to a child, which no apply undoes, and which decides how long the child lives: finalizers and owners.
It is taken off, counted in /metrics, told in `status.lastDrift`, and nothing ever hangs on it or opens by it.

Not the business of this module: fields that an apply repairs (`test_drift`).
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from testbed.operator_process import OperatorProcess
from tests.api.access import Json, Site, await_told, drifts, until
from tests.api.witness import Witness, assert_never_wider

FIELDS = ("metadata.finalizers", "metadata.ownerReferences")
EDITOR = "kubectl-edit"
HOLD = "example.com/hold"
DENY = "web-deny-all"


def create_guarded(site: Site) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()


def hold(site: Site, name: str, *, manager: str = EDITOR) -> None:
    site.edit("NetworkPolicy", name, metadata={"finalizers": [HOLD]}, manager=manager)


def await_let_go(site: Site, name: str) -> None:
    until(lambda: "finalizers" not in site.network_policies()[name]["metadata"], f"no finalizer on {name}")


def await_made_anew(site: Site, name: str, before: Json) -> None:
    """Wait until another object has taken the place of this child, with the same content."""

    def made_anew() -> bool:
        found = site.network_policies().get(name)
        assert found is not None, "it is absent"
        assert found["metadata"]["uid"] != before["metadata"]["uid"]
        assert found["metadata"].keys().isdisjoint({"finalizers", "deletionTimestamp"})
        for field in ("labels", "ownerReferences"):
            assert found["metadata"][field] == before["metadata"][field]
        assert found["spec"] == before["spec"]
        return True

    until(made_anew, f"another {name}")


# --- one after the other ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """Fields of metadata that somebody sets on a deny-all, made of the operator's ownerReference and a stranger's; the
    one that is told; and how often the operator writes the child."""

    metadata: Callable[[Json, Json], Json]
    field: str = "metadata.ownerReferences"
    writes: int = 1


ADDITIONS = {
    "a finalizer": Addition(metadata=lambda *_: {"finalizers": [HOLD]}, field="metadata.finalizers"),
    "two finalizers and an owner": Addition(
        metadata=lambda ours, theirs: {"finalizers": [HOLD, "foregroundDeletion"], "ownerReferences": [theirs, ours]},
        field="metadata.finalizers",
    ),
    "an owner": Addition(metadata=lambda ours, theirs: {"ownerReferences": [ours, theirs]}),
    "ours doubled": Addition(metadata=lambda ours, _: {"ownerReferences": [ours, ours | {"controller": False}]}),
    "ours that blocks": Addition(metadata=lambda ours, _: {"ownerReferences": [ours | {"blockOwnerDeletion": True}]}),
    "an owner in place of ours": Addition(metadata=lambda _, theirs: {"ownerReferences": [theirs]}, writes=2),
    # The API server takes no second controller: one has to go before the other comes.
    "a controller in place of ours": Addition(
        metadata=lambda _, theirs: {"ownerReferences": [theirs | {"controller": True}]}, writes=2
    ),
    "a controller beside ours": Addition(
        metadata=lambda ours, theirs: {
            "ownerReferences": [ours | {"controller": False}, theirs | {"controller": True}]
        },
        writes=2,
    ),
}


def create_stranger(site: Site) -> Json:
    """An ownerReference to an object that is there, so that the garbage collector has no part in what follows."""
    metadata = {"namespace": site.namespace, "name": "settings"}
    made = site.cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": "settings", "uid": made["metadata"]["uid"]}


def whole(child: Json) -> Json:
    """A child but for its versions, with who manages it."""
    metadata = {key: value for key, value in child["metadata"].items() if key in ("labels", "ownerReferences", "uid")}
    managers = [(entry["manager"], entry["operation"]) for entry in child["metadata"]["managedFields"]]
    return metadata | {"finalizers": child["metadata"].get("finalizers"), "spec": child["spec"], "managers": managers}


def test_whatever_is_added_to_a_child_is_taken_off_counted_and_told(
    site: Site, shared_operator: OperatorProcess
) -> None:
    rows = {f"p{number}": row for number, row in enumerate(ADDITIONS.values())}
    theirs = create_stranger(site)
    for name in rows:
        site.create_service(name, selector={"app": name})
        site.create_policy(name, service=name)
    for name in rows:
        site.await_ready(name)
    before = {name: whole(child) for name, child in site.network_policies().items()}
    counted = {field: drifts(shared_operator, "NetworkPolicy", field, "none") for field in FIELDS}

    with shared_operator.paused():
        for name, row in rows.items():
            (ours,) = before[f"{name}-deny-all"]["ownerReferences"]
            site.edit("NetworkPolicy", f"{name}-deny-all", metadata=row.metadata(ours, theirs))
        begin, witness = site.cluster.control_plane.audit_mark(), Witness(site)

    def undone() -> bool:
        found = {name: whole(child) for name, child in site.network_policies().items()}
        differing = [name for name in before if found.get(name) != before[name]]
        assert not differing, {name: found.get(name) for name in differing}
        return True

    until(undone, "every child as it was")
    for name, row in rows.items():
        child = f"NetworkPolicy/{name}-deny-all"
        await_told(site, name, object=child, field=row.field, effect="none", writer=EDITOR)
        site.await_ready(name)
    expected = collections.Counter(
        {f"patch networkpolicies {name}-deny-all": row.writes for name, row in rows.items()}
        | {f"patch nodeportaccesspolicies/status {name}": 1 for name in rows}
    )
    assert collections.Counter(site.writes(since=begin)) == expected
    told = collections.Counter(row.field for row in rows.values())
    assert {field: drifts(shared_operator, "NetworkPolicy", field, "none") - counted[field] for field in FIELDS} == told
    states = witness.states()
    for name in rows:
        assert_never_wider(states, service=name, labels={"app": name})


def test_what_opened_access_is_repaired_before_a_finalizer_is_taken_off(site: Site) -> None:
    create_guarded(site)
    begin = site.cluster.control_plane.audit_mark()

    site.edit("NetworkPolicy", DENY, metadata={"finalizers": [HOLD]}, spec={"ingress": [{}]})

    await_told(site, "web", object=f"NetworkPolicy/{DENY}", field="spec.ingress", effect="opened", writer=EDITOR)
    await_let_go(site, DENY)
    sent = [event for event in site.requests(since=begin) if event["objectRef"]["resource"] == "networkpolicies"]
    assert ["spec" in event["requestObject"] for event in sent] == [True, False]


# --- a child that is deleted, and held -------------------------------------------------------------------------------


def test_a_child_deleted_in_the_foreground_is_back_and_told(site: Site) -> None:
    create_guarded(site)
    before = site.network_policies()[DENY]

    site.delete("NetworkPolicy", DENY, propagationPolicy="Foreground")

    await_made_anew(site, DENY, before)
    await_told(site, "web", object=f"NetworkPolicy/{DENY}", field="deleted", effect="none")


@pytest.mark.parametrize(("child", "effect"), [("web-allow", "closed"), (DENY, "none")])
def test_a_child_that_is_deleted_and_held_is_let_go_and_made_anew(
    child: str, effect: str, site: Site, shared_operator: OperatorProcess
) -> None:
    create_guarded(site)
    before = site.network_policies()[child]
    counted = drifts(shared_operator, "NetworkPolicy", "deleted", effect)

    with shared_operator.paused():
        hold(site, child)
        site.delete("NetworkPolicy", child)
        assert "deletionTimestamp" in site.network_policies()[child]["metadata"]
        begin, witness = site.cluster.control_plane.audit_mark(), Witness(site)

    await_made_anew(site, child, before)
    await_told(site, "web", object=f"NetworkPolicy/{child}", field="deleted", effect=effect)
    site.await_ready()
    assert drifts(shared_operator, "NetworkPolicy", "deleted", effect) == counted + 1
    child_writes = [write for write in site.writes(since=begin) if "status" not in write]
    assert child_writes == [f"patch networkpolicies {child}"] * 2, "let go, and made anew"
    witness.assert_never_wider()


def test_children_that_are_all_deleted_and_held_are_made_anew_one_after_the_other(
    site: Site, shared_operator: OperatorProcess
) -> None:
    create_guarded(site)
    before = site.network_policies()

    with shared_operator.paused():
        for name in before:
            hold(site, name)
            site.delete("NetworkPolicy", name)
        witness = Witness(site)

    for name, child in before.items():
        await_made_anew(site, name, child)
    site.await_ready()
    witness.assert_never_wider()


def delete_policy_and_hold_allowlist(site: Site) -> None:
    """The policy goes, and the garbage collector (played here, which may come late) has marked its allowlist."""
    hold(site, "web-allow")
    site.delete("NodePortAccessPolicy")
    site.delete("NetworkPolicy", "web-allow")
    assert "deletionTimestamp" in site.network_policies()["web-allow"]["metadata"]


def test_a_finalizer_on_a_child_holds_up_no_deletion_of_the_policy(
    site: Site, shared_operator: OperatorProcess
) -> None:
    create_guarded(site)

    with shared_operator.paused():
        delete_policy_and_hold_allowlist(site)
        begin = time.monotonic()

    site.await_guard("Cluster", None)
    until(lambda: "web-allow" not in site.network_policies(), "the end of the allowlist")
    assert time.monotonic() - begin > 2, "whoever put the finalizer there gets some time"
    site.await_network_policies()


def test_an_allowlist_that_is_held_lets_nobody_in_beside_that_of_the_next_policy(
    site: Site, shared_operator: OperatorProcess
) -> None:
    create_guarded(site)
    site.create_policy("xeno", allowed=["198.51.100.7/32"])
    site.await_condition("Stalled", "True ServiceAlreadyClaimed", "xeno")

    with shared_operator.paused():
        delete_policy_and_hold_allowlist(site)
        begin, witness = time.monotonic(), Witness(site)

    until(lambda: "web-allow" not in site.network_policies(), "the end of the allowlist")
    assert time.monotonic() - begin < 2, "nobody gets time to let people in"
    site.await_ready("xeno")
    site.await_network_policies("xeno-allow", "xeno-deny-all")
    assert site.guard_of() == ("Local", "xeno")
    witness.assert_never_wider()


# --- fights ----------------------------------------------------------------------------------------------------------


def test_a_finalizer_that_keeps_coming_back_is_out_waited_and_denies_nothing(site: Site) -> None:
    create_guarded(site)
    for _ in range(2):
        hold(site, DENY, manager="cni")
        await_let_go(site, DENY)
    begin = time.monotonic()

    hold(site, DENY, manager="cni")
    until(lambda: "cni" in site.await_condition("DefaultDenyApplied", "True Applied"), "the writer in status")
    assert site.conditions()["Ready"] == "True Guarded"

    # What opens access meanwhile is not out-waited with it.
    site.edit("NetworkPolicy", DENY, spec={"ingress": [{}]})
    until(lambda: "ingress" not in site.network_policies()[DENY]["spec"], "nobody admitted")
    assert time.monotonic() - begin < 1.5

    await_let_go(site, DENY)
    assert time.monotonic() - begin > 1.5, "the third repair waits two seconds"


def test_who_opens_a_child_again_and_again_is_answered_each_time_and_not_out_waited(site: Site) -> None:
    create_guarded(site)
    mark, begin = site.cluster.control_plane.audit_mark(), time.monotonic()

    for _ in range(6):
        site.edit("NetworkPolicy", DENY, spec={"ingress": [{}]})
        until(lambda: "ingress" not in site.network_policies()[DENY]["spec"], "nobody admitted")

    assert 1.5 < time.monotonic() - begin < 6, "0, 0.05, 0.1, 0.2, 0.4 and 0.8 seconds; with patience it would be 31"
    assert site.writes(since=mark).count(f"patch networkpolicies {DENY}") == 6
