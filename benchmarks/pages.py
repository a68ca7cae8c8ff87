"""Tables on the pages of `docs`, filled in from the record of a run.

A row belongs to the result that its first cell names; its other cells are found by their headings,
and those nobody measures are left alone. The line that begins with "Measured" tells when and on what.
"""

import re
from pathlib import Path
from statistics import pstdev
from typing import Any

from benchmarks.measure import Scale

PAGES = {
    "chip": "benchmarks.md",
    "acceptance": "acceptance.md",
    "memory": "memory.md",
    "programming": "programming-measured.md",
}
"""Page of each subject in `docs`."""

FRESH = "-fresh"
"""Ends the name of a record that was taken with seeds of the day."""

_VERDICTS = {True: "yes", False: "**no**", None: "not measured"}

Result = dict[str, Any]


def record_name(subject: str, scale: Scale, seed: int | None) -> str:
    """Name of the file in `benchmarks/results` that a run is kept in."""
    return f"{subject}-{scale}{'' if seed is None else FRESH}.json"


def refreshed(text: str, record: dict[str, Any], *, fresh: bool = False) -> str:
    """The page with the record's values in its tables; of fresh seeds, only in the column for them.

    Raises ValueError where the page has no row for a result, as it would then not be told.
    """
    results = {result["name"]: result for result in record["results"]}
    cells_of = _fresh_cells if fresh else _cells
    lines, headings, missing = [], list[str](), set(results)
    for line in text.split("\n"):
        row = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if row and row[0] in results:
            missing.discard(row[0])
            new = cells_of(results[row[0]])
            row = [new.get(head, cell) for head, cell in zip(headings, row, strict=True)]
            line = f"| {' | '.join(row)} |"
        elif row and not set(row[0]) <= set("-"):
            headings = row
        elif not fresh and re.match(r"Measured \d{4}-", line):
            line = _circumstances(record)
        lines.append(line)
    if missing:
        raise ValueError(f"the page has no row for {', '.join(sorted(missing))}")
    return "\n".join(lines)


def _cells(result: Result) -> Result:
    value, bound = _value(result), _bound(result["bound"])
    verdict = _VERDICTS[result["holds"]] if bound or result["holds"] is None else ""
    return {
        "value": value,
        "measured": value,
        "bound": bound,
        "band": bound,
        "holds": verdict,
        "in band": verdict,
    }


def _fresh_cells(result: Result) -> Result:
    return {"fresh chips": _value(result) + (" (outside)" if result["holds"] is False else "")}


def _value(result: Result) -> str:
    if result["value"] is None:
        return f"– {result['unit']}"
    spread = f" ± {pstdev(result['values']):.2g}" if "values" in result else ""
    return f"{result['value']:.3g}{spread} {result['unit']}".strip()


def _bound(bound: str) -> str:
    return "" if bound == "none" else bound.replace("<=", "≤").replace(">=", "≥").replace(" to ", " … ")


def _circumstances(record: dict[str, Any]) -> str:
    on = dict(record["on"])
    machine = f"{on.pop('processor')}, {on.pop('cores')} cores, {on.pop('system')}"
    versions = ", ".join(f"{name} {version}" for name, version in on.items())
    return f"Measured {record['measured'][:10]} on {machine}; {versions}."


def refresh(docs: Path, name: str, record: dict[str, Any]) -> None:
    """Bring the page that shows a record of that file name up to date; others have none."""
    subject, _, rest = name.partition("-")
    if subject not in PAGES or not rest.startswith(Scale.FULL):
        return
    page = docs / PAGES[subject]
    text = refreshed(page.read_text(encoding="utf-8"), record, fresh=FRESH in rest)
    page.write_text(text, encoding="utf-8")
