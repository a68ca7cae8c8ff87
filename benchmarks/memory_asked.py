"""What is asked of memories: the bounds that the studies have, and of which digits."""

import os
from functools import cache
from pathlib import Path

from benchmarks.measure import Bound
from chipctl.studies.catalogue import studies
from chipctl.studies.study import Asked, Claim


def bound_of(study: str, quantity: str) -> Bound:
    """What a study asks of one of its quantities at full scale.

    Raises ValueError where it has none of this name.
    """
    found = _claims(study).get(quantity)
    if found is None:
        raise ValueError(f"study {study} has no quantity {quantity!r}; it has {', '.join(_claims(study))}")
    return Bound(found.band.low, found.band.high)


@cache
def _claims(study: str) -> dict[str, Claim]:
    return {claim.quantity: claim for claim in studies()[study].claims(Asked("full"))}


def digits() -> Path | None:
    """The folder of idx files that MEMORY_DIGITS names; None for the bundled digits."""
    named = os.environ.get("MEMORY_DIGITS")
    return Path(named).resolve() if named else None
