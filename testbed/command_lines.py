"""The command lines of the control plane's programs.

Not its business: starting them (`testbed.control_plane`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from testbed.credentials import OLDER_NAME, Credentials

# What the endpoints of the Service `kubernetes` show, as the API server refuses to advertise a loopback address. Nobody
# has it, except in the dataplane lab, whose nodes reach the API server there.
ADVERTISED_ADDRESS = "10.99.0.1"
_SERVICE_RANGES = "10.96.0.0/16,fd00:96::/112"
_POD_RANGES = "10.244.0.0/16,fd00:244::/56"

# Without kubelets and volumes these have nothing to do, or do harm: the first would declare every node dead.
_SUPERFLUOUS_CONTROLLERS = (
    "node-lifecycle-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-expander-controller",
    "horizontal-pod-autoscaler-controller",
    "endpoints-controller",  # of Endpoints, which EndpointSlices have replaced
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports of one control plane, on 127.0.0.1; see `ControlPlane` for the API server's."""

    etcd: int
    etcd_peers: int
    api_server: int
    controller_manager: int


def etcd(*, program: Path, data: Path, ports: Ports) -> list[str]:
    clients, peers = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.etcd_peers}"
    return [
        str(program),
        f"--data-dir={data}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        "--unsafe-no-fsync",  # its data is thrown away
        "--log-level=warn",
    ]


def kube_apiserver(
    *,
    program: Path,
    bind_address: str,
    ports: Ports,
    credentials: Credentials,
    node_ports: str,
    audit_policy: Path,
    audit_log: Path,
) -> list[str]:
    return [
        str(program),
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        f"--bind-address={bind_address}",
        f"--secure-port={ports.api_server}",
        f"--advertise-address={ADVERTISED_ADDRESS}",
        f"--tls-cert-file={credentials.server_certificate}",
        f"--tls-private-key-file={credentials.server_key}",
        f"--tls-sni-cert-key={credentials.older_certificate},{credentials.older_key}:{OLDER_NAME}",
        f"--client-ca-file={credentials.client_ca}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={credentials.service_account_public_key}",
        f"--service-account-signing-key-file={credentials.service_account_key}",
        f"--service-cluster-ip-range={_SERVICE_RANGES}",
        f"--service-node-port-range={node_ports}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--anonymous-auth=false",
        "--event-ttl=10m",
        "--profiling=false",
        "--shutdown-delay-duration=0s",
        # Without it watches stay open at the end until the request timeout, a minute later, closes them.
        "--shutdown-watch-termination-grace-period=1s",
        f"--audit-policy-file={audit_policy}",
        f"--audit-log-path={audit_log}",
        # Its default is rotation at 100 MB, which would pull the log away from under whoever remembers an offset.
        "--audit-log-maxsize=100000",
    ]


def kube_controller_manager(*, program: Path, ports: Ports, credentials: Credentials, kubeconfig: Path) -> list[str]:
    controllers = ",".join(["*", *(f"-{name}" for name in _SUPERFLUOUS_CONTROLLERS)])
    return [
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.controller_manager}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={credentials.service_account_key}",
        f"--root-ca-file={credentials.server_ca}",
        f"--cluster-cidr={_POD_RANGES}",
        "--allocate-node-cidrs=false",
        f"--controllers={controllers}",
        "--profiling=false",
        # Its default, 20 requests a second, is for the good of large clusters.
        "--kube-api-qps=1000",
        "--kube-api-burst=1000",
    ]
