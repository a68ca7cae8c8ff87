"""`chipctl resume`: go on with a run that was stopped, failed or was killed."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from chipctl.chip import Chip
from chipctl.cli.options import AsJson, Runs, open_chip
from chipctl.cli.program import Least, conclude, perform, saying_how_to_go_on
from chipctl.cli.screen import remark
from chipctl.runs.journal import Journal
from chipctl.runs.programmed import KIND, has_plan, known_profile, planned
from chipctl.runs.record import Outcome
from chipctl.runs.store import Run, StorageError, find_run, list_runs
from chipctl.settings import Settings
from firmware_protocol.status import Fault


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("resume")(resume_command)


def resume_command(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN]", help="Its name or folder; the last one not done by default."),
    ] = None,
    chip: Annotated[
        str | None,
        typer.Option(
            "--chip", metavar="ADDRESS", help="Where the chip is now; where it was then by default."
        ),
    ] = None,
    least: Least = 0.9,
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Go on with a run of `chipctl program`, whatever ended it: Ctrl-C, an error, a killed process or board.

    First the board is asked what became of every job that the journal does not know the end of. Then the
    whole array is read, and only devices out of tolerance are programmed further, by the run's own policy.
    """
    found = find_run(runs, run) if run else _last_not_done(runs)
    path = found.path
    if found.record.kind != KIND:
        raise StorageError(f"{path.name} is no run of `chipctl program`; start its own command anew")
    if found.record.outcome is Outcome.DONE:
        raise StorageError(f"{path.name} is done: there is nothing to go on with")
    settings = Settings.model_validate(found.record.policy)
    plan = planned(found, settings.programming)
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(path.parent))
        place = chip or _address(found)
        opened = stack.enter_context(open_chip(place, settings, None, (journal, path.name)))
        _require_the_same_chip(found, opened, journal)
        opened.adopt(known_profile(found))
        stack.enter_context(saying_how_to_go_on(path))
        resumed = stack.enter_context(Run.resume(path))
        if (fault := opened.clear_fault()) is not Fault.NONE:
            remark(f"the board had latched a fault, now cleared: {fault.name.lower().replace('_', ' ')}")
        facts = perform(resumed, opened, plan, journal, settings)
    conclude(facts, least, as_json=as_json)


def _last_not_done(runs: Path) -> Run:
    kept = list_runs(runs) if runs.is_dir() else []
    open_runs = [
        run
        for run in kept
        if run.record.kind == KIND
        and run.record.outcome is not Outcome.DONE
        and not run.is_being_recorded
        and has_plan(run)
    ]
    if not open_runs:
        raise ValueError(f"no run of `chipctl program` under {runs} is left to go on with")
    return open_runs[-1]


def _address(run: Run) -> str:
    if run.record.chip is None:
        raise ValueError(f"{run.path.name} ended before it knew its chip; name it with --chip")
    return run.record.chip.address


def _require_the_same_chip(run: Run, chip: Chip, journal: Journal) -> None:
    """The run's own chip, with all the pulses that it has had since.

    Raises:
        StorageError: Another chip, or a virtual one that was made anew.
    """
    then, now = run.record.chip, chip.profile.serial
    if then is not None and then.serial != now:
        raise StorageError(f"{run.path.name} was on chip {then.serial}, this is {now}; name the right --chip")
    known = journal.chip_of(run.path.name)
    if known is not None and known != journal.chip(now, chip.board.state().total_pulses):
        raise StorageError(
            f"chip {now} counts fewer pulses than {run.path.name} gave it: it is not the same one (a virtual "
            "chip without a state file ends with its process); start anew with `chipctl program`"
        )
