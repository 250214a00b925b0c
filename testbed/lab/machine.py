"""What a machine must have for the lab, and in one sentence what is missing.

Not its business: the programs that are built with Go (`testbed.programs`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

_PACKAGES = {  # program: Debian's package
    "ip": "iproute2",
    "iptables-restore": "iptables",
    "ip6tables-restore": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "haproxy": "haproxy",
}

# In namespaces of its own, so that nothing is left of the attempt.
_ATTEMPT = """
set -e
nft add table inet attempt
for family in iptables ip6tables; do
    $family-restore --noflush <<END
*mangle
-A FORWARD -p tcp -m conntrack --ctstate NEW -j NFQUEUE --queue-num 100
COMMIT
END
done
"""


def missing() -> str | None:
    """Why this machine cannot run the lab, with what to do about it; None if it can."""
    if not sys.platform.startswith("linux"):
        return "the dataplane lab needs Linux"
    if os.geteuid() != 0:
        return "the dataplane lab needs root, for network namespaces: run it with sudo, or in a virtual machine"
    if absent := [program for program in _PACKAGES if shutil.which(program) is None]:
        packages = " ".join(dict.fromkeys(_PACKAGES[program] for program in absent))
        return f"the dataplane lab needs {', '.join(absent)}: apt-get install {packages}"
    attempt = subprocess.run(["unshare", "--net", "sh", "-c", _ATTEMPT], capture_output=True, text=True)
    if attempt.returncode != 0:
        return f"this kernel cannot do what the dataplane lab needs: {attempt.stderr.strip().splitlines()[-1]}"
    return None
