"""`chipctl characterize`: measure a chip as the published ones were."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from calibration.bench import facts, make_ready
from calibration.characterize import PROCEDURES, characterize, chosen
from calibration.characterize_report import Found, characterize_report
from chipctl.cli.info import identity
from chipctl.cli.options import ArrayIndex, AsJson, ChipAddress, Config, Profile, Runs, open_journaled
from chipctl.cli.screen import Bars, print_json, print_table, remark
from chipctl.runs.record import RunRecord
from chipctl.runs.store import Run
from chipctl.settings import Settings

_MARKS = {True: "✓", False: "✗", None: ""}


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("characterize")(characterize_command)


def characterize_command(
    chip: ChipAddress,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[" + "|".join(PROCEDURES) + "]...", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Run every procedure.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer cycles, reads and times.")] = False,
    array: ArrayIndex = 0,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Draws devices and their targets.")] = 0,
    runs: Runs = Path("runs"),
    config: Config = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Reproduce published characterisation figures on one array, with the numbers beside the published ones.

    **This changes every device of the array** but those that the profile's fault map names; without such a
    map the array is scanned first. `2f` takes a day on hardware, seconds on a virtual chip. The exit status
    is 1 when a number is outside what is accepted.
    """
    procedures = chosen(names or [], everything=everything)
    settings = Settings.load(config)
    policy = {"procedures": [p.name for p in procedures], "array": array, "quick": quick}
    record = RunRecord.begin("characterize", seeds={"characterize": seed}, policy=policy)
    found: Found = []
    with (
        open_journaled(chip, settings, profile, runs, record.name) as opened,
        Run(runs, record) as run,
        Bars().shown() as bars,
    ):
        run.update(chip=identity(chip, opened))
        rng = np.random.default_rng(seed)
        bench = make_ready(opened, array, rng, quick=quick, schedule=settings.scan, progress=bars)
        if profile:
            opened.profile.save(profile)
        for procedure, finding in characterize(bench, procedures):
            found.append((procedure, finding))
            _keep(run, found, array, complete=len(found) == len(procedures))
        summary = _summary(run, found, array)
    if as_json:
        print_json(summary)
    else:
        _print(found)
    remark(f"report: {run.report_path}")
    if not summary["holds"]:
        raise typer.Exit(1)


def _keep(run: Run, found: Found, array: int, *, complete: bool) -> None:
    """Write what is known so far: a run that is stopped keeps what it measured."""
    procedure, finding = found[-1]
    run.save(procedure.name, attributes=None, **finding.data)
    run.update(summary=_summary(run, found, array))
    run.write_report(characterize_report(found, array, run.record, complete=complete).render())


def _summary(run: Run, found: Found, array: int) -> dict[str, Any]:
    comparisons = [c for _, finding in found for c in finding.comparisons]
    return {
        "array": array,
        "procedures": {procedure.name: facts(finding) for procedure, finding in found},
        "holds": all(c.holds is not False for c in comparisons),
        "report": str(run.report_path),
    }


def _print(found: Found) -> None:
    for procedure, finding in found:
        rows = [
            (c.name, c.shown, c.published_shown, c.accepted_shown, _MARKS[c.holds])
            for c in finding.comparisons
        ]
        columns = ("", "measured", "published", "accepted", "")
        print_table(f"{procedure.title} ({procedure.source})", columns, rows)
