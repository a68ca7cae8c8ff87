"""The report of a programmed array: what was wanted, what was reached, and what it took."""

from typing import Final

import numpy as np

from chipctl.runs import figures
from chipctl.runs.programmed import Plan, Programmed
from chipctl.runs.report import Fact, Figure, Report, Section, Table, provenance_section
from chipctl.runs.store import Run
from firmware_protocol.jobs import Verdict

_MEANINGS: Final = {
    Verdict.VERIFIED: "its last verify read was within tolerance",
    Verdict.LOW: "below tolerance when programming ended",
    Verdict.HIGH: "above tolerance when programming ended",
    Verdict.GAVE_UP_LOW: "below tolerance at the highest SET voltages: stuck, or nearly so",
    Verdict.GAVE_UP_HIGH: "above tolerance at the highest RESET voltages: stuck, or nearly so",
    Verdict.SKIPPED: "no target, or in the fault map: not touched",
}


def program_page(run: Run, plan: Plan, done: Programmed) -> str:
    """The report of a run that programmed an array, as an HTML page."""
    report, errors = done.report, (done.readback - plan.target)[plan.mask] * 1e6
    reached = f"{np.mean(report.verified[plan.mask]):.1%}" if errors.size else "none"
    facts = [Fact("verified", reached, f"of {errors.size} devices")]
    if errors.size:
        facts += [
            Fact("error as read back", f"{errors.mean():+.2f} ± {errors.std():.2f} µS", "mean ± σ"),
            Fact(
                "pulses a device", f"{report.pulses[plan.mask].mean():.1f}", f"at most {report.pulses.max()}"
            ),
        ]
    if report.unplaced_pulses:
        facts.append(Fact("unplaced pulses", str(report.unplaced_pulses), "their devices are not known"))
    chip = run.record.chip
    place = f"Array {plan.array} of chip {chip.serial}." if chip else f"Array {plan.array}."
    sections = [_reached(plan, done), _took(done), provenance_section(run.record)]
    return Report("Programming", place, facts, sections).render()


def _reached(plan: Plan, done: Programmed) -> Section:
    wanted, tolerance = np.where(plan.mask, plan.target, np.nan), plan.schedule.tolerance
    text = (
        f"Each device was to be within ±{tolerance * 1e6:g} µS of its target at its last verify read; then "
        "the whole array was read once more. That reading differs by the noise of a read and by what the "
        "devices relaxed."
    )
    maps = figures.conductance_maps(wanted, done.readback, arrays=[plan.array])
    pictures = [Figure("Target, readback and their difference; grey was not programmed.", maps)]
    if plan.mask.any():
        histogram = figures.error_histogram((done.readback - wanted)[plan.mask], tolerance)
        pictures.append(Figure("Errors as read back.", histogram))
    return Section("What was reached", text, figures=pictures)


def _took(done: Programmed) -> Section:
    report = done.report
    rows = []
    for verdict, meaning in _MEANINGS.items():
        here = report.verdicts == verdict
        pulses = f"{report.pulses[here].mean():.1f}" if here.any() else ""
        rows.append([verdict.name.lower().replace("_", " "), int(here.sum()), pulses, meaning])
    columns = ("verdict", "devices", "pulses a device", "it means")
    picture = figures.pulses_and_verdicts(report.pulses, report.verdicts)
    caption = "Pulses given to each device, all interruptions included, and how it was left."
    text = f"{report.set_pulses.sum()} SET and {report.reset_pulses.sum()} RESET pulses."
    return Section("Verdicts and pulses", text, Table(columns, rows), [Figure(caption, picture)])
