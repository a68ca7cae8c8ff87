"""The report of a first-light run: the pictures of He et al. 2026, Fig. 3b-f and 4b-d, from this chip."""

from typing import Any

import numpy as np

from chipctl.mapping import ArrayTarget
from chipctl.runs import figures
from chipctl.runs.record import RunRecord
from chipctl.runs.report import Fact, Figure, Report, Section, Table, provenance_section
from chipctl.studies.first_light import ArrayResult, FirstLight, FirstLightResult, MemoryResult


def first_light_report(result: FirstLightResult, summary: dict[str, Any], record: RunRecord) -> Report:
    """The report of a run; `summary` is what the command prints for machines."""
    return Report(
        title="Ten digits on one chip",
        subtitle=_subtitle(result.options),
        facts=_facts(result, summary),
        sections=[
            _overview(result, summary),
            _faults(result),
            *(_memory(memory) for memory in result.memories),
            provenance_section(record),
        ],
    )


def _subtitle(options: FirstLight) -> str:
    return (
        f"Fault scan, training around the faults ({options.rule} rule, {options.hidden} hidden units), "
        f"write-and-verify, recall from {options.flip_probability:.0%} flipped pixels."
    )


def _facts(result: FirstLightResult, summary: dict[str, Any]) -> list[Fact]:
    facts = []
    for memory in result.memories:
        remark = f"worst digit {memory.score.worst_digit:.4f}"
        facts.append(Fact(f"mean cosine, {memory.name}", f"{memory.score.mean:.4f}", remark, memory.recalls))
    rows = summary["programming"]
    devices = sum(row["devices"] for row in rows)
    verified = sum(row["converged"] for row in rows) / devices
    pulses = sum(row["pulses_mean"] * row["devices"] for row in rows) / devices
    tolerance = result.options.schedule.tolerance * 1e6
    held = all(outcome.holds for memory in result.memories for outcome in memory.arrays.values())
    name = f"verified within ±{tolerance:g} µS"
    facts.append(Fact(name, f"{verified:.1%}", f"of {devices} devices", held))
    facts.append(Fact("pulses a device", f"{pulses:.1f}"))
    return facts


def _overview(result: FirstLightResult, summary: dict[str, Any]) -> Section:
    rows = []
    for memory, facts in zip(result.memories, summary["memories"], strict=True):
        controls = (facts["control_unprogrammed"], facts["control_open_loop"])
        row = [memory.name, f"{facts['cosine_mean']:.4f}", f"{facts['cosine_min']:.4f}"]
        row += [f"{facts['exactly_recalled']} of {facts['recalls']}", str(facts["iterations_max"])]
        rows.append(row + ["not run" if c is None else f"{c:.3f}" for c in controls])
    columns = (
        "memory",
        "mean cosine",
        "worst digit",
        "exact",
        "most iterations",
        "unprogrammed",
        "open loop",
    )
    bars = {memory.name: _conditions(memory) for memory in result.memories}
    return Section(
        "Recall",
        "Each digit was recalled from independently corrupted copies. Two controls use the same cues on "
        "the same chip: with programming skipped, and with a single open-loop pulse per device.",
        Table(columns, rows),
        [Figure("Mean cosine of the ten digits; a dot is the worst digit.", figures.memory_bars(bars))],
    )


def _conditions(memory: MemoryResult) -> dict[str, Any]:
    conditions = {"write-and-verify": memory.score}
    if memory.open_loop:
        conditions["one open-loop pulse"] = memory.open_loop
    if memory.unprogrammed:
        conditions["programming skipped"] = memory.unprogrammed
    return {name: score.cosines.mean(axis=1) for name, score in conditions.items()}


def _faults(result: FirstLightResult) -> Section:
    kinds = np.array([scan.faults.kinds for scan in result.scans.values()])
    rows = [
        [array, *(int(np.count_nonzero(scan.faults.kinds == kind)) for kind in (1, 2, 3))]
        for array, scan in result.scans.items()
    ]
    return Section(
        "Faults found",
        "Every device was pulsed both ways and read; the ones named did not move. Training keeps the values "
        "they are stuck at as constants and lets their neighbours make up for them.",
        Table(("array", "stuck low", "stuck high", "stuck between"), rows),
        [Figure("Where the stuck devices are.", figures.fault_map(kinds, list(result.scans)))],
    )


def _memory(memory: MemoryResult) -> Section:
    outcomes = list(memory.arrays.values())
    target = np.array([_shown(o.planned.target, o.planned) for o in outcomes])
    readback = np.array([_shown(o.readback, o.planned) for o in outcomes])
    stuck = np.array([o.planned.used & ~o.planned.mask for o in outcomes])
    errors = np.concatenate([o.errors for o in outcomes])
    names = ", ".join(f"array {array}" for array in memory.arrays)
    return Section(
        f"Memory {memory.name}",
        f"On {names}. Differential pairs of neighbouring columns hold the signed weights.",
        Table(
            ("array", "devices", "verified", "error", "pulses a device", "reads a device"),
            [_array_row(array, outcome) for array, outcome in memory.arrays.items()],
        ),
        [
            Figure(
                "Target and readback conductance, and their difference; marked devices are stuck.",
                figures.conductance_maps(target, readback, stuck, list(memory.arrays)),
            ),
            Figure(
                "Programming error of all devices, read once after programming.",
                figures.error_histogram(errors),
            ),
            Figure(
                "First corrupted copy of each digit, what was recalled, and what is stored.",
                figures.digits(memory.cues[:, 0], memory.recall.final[:, 0], memory.patterns),
            ),
            Figure("Energy and cosine against iteration, first copy of each digit.", _traces(memory)),
        ],
    )


def _array_row(array: int, outcome: ArrayResult) -> list[object]:
    report, mask = outcome.report, outcome.planned.mask
    return [
        array,
        report.devices,
        f"{report.verified[mask].mean():.1%}",
        f"{outcome.errors.mean() * 1e6:+.2f} ± {outcome.errors.std() * 1e6:.2f} µS",
        f"{report.pulses[mask].mean():.1f}",
        f"{report.reads / report.devices:.1f}",
    ]


def _shown(conductance: Any, planned: ArrayTarget) -> Any:
    return np.where(planned.used, conductance, np.nan)


def _traces(memory: MemoryResult) -> Any:
    states = memory.recall.states[:, :, 0]
    cosines = np.mean(states * memory.patterns[None], axis=-1, dtype=np.float64)
    energies = memory.recall.energies[:, :, 0]
    return figures.energy_and_cosine([*energies.T], [*np.atleast_2d(cosines).T])
