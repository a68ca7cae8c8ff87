"""The page on the virtual chip names every parameter as the code has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sim_chip.parameters import Known, Spread, Within, evidence, records

PAGE = Path(__file__).parents[2] / "docs" / "virtual-chip.md"


def default(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{part:g}" for part in value)
    if isinstance(value, Spread):
        return f"{value.nominal:g} ± {value.sigma:g}"
    return "none" if value is None else f"{value:g}"


def row(name: str, value: Any, known: Within) -> str:
    spread = f"{known.spread:g}" if known.spread else ""
    within = f"{known.low:g} to {known.high:g}"
    return f"| {name} | {default(value)} | {known.unit} | {within} | {spread} | {known.source} |"


def table(kind: type[Known]) -> list[str]:
    record = kind()
    return [row(name, getattr(record, name), known) for name, known in evidence(kind).items()]


def test_the_page_has_every_parameter() -> None:
    text = PAGE.read_text(encoding="utf-8")
    missing = [line for kind in records() for line in table(kind) if line not in text]
    assert not missing
