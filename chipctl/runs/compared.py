"""Two runs side by side: what was done otherwise, and what came out."""

import re
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from chipctl.runs.store import Run

_DONE_OTHERWISE: Final = (
    "kind",
    "outcome",
    "chip",
    "seeds",
    "policy",
    "profile_sha256",
    "operator",
    "python",
    "packages",
    "source_revision",
)
"""Parts of a record that say how something was done."""

Pair = tuple[object, object]


@dataclass(frozen=True)
class ArrayPair:
    """One array that both runs hold, in its own unit; differences are second less first.

    Of runs of one array of the chip each, but not the same one, the name has both: `programming/array0,1`.
    """

    name: str
    unit: str
    means: tuple[float, float]
    sigmas: tuple[float, float]
    difference_mean: float
    difference_sigma: float

    def facts(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """What two runs share and where they differ; None where one has no such entry."""

    different: dict[str, Pair]
    """Entries of the records that differ, by their path."""
    summary: dict[str, Pair]
    """All figures of both."""
    arrays: list[ArrayPair]
    only_in_one: list[str]
    """Arrays that one of them lacks or holds in another shape."""


def compare(first: Run, second: Run) -> Comparison:
    """Set two runs side by side."""
    records = [run.record.model_dump(mode="json") for run in (first, second)]
    ways = [_flat({name: record[name] for name in _DONE_OTHERWISE}) for record in records]
    summaries = [_flat(record["summary"]) for record in records]
    arrays, odd = _arrays(first, second)
    different = {name: pair for name, pair in _paired(*ways).items() if pair[0] != pair[1]}
    return Comparison(different, _paired(*summaries), arrays, odd)


def _paired(first: dict[str, object], second: dict[str, object]) -> dict[str, Pair]:
    return {name: (first.get(name), second.get(name)) for name in dict.fromkeys([*first, *second])}


def _flat(tree: object, path: str = "") -> dict[str, object]:
    """Leaves by their path, `policy.programming.reads`."""
    if isinstance(tree, dict):
        branches = tree.items()
    elif isinstance(tree, list) and any(isinstance(item, dict) for item in tree):
        branches = {str(index): item for index, item in enumerate(tree)}.items()
    else:
        return {path: tree}
    return {
        name: leaf
        for key, branch in branches
        for name, leaf in _flat(branch, f"{path}.{key}" if path else str(key)).items()
    }


_INDEXED: Final = re.compile(r"(?<=/array)\d+$")
"""The array of the chip that a group is about."""


def _arrays(first: Run, second: Run) -> tuple[list[ArrayPair], list[str]]:
    runs = first, second
    about = [{int(i) for group in run.groups() for i in _INDEXED.findall(group)} for run in runs]
    index = None
    if about[0] != about[1] and all(len(indices) == 1 for indices in about):
        index = ",".join(str(i) for indices in about for i in indices)
    held = [_held(run, index) for run in runs]
    pairs, odd = [], []
    for name in dict.fromkeys([*held[0], *held[1]]):
        if all(name in arrays for arrays in held) and held[0][name][0].shape == held[1][name][0].shape:
            pairs.append(_pair(name, held[0][name], held[1][name]))
        else:
            odd.append(name)
    return pairs, odd


def _held(run: Run, index: str | None) -> dict[str, tuple[Any, str]]:
    """All arrays of a run by group and name; with `index` in place of the number of the chip's array."""
    return {
        f"{group if index is None else _INDEXED.sub(index, group)}/{name}": found
        for group in run.groups()
        for name, found in run.load(group).items()
    }


def _pair(name: str, first: tuple[Any, str], second: tuple[Any, str]) -> ArrayPair:
    """Figures over the elements that are numbers in both."""
    a, b = (np.asarray(values, np.float64) for values, _ in (first, second))
    known = np.isfinite(a) & np.isfinite(b)
    a, b = (a[known], b[known]) if known.any() else (np.zeros(1), np.zeros(1))
    return ArrayPair(
        name=name,
        unit=first[1],
        means=(float(a.mean()), float(b.mean())),
        sigmas=(float(a.std()), float(b.std())),
        difference_mean=float((b - a).mean()),
        difference_sigma=float((b - a).std()),
    )
