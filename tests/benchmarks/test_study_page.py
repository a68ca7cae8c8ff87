"""The tables of docs/studies.md are those of the records beside it."""

import pytest

from benchmarks.study_page import BEGIN, PAGE, results, with_results
from chipctl.studies.catalogue import studies
from chipctl.studies.study import Asked

ROW = {
    "quantity": "half stuck",
    "unit": "patterns",
    "published": 115,
    "prototype": None,
    "here": 113.49,
    "spread": 3.51,
    "asked": "≥ 105",
    "holds": True,
}
RESULT = {
    "name": "3j",
    "title": "Capacity",
    "scale": "full",
    "verdict": "falls short",
    "seeds": [0, 1],
    "cpu_seconds": 90.0,
    "measured": "2026-11-22",
    "rows": [ROW, ROW | {"published": "fails", "here": None, "spread": None, "holds": False}],
    "versions": {"python": "CPython 3.11", "numpy": "2.4.6"},
    "source": "0123456789abcdef",
}


def test_the_page_shows_the_records():
    assert PAGE.read_text(encoding="utf-8") == with_results(PAGE.read_text("utf-8"), results()) + "\n"


@pytest.mark.parametrize("result", results(), ids=lambda result: result["name"])
def test_the_records_are_of_the_studies_as_they_are(result):
    claims = studies()[result["name"]].claims(Asked(result["scale"]))
    assert [(row["quantity"], row["asked"]) for row in result["rows"]] == [
        (claim.quantity, str(claim.band)) for claim in claims
    ]


def test_each_result_has_a_line_and_a_table():
    page = with_results(f"Words.\n\n{BEGIN}\nstale", [RESULT])
    assert page.startswith("Words.")
    assert "stale" not in page
    assert "| [3j](#3j-capacity) | full | **falls short** | 2 | 1.5 min | 2026-11-22 |" in page
    assert "| half stuck | 115 |  | 113.5 ± 3.5 patterns | ≥ 105 | yes |" in page
    assert "| half stuck | fails |  | – | ≥ 105 | **no** |" in page


def test_a_page_without_the_mark_is_refused():
    with pytest.raises(ValueError, match="has no line"):
        with_results("Words.", [])
