"""Running a study into a run's folder: its answers as they come, then data, picture, table and report."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from chipctl.files import replace_file
from chipctl.memory.answers import Answers, Spread, Task, measure
from chipctl.memory.digits import load_digits
from chipctl.progress import Progress
from chipctl.runs.record import Outcome, RunRecord
from chipctl.runs.report import Fact, Figure, Report, Section, Table, provenance_section
from chipctl.runs.store import Run, list_runs
from chipctl.studies.study import Asked, Found, Result, Row, Study
from chipctl.studies.trials import with_digits

ANSWERS = "answers.jsonl"
"""File of a run's folder with each answer as it came."""

_log = structlog.get_logger()

COLUMNS = ("quantity", "published", "prototype", "here", "asked", "")
_MARKS = {True: "holds", False: "falls short", None: ""}


def begin(study: Study, asked: Asked, root: Path) -> Run:
    """The run to work in: the last one of this study under `root` that was not finished, or a new one.

    One is taken up only if it was asked for the same, of the same digits, and is of the same source; of one
    of another source a warning tells how to believe its answers.

    Raises:
        ValueError: The folder of digits holds none.
    """
    seeds = {} if asked.first_seed is None else {"study": asked.first_seed}
    policy = {
        "study": study.name,
        "scale": asked.scale,
        "first_seed": asked.first_seed,
        "seeds": asked.count or 0,
        "chip": asked.chip or "",
        "digits": _identified(asked.digits),
    }
    record = RunRecord.begin(f"study-{study.name}", seeds=seeds, policy=policy)
    for run in reversed(list_runs(root) if root.exists() else []):
        old = run.record
        if (old.kind, old.policy) != (record.kind, policy) or old.outcome is Outcome.DONE:
            continue
        if run.is_being_recorded:
            continue
        if old.source_revision == record.source_revision:
            return Run.resume(run.path)
        _log.warning("an unfinished run of another source", believe_it=f"--answers {run.path / ANSWERS}")
        break
    return Run(root, record)


def _identified(directory: Path | None) -> dict[str, str] | None:
    """Which digits these are: another folder's, or the same folder's changed, are others."""
    if directory is None:
        return None
    return {"directory": str(directory), "sha256": load_digits(directory).sha256}


def tasks_of(study: Study, asked: Asked) -> list[Task]:
    """All that the study plans to measure, of the digits that were asked for."""
    planned = study.plan(asked)
    return [with_digits(task, asked.digits) if asked.digits else task for task in planned]


def run_study(
    study: Study, asked: Asked, run: Run, spread: Spread, progress: Progress, known: Sequence[Path] = ()
) -> Result:
    """Measure what is not known yet, and keep everything in the run, which is being recorded.

    known: files of answers of earlier runs, which are believed; they belong to the code that gave them.
    """
    answers = Answers(run.path / ANSWERS)
    for path in known:
        answers.learn(path)
    tasks = tasks_of(study, asked)
    result = Result.of(study, asked, _measured(study, tasks, answers, spread, progress))
    _keep(run, result)
    return result


def _measured(
    study: Study, tasks: list[Task], answers: Answers, spread: Spread, progress: Progress
) -> list[Any]:
    order = {id(task): place for place, task in enumerate(tasks)}
    found = []
    with progress.stage(f"{study.name}: {study.title}", len(tasks)) as tell:
        for answer in measure(tasks, answers, spread):
            found.append(answer)
            tell(len(found), f"{len(found)} of {len(tasks)}")
    return sorted(found, key=lambda answer: order[id(answer.task)])


def keep_record(folder: Path, outcome: dict[str, Any]) -> None:
    """Write what `record` gave, but not where the run is, into a folder: one file a study and scale.

    Of digits other than the bundled ones it is a file of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    others = "-digits" if outcome["digits"] else ""
    path = folder / f"{outcome['name']}-{outcome['scale']}{others}.json"
    kept = {name: value for name, value in outcome.items() if name not in ("run", "report")}
    text = json.dumps(kept, indent=1, ensure_ascii=False) + "\n"
    replace_file(path, text.encode())


def record(result: Result, run: Run) -> dict[str, Any]:
    """The result as JSON has it, with where it is and on what it was made."""
    where = {"run": str(run.path), "report": str(run.report_path)}
    versions = {"python": run.record.python, **run.record.packages}
    made = {"measured": f"{datetime.now(UTC):%Y-%m-%d}", "source": run.record.source_revision}
    digits = {"digits": run.record.policy.get("digits")}
    return result.record() | digits | where | made | {"versions": versions}


def _keep(run: Run, result: Result) -> None:
    for group in run.groups():
        run.discard(group)
    _save(run, result.found)
    image = result.study.draw(result.found)
    replace_file(run.path / f"{result.study.name}.svg", str(image).encode())
    run.update(summary=record(result, run))
    run.write_report(_report(result, Figure(result.study.title, image), run).render())


def _save(run: Run, found: Found) -> None:
    for series in found.series:
        seeds, values = found.by_seed(series)
        run.save(
            f"series/{series.replace('/', ' over ')}",
            at=(found.places(series), "1"),
            seeds=(seeds, "1"),
            values=(values, "1"),
        )
    for seed, arrays in found.arrays.items():
        held: dict[str, Any] = {name: (np.array(a["values"], float), a["unit"]) for name, a in arrays.items()}
        run.save(f"seed{seed}", **held)


def _report(result: Result, figure: Figure, run: Run) -> Report:
    verdict = "holds" if result.holds else "falls short"
    seeds = f"{len(result.found.seeds)} seeds"
    return Report(
        title=result.study.title,
        subtitle=f"{result.study.figure}, {result.asked.scale} scale.",
        facts=[Fact("verdict", verdict, seeds, result.holds)],
        sections=[
            Section("Published and here", table=Table(COLUMNS, cells(result.rows)), figures=[figure]),
            Section("How it is measured", result.study.text),
            provenance_section(run.record),
        ],
    )


def cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The table of a study as text."""
    return [_cells(row) for row in rows]


def _cells(row: Row) -> tuple[str, ...]:
    claim = row.claim
    spread = "" if row.spread is None else f" ± {row.spread:.2g}"
    here = f"{row.here:.4g}{spread} {claim.unit}".strip()
    asked = str(claim.band)
    return (
        claim.quantity,
        _said(claim.published),
        _said(claim.prototype),
        here,
        asked,
        _MARKS[row.holds],
    )


def _said(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:g}"
