"""`chipctl study`: the published figures, measured again."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from chipctl.cli.options import AsJson, Runs
from chipctl.cli.screen import Bars, print_json, print_table, remark
from chipctl.memory.answers import Spread
from chipctl.studies.catalogue import chosen, studies
from chipctl.studies.running import COLUMNS, begin, cells, keep_record, record, run_study
from chipctl.studies.study import Asked, Result, Scale, Study
from chipctl.studies.workers import cluster, processes


def declare(app: typer.Typer) -> None:
    """Add the commands."""
    study = typer.Typer(no_args_is_help=True, help="Published figures, measured again, numbers side by side.")
    study.command("list")(list_command)
    study.command("run")(run_command)
    app.add_typer(study, name="study")


def list_command(as_json: AsJson = False) -> None:
    """List the studies: one for each published figure."""
    rows = [(s.name, s.title, s.figure, "chip" if s.on_chip else "float") for s in studies().values()]
    if as_json:
        print_json([dict(zip(("name", "title", "figure", "on"), row, strict=True)) for row in rows])
    else:
        print_table("studies", ("name", "title", "figure", "on"), rows)


def run_command(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Run every study.")] = False,
    scale: Annotated[
        Scale, typer.Option(help="How much: quick takes minutes, full is for the record; docs/studies.md.")
    ] = "quick",
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Processes; as many as there are cores by default.")
    ] = None,
    cluster_address: Annotated[
        str | None,
        typer.Option("--cluster", metavar="ADDRESS", help="Work on this dask scheduler's workers."),
    ] = None,
    chip: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Chip for the studies on one: every device is changed; by default a virtual one a seed.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="First of the seeds.")] = 0,
    known: Annotated[
        list[Path] | None,
        typer.Option(
            "--answers",
            metavar="FILE",
            exists=True,
            help="Believe an earlier run's answers.jsonl of this source.",
        ),
    ] = None,
    kept_in: Annotated[
        Path | None, typer.Option("--record", metavar="DIR", help="Also keep each result there, as JSON.")
    ] = None,
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Measure published figures again: data, picture and table of each go into a run.

    What was stopped or killed is gone on with by saying the same again. The exit status is 1 when one
    falls short of what is asked of it.
    """
    asked = Asked(scale, seed, chip)
    outcomes: list[dict[str, Any]] = []
    wanted = chosen(names or [], everything=everything)
    with _crew(workers, cluster_address) as spread:
        for study in wanted:
            outcomes.append(_run(study, asked, runs, (spread, known or []), quiet=as_json))
            if kept_in:
                keep_record(kept_in, outcomes[-1])
    if as_json:
        print_json(outcomes[0] if len(wanted) == 1 else outcomes)
    if any(outcome["verdict"] != "holds" for outcome in outcomes):
        raise typer.Exit(1)


def _crew(workers: int | None, address: str | None) -> AbstractContextManager[Spread]:
    if address and workers:
        raise ValueError("give --workers or --cluster, not both: a cluster has its own")
    return cluster(address) if address else processes(workers)


def _run(
    study: Study, asked: Asked, runs: Path, work: tuple[Spread, list[Path]], *, quiet: bool
) -> dict[str, Any]:
    run = begin(study, asked, runs)
    if run.path.exists():
        remark(f"going on with {run.path}")
    with Bars().shown() as bars, run:
        result = run_study(study, asked, run, work[0], bars, work[1])
    if not quiet:
        _print(result)
    remark(f"report: {run.report_path}")
    return record(result, run)


def _print(result: Result) -> None:
    verdict = "holds" if result.holds else "falls short"
    title = f"{result.study.name}: {result.study.title} ({result.asked.scale}): {verdict}"
    print_table(title, COLUMNS, cells(result.rows))
