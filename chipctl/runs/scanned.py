"""A fault scan in the run store: its arrays, its figures in numbers, its report."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from chipctl.fault_map import FaultChanges, FaultKind, FaultMap, fault_changes
from chipctl.faults import ScanReport
from chipctl.profile import ArrayProfile, ChipProfile
from chipctl.runs import figures
from chipctl.runs.report import Fact, Figure, Report, Section, Table, provenance_section
from chipctl.runs.store import Run

KIND = "scan"


@dataclass(frozen=True)
class ScannedArray:
    """What a scan found on one array, beside what the scan before it had found."""

    report: ScanReport
    earlier: datetime | None
    """When the scan before was; None if the profile knows of none."""
    changes: FaultChanges | None

    @classmethod
    def beside(cls, report: ScanReport, before: ArrayProfile) -> "ScannedArray":
        """Compare with what the profile held before the scan."""
        shape = report.faults.kinds.shape
        if before.scanned is None:
            return cls(report, None, None)
        return cls(report, before.scanned, fault_changes(before.fault_map(*shape), report.faults))

    @property
    def stuck_share(self) -> float:
        """Of the devices that can be reached."""
        reached = ~self.report.faults.on_dead_line
        return float(self.report.faults.stuck[reached].mean()) if reached.any() else 0.0

    @property
    def new_lines(self) -> int:
        """Dead lines that no earlier scan has found."""
        return len(self.report.faults.lines if self.changes is None else self.changes.new_lines)

    def summary(self) -> dict[str, Any]:
        """What was found and what it cost, for machines; siemens."""
        report, faults = self.report, self.report.faults
        changes = {
            "since": self.earlier.isoformat() if self.earlier else None,
            **(self.changes.counts() if self.changes else {}),
        }
        return {
            "array": report.array,
            "devices": int(faults.kinds.size),
            "counts": faults.counts(),
            "changes": changes,
            "pulses": report.pulses,
            "pulses_per_healthy_device": report.pulses_per_healthy,
            "reads": report.reads,
            "lines": [{"kind": line.kind.value, "lines": list(line.lines)} for line in faults.lines],
            "stuck": _stuck(faults),
        }


def _stuck(faults: FaultMap) -> list[dict[str, Any]]:
    named = faults.stuck & ~faults.on_dead_line
    return [
        {
            "row": int(row),
            "col": int(col),
            "kind": FaultKind(faults.kinds[row, col]).name.lower(),
            "siemens": float(faults.conductance[row, col]),
            "uncertainty": float(faults.uncertainty[row, col]),
        }
        for row, col in np.argwhere(named)
    ]


def keep(run: Run, report: ScanReport) -> None:
    """Add the arrays of a scan to the data of a run."""
    faults = report.faults
    run.save(
        f"scan/array{report.array}",
        kinds=(faults.kinds, "1"),
        stuck=(faults.conductance, "S"),
        uncertainty=(faults.uncertainty, "S"),
        noisy=(faults.noisy, "1"),
        slow=(faults.slow, "1"),
        scatter=(report.scatter, "S"),
        final=(report.final, "S"),
        pulses=(report.pulse_counts, "1"),
    )


def scan_page(run: Run, profile: ChipProfile, scanned: Sequence[ScannedArray]) -> str:
    """The report of a scan as an HTML page."""
    faults = [one.report.faults for one in scanned]
    healthy = sum(int(np.count_nonzero(~one.stuck)) for one in faults)
    pulses = sum(int(one.report.pulse_counts[~one.report.faults.stuck].sum()) for one in scanned)
    stuck = sum(int(np.count_nonzero(one.stuck & ~one.on_dead_line)) for one in faults)
    facts = [
        Fact("stuck devices", str(stuck), f"of {sum(one.kinds.size for one in faults)}"),
        Fact("dead lines", str(sum(len(one.lines) for one in faults))),
        Fact("pulses a healthy device", f"{pulses / max(healthy, 1):.2f}"),
    ]
    sections = [_found(scanned), *_changed(scanned), _values(scanned), provenance_section(run.record)]
    return Report("Fault scan", f"Chip {profile.serial}.", facts, sections).render()


def _found(scanned: Sequence[ScannedArray]) -> Section:
    reports = [one.report for one in scanned]
    rows = [
        [report.array, *report.faults.counts().values(), f"{report.pulses_per_healthy:.2f}"]
        for report in reports
    ]
    columns = (
        "array",
        *(name.replace("_", " ") for name in reports[0].faults.counts()),
        "pulses a healthy device",
    )
    lines = [f"Array {r.array}: dead {line}." for r in reports for line in r.faults.lines]
    text = (
        "A device is stuck that no pulse moved. Noisy ones scatter from read to read, slow ones moved only "
        "at high voltages; they follow pulses unless they are stuck too."
    )
    kinds = np.array([report.faults.kinds for report in reports])
    rings = {name: np.array([getattr(r.faults, name) for r in reports]) for name in ("noisy", "slow")}
    picture = figures.fault_map(kinds, [report.array for report in reports], rings)
    return Section(
        "Faults found",
        "\n\n".join([text, *lines]),
        Table(columns, rows),
        [Figure("Where they are.", picture)],
    )


def _changed(scanned: Sequence[ScannedArray]) -> list[Section]:
    known = [(one.report, one.earlier, one.changes) for one in scanned if one.changes and one.earlier]
    if not known:
        return []
    rows = [
        [report.array, f"{when:%Y-%m-%d %H:%M}", *changes.counts().values()]
        for report, when, changes in known
    ]
    columns = ("array", "scan before, UTC", *(name.replace("_", " ") for name in known[0][2].counts()))
    kinds = np.array([report.faults.kinds for report, _, _ in known])
    names = ("new", "healed", "changed")
    rings = {name: np.array([getattr(changes, name) for _, _, changes in known]) for name in names}
    picture = figures.fault_map(kinds, [report.array for report, _, _ in known], rings)
    text = "A value has changed where it differs by more than three standard uncertainties of the difference."
    return [
        Section("Since the scan before", text, Table(columns, rows), [Figure("What has changed.", picture)])
    ]


def _values(scanned: Sequence[ScannedArray]) -> Section:
    columns = ("array, row, column", "kind", "shows", "standard uncertainty")
    rows = [
        [
            f"{one.report.array}, {device['row']}, {device['col']}",
            device["kind"].replace("_", " "),
            f"{device['siemens'] * 1e6:.2f} µS",
            f"{device['uncertainty'] * 1e6:.2f} µS",
        ]
        for one in scanned
        for device in _stuck(one.report.faults)
    ]
    return Section("Stuck devices", "As read at the read voltage.", Table(columns, rows))
