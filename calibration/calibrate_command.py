"""`chipctl calibrate`: improve a chip's profile, unattended."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from calibration.calibrate import (
    Done,
    Freshness,
    Order,
    Task,
    age_shown,
    calibrate,
    freshness,
    tasks_of,
    to_do,
)
from calibration.calibrate_report import calibration_report, numbers_of, verdict_of
from calibration.procedure import Effect, Procedure
from calibration.procedures import PROCEDURES, in_order
from chipctl.chip import Chip
from chipctl.cli.info import identity
from chipctl.cli.options import AsJson, ChipAddress, Config, Runs, open_journaled
from chipctl.cli.screen import Bars, print_json, print_table, remark
from chipctl.errors import ChipctlError
from chipctl.profile import ChipProfile
from chipctl.runs.record import Outcome, RunRecord
from chipctl.runs.store import Run, list_runs
from chipctl.settings import Settings

KIND = "calibrate"
EXIT_FAILED = 1

_Improved = Annotated[
    Path,
    typer.Option(
        "--profile", metavar="FILE", help="The chip's profile: read if it exists, improved result by result."
    ),
]


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("calibrate")(calibrate_command)


def calibrate_command(
    chip: ChipAddress,
    profile: _Improved,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[" + "|".join(PROCEDURES) + "]...", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Run every procedure.")] = False,
    keep_maps: Annotated[
        bool, typer.Option("--keep-maps", help="Leave out procedures that change devices.")
    ] = False,
    arrays: Annotated[
        list[int] | None, typer.Option("--array", "-a", metavar="N", help="This array only; may be repeated.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer points and reads: for a look.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out what a calibration that was cut short has finished.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, how long it takes and what it changes.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Say what is fresh and what is stale.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Draws inputs and devices.")] = 0,
    runs: Runs = Path("runs"),
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Calibrate converters, wires and devices; each result with uncertainty, date and verdict in the profile.

    Procedures that others need are run before them. The profile is saved after each, so a calibration that is
    killed loses one procedure at most: `--resume` goes on from there. It stops at once where a value is far
    outside its limits or the board reports a fault. **Some procedures change devices**; `--dry-run` says
    which, `--keep-maps` leaves them out. The exit status is 0 if all passed, 1 if not; `--status` exits with
    1 if something is stale.
    """
    every = everything or (status and not names)
    procedures = _chosen(names or [], everything=every, keep_maps=keep_maps)
    settings = Settings.load(config)
    record = RunRecord.begin(KIND, seeds={"calibrate": seed})
    journal = None if status or dry_run else runs
    with open_journaled(chip, settings, profile, journal, record.name) as opened:
        tasks = tasks_of(procedures, _arrays(opened, arrays))
        if status:
            _tell_status(opened, tasks, as_json=as_json)
            return
        named = set(PROCEDURES if everything else names or [])
        done_before = _cut_short(runs, opened) if resume else set()
        left = to_do(tasks, named, opened.profile, done_before, opened.keeps_map)
        order = Order(left, seed, quick, settings.scan)
        if dry_run:
            _tell_plan(opened.profile, order.tasks, as_json=as_json)
            return
        _run(opened, order, _Kept(chip, runs, profile, sorted(done_before)), record, as_json=as_json)


def _chosen(names: list[str], *, everything: bool, keep_maps: bool) -> list[Procedure]:
    procedures = in_order(names, everything=everything)
    if keep_maps:
        procedures = [p for p in procedures if p.effect is Effect.NOTHING]
    if not procedures:
        raise ValueError("nothing is left to calibrate: all that was named changes devices")
    return procedures


def _arrays(chip: Chip, wanted: list[int] | None) -> list[int]:
    for array in wanted or []:
        chip.rules.check_array(array)
    return sorted(set(wanted)) if wanted else list(range(chip.arrays))


def _cut_short(root: Path, chip: Chip) -> set[str]:
    """Names of the last calibration of this chip if it did not come to its end, and of those it resumed."""
    if not root.exists():
        return set()
    serial = chip.profile.serial
    own = [r.record for r in list_runs(root) if r.record.kind == KIND]
    mine = [record for record in own if record.chip is not None and record.chip.serial == serial]
    if not mine or mine[-1].outcome is Outcome.DONE:
        return set()
    resumed = mine[-1].policy.get("resumes")
    before = resumed if isinstance(resumed, list) else []
    return {mine[-1].name, *(str(name) for name in before)}


@dataclass(frozen=True)
class _Kept:
    """Where a calibration leaves what it found."""

    address: str
    """Of the chip."""
    runs: Path
    profile: Path
    resumes: list[str]
    """Names of runs whose results were left standing."""


