"""Asks network-config-analyzer: run by the Python of .venv-oracles, never by the tests' own.

A line of objects and questions in, a line of answers out, as the program in testbed/programs/oracles has it. Its
command line reads files and prints reports, which takes a second a case; its classes take milliseconds.
"""

# Only what its own command line does between reading and printing: NetworkConfigQueryRunner and ResourcesHandler.

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import Any

from nca.CoreDS.ConnectivityProperties import ConnectivityProperties  # type: ignore[import-not-found] # not in .venv
from nca.CoreDS.DimensionsManager import DimensionsManager  # type: ignore[import-not-found] # not in .venv
from nca.CoreDS.Peer import BasePeerSet, IpBlock, PeerSet  # type: ignore[import-not-found] # not in .venv
from nca.CoreDS.PortSet import PortSet  # type: ignore[import-not-found] # not in .venv
from nca.CoreDS.ProtocolNameResolver import ProtocolNameResolver  # type: ignore[import-not-found] # not in .venv
from nca.CoreDS.ProtocolSet import ProtocolSet  # type: ignore[import-not-found] # not in .venv
from nca.NetworkConfig.NetworkConfig import NetworkConfig  # type: ignore[import-not-found] # not in .venv
from nca.NetworkConfig.PeerContainer import PeerContainer  # type: ignore[import-not-found] # not in .venv
from nca.NetworkConfig.PoliciesFinder import PoliciesFinder  # type: ignore[import-not-found] # not in .venv
from nca.NetworkConfig.TopologyObjectsFinder import (  # type: ignore[import-not-found] # not in .venv
    NamespacesFinder,
    PodsFinder,
)


def answers(batch: dict[str, Any]) -> list[str]:
    """A word for each question: "yes", "no", or what was raised."""
    try:
        container = _container(batch)
        allowed = _config(batch, container).allowed_connections().all_allowed_conns
        pods = {peer.full_name(): peer for peer in container.peer_set}
        return ["yes" if _connection(pods, question) & allowed else "no" for question in batch["questions"]]
    except Exception as error:  # an engine may give up in any way it likes
        return [f"{type(error).__name__}: {error}"] * len(batch["questions"])


def _container(batch: dict[str, Any]) -> Any:
    # Its sets of peers are counted from these two, which otherwise remember the pods of every case before.
    BasePeerSet.reset()
    DimensionsManager.reset()
    namespaces, pods = NamespacesFinder(), PodsFinder()
    pods.namespaces_finder = namespaces
    for body in batch["namespaces"]:
        namespaces.parse_yaml_code_for_ns(body)
    for body in batch["pods"]:
        pods.add_eps_from_yaml(body)
    return PeerContainer(pods.peer_set, namespaces.namespaces, [], pods.representative_peers)


def _config(batch: dict[str, Any], container: Any) -> Any:
    policies = PoliciesFinder()
    policies.set_peer_container(container)
    for body in batch["policies"]:
        policies.parse_yaml_code_for_policy(body, "policies.yaml")
    policies.parse_policies_in_parse_queue()
    return NetworkConfig("asked", container, policies)


def _connection(pods: dict[str, Any], question: dict[str, Any]) -> Any:
    source = pods[question["source"]] if question["source"] else IpBlock(question["sourceIP"])
    protocol = ProtocolNameResolver.get_protocol_number(question["protocol"])
    ports = PortSet()
    ports.add_port(question["port"])
    return ConnectivityProperties.make_conn_props_from_dict(
        {
            "src_peers": PeerSet({source}),
            "dst_peers": PeerSet({pods[question["destination"]]}),
            "protocols": ProtocolSet.get_protocol_set_with_single_protocol(protocol),
            "dst_ports": ports,
        }
    )


def main() -> None:
    """Answers until the input ends."""
    for line in sys.stdin:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = answers(json.loads(line))
        print(json.dumps({"network-config-analyzer": found}), flush=True)


if __name__ == "__main__":
    main()
