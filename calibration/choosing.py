"""Which procedures a command was asked for."""

from collections.abc import Collection


def known_names(names: list[str], known: Collection[str], *, everything: bool, purpose: str) -> list[str]:
    """`names`, or all that are known with `everything`.

    Raises:
        ValueError: A name is unknown, or none is given.
    """
    listed = ", ".join(known)
    if everything:
        return list(known)
    if not names:
        raise ValueError(f"name what to {purpose} ({listed}), or say --all")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"there is no procedure {unknown[0]!r}; there are {listed}")
    return names
