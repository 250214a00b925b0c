"""Every state that the namespaces of a cluster go through, written down as it happens: for tests that change more than
an API server remembers, where `witness` cannot look back.

Not its business: what may have been the case (`witness`).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Self

from testbed import kubectl
from testbed.cluster import Cluster, path
from tests.api.access import LABELS, MANAGER, WEB, Json, after, until
from tests.api.witness import KINDS, State, addresses, admits, assert_never_wider, ports_of, selected


class Recording:
    """Runs from its making to `close`, or as a context manager."""

    def __init__(self, cluster: Cluster, *, folder: Path) -> None:
        self._cluster = cluster
        self._begin: dict[str, list[Json]] = {}
        self._files = {kind: folder / f"{kind}.events" for kind in KINDS}
        self._streams: list[subprocess.Popen[bytes]] = []
        for kind in KINDS:
            _, answer = cluster.control_plane.request("GET", path(kind=kind))
            self._begin[kind] = answer["items"]
            query = f"?watch=true&timeoutSeconds=3600&resourceVersion={answer['metadata']['resourceVersion']}"
            with self._files[kind].open("wb") as file:
                words: list[str | Path] = [kubectl.PROGRAM, "get", "--raw", path(kind=kind) + query]
                kubeconfig = cluster.control_plane.admin_kubeconfig
                environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "KUBECONFIG": str(kubeconfig)}
                self._streams.append(subprocess.Popen(words, stdout=file, env=environment))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for stream in self._streams:
            stream.terminate()
            stream.wait()

    def mark(self) -> int:
        """The revision of now, to begin with later."""
        _, answer = self._cluster.control_plane.request("GET", path(kind="NodePortAccessPolicy"))
        return int(answer["metadata"]["resourceVersion"])

    def states(self, namespace: str, *, since: int = 0) -> list[State]:
        """What a namespace went through until now, in the order of etcd's revisions."""

        def up_to_now() -> list[State]:
            # Asked anew each time: a status may be written up to a second after what it tells of.
            wanted = {
                kind: {one["metadata"]["name"]: _version(one) for one in self._cluster.list(kind, namespace=namespace)}
                for kind in KINDS
            }
            found = self._states(namespace, since)
            have = {kind: {name: _version(one) for name, one in found[-1].objects[kind].items()} for kind in KINDS}
            assert have == wanted
            return found

        return until(up_to_now, f"the streams of {namespace} to come up to now")

    def _states(self, namespace: str, since: int) -> list[State]:
        def is_in(one: Json) -> bool:
            return bool(one["metadata"]["namespace"] == namespace)

        objects: Mapping[str, Mapping[str, Json]] = {
            kind: {one["metadata"]["name"]: one for one in self._begin[kind] if is_in(one)} for kind in KINDS
        }
        events = [event for kind in KINDS for event in _events(self._files[kind]) if is_in(event["object"])]
        states = [State(objects=objects)]
        for event in sorted(events, key=lambda event: _version(event["object"])):
            kind, before = event["object"]["kind"], states[-1].objects
            state = State(objects={**before, kind: after(before[kind], event)}, event=event)
            if _version(event["object"]) <= since:
                states = [State(objects=state.objects)]
            else:
                states.append(state)
        return states

    def assert_never_wider(self, namespace: str, *, since: int = 0) -> None:
        """Nobody got at the pods of Service `web` at any moment who does neither at the mark nor now."""
        assert_never_wider(self.states(namespace, since=since))

    def assert_ours_never_widen(self, namespace: str, *, since: int = 0) -> None:
        """Nobody got at the pods of Service `web` by a write of the operator's who neither had before it nor does now,
        whatever others did to its objects; and no such write took `Local` from the Service."""
        states = self.states(namespace, since=since)
        probes, ports = tuple(addresses(states)), tuple(ports_of(states))

        def admitted(state: State) -> set[object]:
            specs = [one["spec"] for one in state.objects["NetworkPolicy"].values()]
            selecting = [spec for spec in specs if selected(spec.get("podSelector") or {}, LABELS)]
            return {(one, port) for one in probes for port in ports if admits(selecting, one, port)}

        def is_local(state: State) -> bool:
            return bool(state.objects["Service"][WEB]["spec"].get("externalTrafficPolicy") == "Local")

        last = admitted(states[-1])
        for before, state in pairwise(states):
            if _is_ours(before, state):
                assert not (more := admitted(state) - admitted(before) - last), f"after {state}, {more} got in"
                assert is_local(state) or not is_local(before) or not is_local(states[-1]), str(state)


def _is_ours(before: State, state: State) -> bool:
    """Whether the operator's write led here: others' entries in managedFields have not grown by it."""
    assert state.event is not None
    found = state.event["object"]
    known = before.objects[found["kind"]].get(found["metadata"]["name"], {"metadata": {}})["metadata"]
    entries = [entry for entry in found["metadata"]["managedFields"] if entry not in known.get("managedFields", ())]
    return state.event["type"] != "DELETED" and {entry["manager"] for entry in entries} == {MANAGER}


def _events(file: Path) -> list[Json]:
    text = file.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()]


def _version(one: Json) -> int:
    return int(one["metadata"]["resourceVersion"])
