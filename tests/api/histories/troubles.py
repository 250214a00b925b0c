"""What may be wrong between the operator and the API server during a history, as the fault proxy brings it about.

Not its business: when it happens (`machine`), and how it is done (`testbed.fault_proxy`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Set
from dataclasses import dataclass

from testbed.fault_proxy import (
    Answer,
    CloseConnection,
    CutStream,
    DuplicateEvents,
    EndStream,
    ErrorEvent,
    FaultProxy,
    HalfAnswer,
    Injected,
    Latency,
    LoseAnswer,
    StallStream,
)
from testbed.fault_proxy.faults import Fault, StreamFault

STREAMS = ("services", "networkpolicies", "endpointslices", "pods", "nodeportaccesspolicies")
WRITES = frozenset({"patch", "delete"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """``times`` None lasts until the next quiet; streams that run are struck once."""

    fault: Fault
    verbs: Set[str] = WRITES
    resources: Set[str] = frozenset()
    times: int | None = None

    def befall(self, proxy: FaultProxy, until: contextlib.ExitStack) -> Injected[Fault]:
        """Put it there, to be taken away with ``until``."""
        injected = proxy.inject(self.fault, verbs=self.verbs, resources=self.resources, times=self.times)
        if isinstance(self.fault, StreamFault):
            injected.remove()
        else:
            until.enter_context(injected)
        return injected


def _for_streams(words: str, fault: Fault) -> dict[str, Trouble]:
    return {
        words.format(stream): Trouble(fault=fault, verbs=frozenset({"watch"}), resources=frozenset({stream}))
        for stream in STREAMS
    }


MODIFIED = (
    "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version"
)

WITH_WATCHES: Mapping[str, Trouble] = {
    **_for_streams("the watch of {} breaks", CutStream()),
    **_for_streams("the watch of {} ends", EndStream()),
    **_for_streams("the version that the watch of {} has seen is too old", ErrorEvent()),
    **_for_streams("nothing comes any more on the watch of {}", StallStream()),
    **_for_streams("everything comes twice on the watch of {}", DuplicateEvents()),
    "three lists fail": Trouble(fault=Answer(code=503), verbs=frozenset({"list"}), times=3),
}
WITH_WRITES: Mapping[str, Trouble] = {
    "three writes are carried out, and their answers are lost": Trouble(fault=LoseAnswer(), times=3),
    "three answers to writes break off": Trouble(fault=HalfAnswer(), times=3),
    "three writes never arrive": Trouble(fault=CloseConnection(), times=3),
    "five writes are answered with 500": Trouble(fault=Answer(code=500), times=5),
    "three writes are answered with 503": Trouble(fault=Answer(code=503), times=3),
    "two writes have to wait": Trouble(fault=Answer(code=429, retry_after=1), times=2),
    "three writes conflict": Trouble(fault=Answer(code=409, message=MODIFIED), times=3),
    "writes take their time": Trouble(fault=Latency(seconds=0.1)),
}
TROUBLES = {**WITH_WATCHES, **WITH_WRITES}
