"""A proxy between a client and the real API server, that does to them what networks and crashes do.

    with FaultProxy(control_plane) as proxy:
        operator = start_operator(control_plane, kubeconfig=proxy.service_account_kubeconfig(namespace=..., name=...))
        with proxy.inject(Answer(code=409), verbs={"patch"}, resources={"services"}, times=3) as injected:
            ...
        assert injected.hits == 3

Verbs and resources are those of the audit log. `proxy.inject` puts a fault in the way (`faults` has the list),
`proxy.hold_after(writes=n)` makes a crash point, `proxy.network_away()` cuts everything, and `proxy.writes()` tells
what the API server has carried out.

Not its business: what the operator should do about it.
"""

from testbed.fault_proxy.faults import (
    Answer,
    CloseConnection,
    CutStream,
    DuplicateEvents,
    EndStream,
    ErrorEvent,
    GarbledLine,
    HalfAnswer,
    Hang,
    Latency,
    LoseAnswer,
    SlowAnswer,
    StallStream,
)
from testbed.fault_proxy.gates import Gate
from testbed.fault_proxy.injection import Injected
from testbed.fault_proxy.proxy import FaultProxy

__all__ = [
    "Answer",
    "CloseConnection",
    "CutStream",
    "DuplicateEvents",
    "EndStream",
    "ErrorEvent",
    "FaultProxy",
    "GarbledLine",
    "Gate",
    "HalfAnswer",
    "Hang",
    "Injected",
    "Latency",
    "LoseAnswer",
    "SlowAnswer",
    "StallStream",
]
