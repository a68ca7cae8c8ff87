"""All studies by name: chipctl's own, and those that other packages declare."""

from importlib.metadata import entry_points

from chipctl.studies import continuous, cost, layered, on_chip, single_layer, variation
from chipctl.studies.study import Study

GROUP = "chipctl.studies"
"""Entry points: each a sequence of studies."""


def studies() -> dict[str, Study]:
    """By name, in the order of the paper."""
    rooms = (on_chip, single_layer, layered, continuous, variation, cost)
    own = [study for room in rooms for study in room.STUDIES]
    declared = [study for point in entry_points(group=GROUP) for study in point.load()]
    return {study.name: study for study in sorted((*own, *declared), key=lambda study: study.name)}


def chosen(names: list[str], *, everything: bool = False) -> list[Study]:
    """The studies of these names in the order of the paper.

    Raises:
        ValueError: A name is unknown, or none is given.
    """
    known = studies()
    if everything:
        return list(known.values())
    listed = ", ".join(known)
    if not names:
        raise ValueError(f"name a study ({listed}), or say --all")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"there is no study {unknown[0]!r}; there are {listed}")
    return [study for name, study in known.items() if name in names]
