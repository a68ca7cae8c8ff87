"""The report of a characterisation: a figure per procedure and its numbers beside the published ones."""

from calibration.bench import Finding
from calibration.characterize import Procedure
from chipctl.runs.record import RunRecord
from chipctl.runs.report import Fact, Figure, Report, Section, Table, provenance_section

Found = list[tuple[Procedure, Finding]]

_COLUMNS = ("", "measured", "published", "accepted")


def characterize_report(found: Found, array: int, record: RunRecord, *, complete: bool) -> Report:
    """What was found so far; `complete` once no procedure is left."""
    state = "" if complete else " Not all procedures were run to their end."
    return Report(
        title="Characterisation of a chip",
        subtitle=f"Array {array}, measured as the published chips were, beside their numbers.{state}",
        facts=[_fact(procedure, finding) for procedure, finding in found],
        sections=[
            *(_section(procedure, finding) for procedure, finding in found),
            provenance_section(record),
        ],
    )


def _fact(procedure: Procedure, finding: Finding) -> Fact:
    judged = [comparison for comparison in finding.comparisons if comparison.holds is not None]
    met = sum(1 for comparison in judged if comparison.holds)
    return Fact(procedure.title, f"{met} of {len(judged)}", "accepted", met == len(judged))


def _section(procedure: Procedure, finding: Finding) -> Section:
    rows = [
        (c.name, c.shown, c.published_shown, _accepted(c.accepted_shown, c.holds))
        for c in finding.comparisons
    ]
    return Section(
        f"{procedure.title}: {procedure.source}",
        procedure.method,
        Table(_COLUMNS, rows),
        [Figure(f"{procedure.title}, after {procedure.source}.", finding.draw())],
    )


def _accepted(text: str, holds: bool | None) -> str:
    return text if holds is None else f"{'✓' if holds else '✗'} {text}"
