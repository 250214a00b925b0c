"""Parts of a page that are made from the code, between markers in prose that is not.

Not its business: what the parts say (`docs.lab_page`, `docs.oracles_page`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial


def filled(page: str, parts: Mapping[str, str], *, name: str) -> str:
    """The page of this name with the parts between its markers made anew. Raises ValueError where one is missing."""
    for part, content in parts.items():
        pattern = rf"(<!-- {part}: made by `make docs` -->\n).*?(<!-- end of {part} -->)"
        page, count = re.subn(pattern, partial(_between, f"\n{content}\n"), page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"{name} has no place for the {part}")
    return page


def _between(content: str, markers: re.Match[str]) -> str:
    return markers[1] + content + markers[2]
