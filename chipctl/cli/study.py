"""`chipctl study`: the published figures, measured again."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from chipctl.cli.info import identity
from chipctl.cli.options import AsJson, Config, Profile, Runs, open_chip
from chipctl.cli.screen import Bars, print_json, print_table, remark
from chipctl.runs.journal import Journal
from chipctl.runs.store import Run
from chipctl.settings import Settings

if TYPE_CHECKING:
    from chipctl.memory.answers import Spread
    from chipctl.studies.study import Asked, Result, Study

Names = Annotated[list[str] | None, typer.Argument(metavar="NAME...", show_default=False)]
HowMuch = Annotated[
    Literal["quick", "full"],
    typer.Option(help="How much: quick takes minutes, full is for the record; see docs/studies.md."),
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Processes; as many as there are cores by default.")
]
Cluster = Annotated[
    str | None, typer.Option("--cluster", metavar="ADDRESS", help="Work on this dask scheduler's workers.")
]
OnChip = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Chip for the studies on one: every device is changed; by default a virtual one a seed.",
    ),
]
FirstSeed = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="First of the seeds: 0 by default, and 1 for memories on a chip, whose settings chip 0 chose.",
    ),
]
DigitsFrom = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        exists=True,
        file_okay=False,
        resolve_path=True,
        help="Folder with idx files of other digits, as MNIST's; the bundled ones by default.",
    ),
]
SeedCount = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="How many seeds; each study has its own number.")
]
Believed = Annotated[
    list[Path] | None,
    typer.Option(
        "--answers",
        metavar="FILE",
        exists=True,
        help="Believe an earlier run's answers.jsonl of this source.",
    ),
]
KeptIn = Annotated[
    Path | None, typer.Option("--record", metavar="DIR", help="Also keep each result there, as JSON.")
]


@dataclass(frozen=True)
class _Lab:
    """Where studies are run."""

    spread: "Spread"
    runs: Path
    config: Path | None
    profile: Path | None

    @contextmanager
    def workers_for(self, asked: "Asked", run: Run) -> "Iterator[Spread]":
        """Whoever is there; for a study on a chip that was named, that chip, every pulse in the journal."""
        if asked.chip is None:
            yield self.spread
            return
        from chipctl.studies.trials import on_one_chip

        settings = Settings.load(self.config)
        with (
            Journal(self.runs) as journal,
            open_chip(asked.chip, settings, self.profile, (journal, run.record.name)) as chip,
        ):
            run.update(chip=identity(asked.chip, chip))
            yield on_one_chip(chip)
            if self.profile:
                chip.profile.save(self.profile)


def declare(app: typer.Typer) -> None:
    """Add the commands."""
    study = typer.Typer(no_args_is_help=True, help="Published figures, measured again, numbers side by side.")
    study.command("list")(list_command)
    study.command("run")(run_command)
    app.add_typer(study, name="study")


def list_command(as_json: AsJson = False) -> None:
    """List the studies: one for each published figure."""
    from chipctl.studies.catalogue import studies

    rows = [(s.name, s.title, s.figure, "chip" if s.on_chip else "float") for s in studies().values()]
    if as_json:
        print_json([dict(zip(("name", "title", "figure", "on"), row, strict=True)) for row in rows])
    else:
        print_table("studies", ("name", "title", "figure", "on"), rows)


def run_command(
    names: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="Run every study.")] = False,
    scale: HowMuch = "quick",
    workers: Workers = None,
    cluster_address: Cluster = None,
    chip: OnChip = None,
    seed: FirstSeed = None,
    seeds: SeedCount = None,
    digits: DigitsFrom = None,
    known: Believed = None,
    kept_in: KeptIn = None,
    runs: Runs = Path("runs"),
    config: Config = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Measure published figures again: data, picture and table of each go into a run.

    What was stopped or killed is gone on with by saying the same again. With --chip the studies on a chip
    run on that one, one experiment after the other, within the limits of --config, and **change its every
    device**; schedules are the studies' own. The exit status is 1 when one falls short of what is asked.
    """
    from chipctl.studies.catalogue import chosen
    from chipctl.studies.running import ANSWERS, keep_record
    from chipctl.studies.study import Asked

    asked = Asked(scale, seed, chip, seeds, digits)
    outcomes: list[dict[str, Any]] = []
    wanted = chosen(names or [], everything=everything)
    if chip and not any(study.on_chip for study in wanted):
        raise ValueError("these studies are computed in floating point: leave --chip out")
    believed = list(known or [])
    with _crew(workers, cluster_address) as spread:
        for study in wanted:
            lab = _Lab(spread, runs, config, profile)
            outcomes.append(_run(study, study.concerned(asked), lab, believed, quiet=as_json))
            believed.append(Path(outcomes[-1]["run"]) / ANSWERS)
            if kept_in:
                keep_record(kept_in, outcomes[-1])
    if as_json:
        print_json(outcomes[0] if len(wanted) == 1 else outcomes)
    if any(outcome["verdict"] != "holds" for outcome in outcomes):
        raise typer.Exit(1)


def _crew(workers: int | None, address: str | None) -> "AbstractContextManager[Spread]":
    from chipctl.studies.workers import cluster, processes

    if address and workers:
        raise ValueError("give --workers or --cluster, not both: a cluster has its own")
    return cluster(address) if address else processes(workers)


def _run(study: "Study", asked: "Asked", lab: _Lab, believed: list[Path], *, quiet: bool) -> dict[str, Any]:
    from chipctl.studies.running import begin, record, run_study

    run = begin(study, asked, lab.runs)
    if run.path.exists():
        remark(f"going on with {run.path}")
    with Bars().shown() as bars, run, lab.workers_for(asked, run) as spread:
        result = run_study(study, asked, run, spread, bars, believed)
    if not quiet:
        _print(result)
    remark(f"report: {run.report_path}")
    return record(result, run)


def _print(result: "Result") -> None:
    from chipctl.studies.running import COLUMNS, cells

    verdict = "holds" if result.holds else "falls short"
    title = f"{result.study.name}: {result.study.title} ({result.asked.scale}): {verdict}"
    print_table(title, COLUMNS, cells(result.rows))
