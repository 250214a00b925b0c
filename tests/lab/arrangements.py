"""How the nodes may be set up: kube-proxy's mode, and where the verdict is given. A usual run takes some of six.

Not its business: setting them up (`testbed.lab.lab`).
"""

from __future__ import annotations

import pytest

from testbed.lab.policing import Placement
from testbed.lab.proxies import Mode

Arrangement = tuple[Mode, Placement]
USUAL: Arrangement = (Mode.NFTABLES, Placement.OWN_NODE)


def arranged(*usual: Arrangement) -> pytest.MarkDecorator:
    """A test takes `mode` and `placement`: the usual ones, by default USUAL alone, and all others with `--long`."""
    return pytest.mark.parametrize(
        ("mode", "placement"),
        [
            pytest.param(mode, placement, marks=[] if (mode, placement) in (usual or (USUAL,)) else [pytest.mark.long])
            for mode in Mode
            for placement in Placement
        ],
        ids=str,
        scope="module",  # all tests of a module in one arrangement before the next: setting one up takes seconds
    )
