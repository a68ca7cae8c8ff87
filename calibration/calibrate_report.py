"""The report of a calibration: verdicts first, then a picture and the numbers of each procedure."""

import numpy as np

from calibration.calibrate import Done
from chipctl.results import Quantity, Verdict
from chipctl.runs.record import RunRecord
from chipctl.runs.report import Fact, Figure, Report, Section, Table, provenance_section

_COLUMNS = ("", "value", "uncertainty (1 σ)", "accepted", "")


def calibration_report(done: list[Done], record: RunRecord, *, state: str) -> Report:
    """What was found so far; `state` says whether that is all."""
    sections: list[Section] = []
    for name in dict.fromkeys(item.task.procedure.name for item in done):
        sections.append(_section([item for item in done if item.task.procedure.name == name]))
    passed = sum(item.passed for item in done)
    return Report(
        title="Calibration of a chip",
        subtitle=state,
        facts=[Fact("procedures passed", f"{passed} of {len(done)}", "", passed == len(done))],
        sections=[_verdicts(done), *sections, provenance_section(record)],
    )


def verdict_of(item: Done) -> str:
    """In a word, with the reason where it is not a pass."""
    if item.result is None:
        return f"NO RESULT: {item.reason}"
    if item.result.verdict is Verdict.PASS:
        return "pass"
    word = "FAIL" if item.result.usable else "FAIL, not to be used"
    return f"{word}: {'; '.join(item.result.reasons)}"


def numbers_of(item: Done) -> list[tuple[str, str, str, str, str]]:
    """A row for each quantity: name, value, uncertainty, limits, mark."""
    if item.result is None:
        return []
    return [row_of(name, quantity) for name, quantity in item.result.values.items()]


def row_of(name: str, quantity: Quantity) -> tuple[str, str, str, str, str]:
    """Name, value, uncertainty, limits and mark of a quantity."""
    value = quantity.value[np.isfinite(quantity.value)]
    sigma = quantity.sigma[np.isfinite(quantity.sigma)]
    if not value.size:
        return name, "not measured", "", "", ""
    if quantity.value.ndim:
        low, middle, high = np.percentile(value, [0, 50, 100])
        shown = f"{middle:.4g} ({low:.4g} to {high:.4g}, {value.size} values)"
    else:
        shown = f"{float(value[0]):.5g}"
    unit = "" if quantity.unit == "1" else f" {quantity.unit}"
    error = f"{float(np.median(sigma)):.2g}{unit}" if sigma.size else "unknown"
    judged = quantity.low is not None or quantity.high is not None
    mark = ("✗" if quantity.outside else "✓") if judged else ""
    return name, shown + unit, error, _accepted(quantity) + (unit if judged else ""), mark


def _accepted(quantity: Quantity) -> str:
    low, high = quantity.low, quantity.high
    if low is not None and high is not None:
        return f"{low:.4g} to {high:.4g}"
    if high is not None:
        return f"≤ {high:.4g}"
    return "" if low is None else f"≥ {low:.4g}"


def _verdicts(done: list[Done]) -> Section:
    rows = [(item.task.name, verdict_of(item)) for item in done]
    return Section("Verdicts", "", Table(("procedure", "verdict"), rows))


def _section(items: list[Done]) -> Section:
    procedure = items[0].task.procedure
    rows = [
        ((f"array {item.task.array}, " if item.task.array is not None else "") + first, *rest)
        for item in items
        for first, *rest in numbers_of(item)
    ]
    figures = [Figure(f"{procedure.title}{_where(item)}.", item.picture) for item in items if item.picture]
    return Section(procedure.title, procedure.method, Table(_COLUMNS, rows), figures)


def _where(item: Done) -> str:
    return "" if item.task.array is None else f", array {item.task.array}"
