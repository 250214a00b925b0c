"""The objects that bear on access, from files or from a cluster, and what the operator would make of them.

``read`` and ``fetch`` give an Inventory, ``overlay`` lays one over another, ``converged`` carries the operator's own
plan out on one, ``store`` and ``judged`` are the operator's own view of it. Modules: ``documents`` and ``origins`` read
YAML with its lines, ``checking`` and ``completing`` make whole objects of it, ``settling`` adds what follows from them,
``endpoints`` plays the EndpointSlice controller. Not its business: who gets in (``evaluate``), and how anything is
shown.
"""

from __future__ import annotations

from nodeport_access.inventory.cluster import ClusterError, fetch
from nodeport_access.inventory.converging import Converged, converged, judged, store
from nodeport_access.inventory.files import read
from nodeport_access.inventory.items import RESOURCES, Inventory, Item, ObjectKey, invented_uid
from nodeport_access.inventory.origins import InputError, InventoryError, Origin
from nodeport_access.inventory.overlaying import overlay, succeeding

__all__ = [
    "RESOURCES",
    "ClusterError",
    "Converged",
    "InputError",
    "Inventory",
    "InventoryError",
    "Item",
    "ObjectKey",
    "Origin",
    "converged",
    "fetch",
    "invented_uid",
    "judged",
    "overlay",
    "read",
    "store",
    "succeeding",
]
