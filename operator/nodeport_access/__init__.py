"""NodePort Access Operator: who may reach a NodePort Service, declared, checked and repaired.

The package holds the operator, its pure core and the command line. It is *not* a client library: other programs
talk to the API of the `NodePortAccessPolicy` resource, not to these modules.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