def _run(chip: Chip, order: Order, kept: _Kept, record: RunRecord, *, as_json: bool) -> None:
    policy = {
        "tasks": [task.name for task in order.tasks],
        "quick": order.quick,
        "resumes": kept.resumes,
    }
    done: list[Done] = []
    with Run(kept.runs, record) as run:
        run.update(chip=identity(kept.address, chip), policy=policy)
        with _told(run, done, as_json=as_json), Bars().shown() as bars:
            for item in calibrate(chip, order, bars):
                done.append(_keep(chip, kept.profile, run, item))
                _write(run, done, f"{len(done)} of {len(order.tasks)} procedures so far.")
        _write(run, done, "All procedures that were asked for.")
    if not all(item.passed for item in done):
        raise typer.Exit(EXIT_FAILED)


@contextmanager
def _told(run: Run, done: list[Done], *, as_json: bool) -> Iterator[None]:
    """Tell what was found, however it ends."""
    stopped = ""
    try:
        yield
    except ChipctlError as error:
        stopped = str(error)
        _write(run, done, f"Stopped: {stopped}")
        raise
    finally:
        if as_json:
            print_json(_summary(run, done) | {"stopped": stopped})
        else:
            _print(done)
        remark(f"report: {run.report_path}")


def _keep(chip: Chip, profile: Path, run: Run, item: Done) -> Done:
    """Save a result's data and, with the run's name on it, the profile."""
    if item.result is None or item.found is None:
        return item
    named = item.result.model_copy(update={"run": run.record.name})
    chip.profile.keep(named, item.task.array)
    run.save(item.task.name, attributes=None, **item.found.data)
    chip.profile.save(profile)
    return replace(item, result=named, picture=item.found.draw())


def _write(run: Run, done: list[Done], state: str) -> None:
    run.update(summary=_summary(run, done))
    run.write_report(calibration_report(done, run.record, state=state).render())


def _summary(run: Run, done: list[Done]) -> dict[str, Any]:
    return {
        "passed": all(item.passed for item in done),
        "results": [
            {
                "procedure": item.task.procedure.name,
                "array": item.task.array,
                "verdict": "no result" if item.result is None else str(item.result.verdict),
                "reasons": [item.reason] if item.result is None else item.result.reasons,
                "values": {} if item.result is None else item.result.model_dump(mode="json")["values"],
            }
            for item in done
        ],
        "report": str(run.report_path),
    }


def _print(done: list[Done]) -> None:
    for item in done:
        if item.result is not None:
            columns = ("", "value", "uncertainty (1 σ)", "accepted", "")
            print_table(item.task.name, columns, numbers_of(item))
    rows = [(item.task.name, verdict_of(item)) for item in done]
    print_table("calibration", ("procedure", "verdict"), rows)


def _tell_plan(profile: ChipProfile, tasks: tuple[Task, ...], *, as_json: bool) -> None:
    facts = [
        {
            "procedure": task.procedure.name,
            "array": task.array,
            "changes": str(task.procedure.effect),
            "seconds": task.procedure.seconds,
            "age": age_shown(profile.result(task.procedure.name, task.array)),
        }
        for task in tasks
    ]
    if as_json:
        print_json({"tasks": facts, "seconds": sum(task.procedure.seconds for task in tasks)})
        return
    rows = [
        (t.name, str(t.procedure.effect), f"{t.procedure.seconds:.0f} s", f["age"] or "never")
        for t, f in zip(tasks, facts, strict=True)
    ]
    print_table("what would be done", ("procedure", "changes", "takes about", "last measured"), rows)
    remark(
        f"{len(tasks)} procedures, about {sum(task.procedure.seconds for task in tasks):.0f} s of chip time"
    )


def _tell_status(chip: Chip, tasks: tuple[Task, ...], *, as_json: bool) -> None:
    states = [freshness(task, chip.profile, chip.keeps_map) for task in tasks]
    results = [chip.profile.result(task.procedure.name, task.array) for task in tasks]
    if as_json:
        facts = [
            {
                "procedure": task.procedure.name,
                "array": task.array,
                "state": str(state),
                "measured": result.measured.isoformat() if result else None,
                "run": result.run if result else None,
            }
            for task, state, result in zip(tasks, states, results, strict=True)
        ]
        print_json(facts)
    else:
        rows = [
            (task.name, str(state), age_shown(result), f"{task.procedure.fresh_days:g} d")
            for task, state, result in zip(tasks, states, results, strict=True)
        ]
        print_table("calibration", ("procedure", "", "age", "good for"), rows)
    if any(state is not Freshness.FRESH for state in states):
        raise typer.Exit(EXIT_FAILED)
