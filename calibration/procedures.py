"""The calibration procedures there are, in the order in which they are run."""

from calibration.procedure import Procedure

_ALL: tuple[Procedure, ...] = ()

PROCEDURES: dict[str, Procedure] = {procedure.name: procedure for procedure in _ALL}


def in_order(names: list[str], *, everything: bool = False) -> list[Procedure]:
    """The procedures of these names in the order in which they build on each other.

    Raises:
        ValueError: A name is unknown, or none is given.
    """
    known = ", ".join(PROCEDURES)
    if everything:
        names = list(PROCEDURES)
    if not names:
        raise ValueError(f"name what to calibrate ({known}), or say --all")
    unknown = [name for name in names if name not in PROCEDURES]
    if unknown:
        raise ValueError(f"there is no procedure {unknown[0]!r}; there are {known}")
    return [procedure for name, procedure in PROCEDURES.items() if name in names]
