"""The tables in the docs say what the records say."""

import json
from pathlib import Path

import pytest

from benchmarks import pages

ROOT = Path(__file__).parents[2]
RECORDS = [
    p
    for p in sorted((ROOT / "benchmarks" / "results").glob("*-full*.json"))
    if p.stem.split("-")[0] in pages.PAGES
]
PAGE = """\
Measured 2020-01-01

| what | value | bound | holds | note |
|---|---|---|---|---|
| a | 1 µs | ≤ 4 | yes | kept |
"""


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_the_pages_show_what_was_recorded(path):
    page = (ROOT / "docs" / pages.PAGES[path.stem.split("-")[0]]).read_text(encoding="utf-8")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert pages.refreshed(page, record, fresh=pages.FRESH in path.stem) == page


def record(name):
    on = {"processor": "p", "cores": "2", "system": "s", "python": "3"}
    result = {"name": name, "value": 5.0, "unit": "µs", "bound": "<= 4", "holds": False}
    return {"measured": "2026-01-02T", "on": on, "results": [result]}


def test_a_row_takes_what_was_measured_and_keeps_the_rest():
    assert "| a | 5 µs | ≤ 4 | **no** | kept |" in pages.refreshed(PAGE, record("a"))
    assert "Measured 2026-01-02 on p, 2 cores, s; python 3." in pages.refreshed(PAGE, record("a"))


def test_a_result_without_a_row_is_told():
    with pytest.raises(ValueError, match="no row for b"):
        pages.refreshed(PAGE, record("b"))
