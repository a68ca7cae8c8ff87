"""Tables of docs/studies.md from the results kept in docs/studies: `python -m benchmarks.study_page`."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE, RESULTS = ROOT / "docs" / "studies.md", ROOT / "docs" / "studies"
BEGIN = "<!-- results: written by python -m benchmarks.study_page from docs/studies -->"

_VERDICTS = {True: "yes", False: "**no**", None: ""}

Result = dict[str, Any]


def results(folder: Path = RESULTS) -> list[Result]:
    """The last full result of each study, the quick one where there is none, in the order of the paper."""
    paths = [*folder.glob("*-quick.json"), *folder.glob("*-full.json")]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    of_study = {result["name"]: result for result in found}
    return [of_study[name] for name in sorted(of_study)]


def with_results(page: str, found: list[Result]) -> str:
    """The page with everything after its mark written anew."""
    before, mark, _ = page.partition(BEGIN)
    if not mark:
        raise ValueError(f"{PAGE.name} has no line {BEGIN}")
    return "\n".join([before + BEGIN, "", *_summary(found), *(line for one in found for line in _table(one))])


def _summary(found: list[Result]) -> list[str]:
    lines = ["| study | scale | verdict | seeds | CPU time | measured |", "|---|---|---|---|---|---|"]
    for one in found:
        verdict = one["verdict"] if one["verdict"] == "holds" else f"**{one['verdict']}**"
        cells = (
            f"[{one['name']}](#{_anchor(one)})",
            one["scale"],
            verdict,
            len(one["seeds"]),
            _time(one["cpu_seconds"]),
            one["measured"],
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def _table(one: Result) -> list[str]:
    lines = ["", f"### {_heading(one)}", ""]
    lines += ["| quantity | published | prototype | here | asked | holds |", "|---|---|---|---|---|---|"]
    for row in one["rows"]:
        cells = [row["quantity"], _said(row["published"]), _said(row["prototype"]), _here(row)]
        lines.append(f"| {' | '.join([*cells, row['asked'], _VERDICTS[row['holds']]])} |")
    versions = one["versions"]
    named = ", ".join(f"{name} {versions[name]}" for name in ("numpy", "chipctl") if name in versions)
    lines += ["", f"{one['measured']}, {versions['python']}, {named}, source {(one['source'] or '')[:10]}."]
    return lines


def _heading(one: Result) -> str:
    return f"{one['name']}: {one['title']}"


def _anchor(one: Result) -> str:
    kept = "".join(c for c in _heading(one).lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _here(row: Result) -> str:
    if row["here"] is None:
        return "–"
    spread = "" if row["spread"] is None else f" ± {row['spread']:.2g}"
    return f"{row['here']:.4g}{spread} {row['unit']}".strip()


def _said(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:g}"


def _time(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


if __name__ == "__main__":
    PAGE.write_text(with_results(PAGE.read_text(encoding="utf-8"), results()) + "\n", encoding="utf-8")
