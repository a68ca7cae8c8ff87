"""`chipctl runs`: what was done, when, to which chip, and how it ended."""

import io
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from chipctl.cli.options import AsJson, Runs
from chipctl.cli.screen import print_json, print_table, remark
from chipctl.files import replace_file
from chipctl.runs.compared import Comparison, compare
from chipctl.runs.journal import JOURNAL, Entry, Journal
from chipctl.runs.store import DATA, Run, StorageError, find_run, list_runs
from chipctl.tables import to_csv

RunName = Annotated[Path, typer.Argument(metavar="RUN", help="Its name or folder.")]
RunOrLast = Annotated[
    Path | None, typer.Argument(metavar="[RUN]", help="Its name or folder; the last one by default.")
]


def declare(app: typer.Typer) -> None:
    """Add the commands."""
    runs = typer.Typer(no_args_is_help=True, help="What was done, when, to which chip, and how it ended.")
    runs.command("list")(list_command)
    runs.command("show")(show_command)
    runs.command("compare")(compare_command)
    runs.command("export")(export_command)
    runs.command("wear")(wear_command)
    app.add_typer(runs, name="runs")


def list_command(
    runs: Runs = Path("runs"),
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only these: program, demo.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the runs, oldest first. One that was `killed`, `stopped` or `failed` may be resumed."""
    kept = [run for run in list_runs(runs) if kind is None or run.record.kind == kind]
    rows = [_in_short(run) for run in kept]
    if as_json:
        print_json(rows)
    else:
        print_table(f"runs in {runs}", ("run", "outcome", "chip", "operator", "seconds"), [
            [row["run"], row["outcome"], row["chip"] or "", row["operator"] or "", row["duration_s"] or ""]
            for row in rows
        ])  # fmt: skip


def show_command(run: RunOrLast = None, runs: Runs = Path("runs"), as_json: AsJson = False) -> None:
    """Show a run: who, when, with what software and policy; what it reached; each job in the journal."""
    found = _found(run, runs)
    facts = json.loads(found.record.model_dump_json()) | {"outcome": found.outcome}
    groups = {group: _shapes(found, group) for group in found.groups()}
    entries = _entries(found)
    if as_json:
        print_json(facts | {"arrays": groups, "journal": [_entry(entry) for entry in entries]})
        return
    print_table(
        found.path.name, ("", ""), [(k, _said(v)) for k, v in facts.items() if v not in (None, [], {})]
    )
    print_table("arrays", ("group", "arrays"), [(name, ", ".join(held)) for name, held in groups.items()])
    columns = ("entry", "began", "request", "array", "fate", "pulses", "unknown")
    print_table("journal", columns, [list(_entry(entry).values()) for entry in entries])


def _found(run: Path | None, runs: Path) -> Run:
    if run is not None:
        return find_run(runs, run)
    kept = list_runs(runs) if runs.is_dir() else []
    if not kept:
        raise ValueError(f"there is no run under {runs}; name another folder with --runs")
    return kept[-1]


def compare_command(
    first: RunName, second: RunName, runs: Runs = Path("runs"), as_json: AsJson = False
) -> None:
    """Set two runs side by side: what differs in policy and software, the figures, the arrays.

    Runs of one array each are compared array against array, also where it is not the same one.
    """
    found = compare(find_run(runs, first), find_run(runs, second))
    if as_json:
        print_json(
            {
                "different": {name: list(pair) for name, pair in found.different.items()},
                "summary": {name: list(pair) for name, pair in found.summary.items()},
                "arrays": [array.facts() for array in found.arrays],
                "only_in_one": found.only_in_one,
            }
        )
    else:
        _print_comparison(found, (first.name, second.name))


def export_command(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="A .npz or .h5 file, or a folder for CSV.")
    ],
    run: RunOrLast = None,
    runs: Runs = Path("runs"),
    form: Annotated[
        Literal["csv", "hdf5", "npz"] | None,
        typer.Option("--format", help="What to write; by the ending of FILE if not said."),
    ] = None,
) -> None:
    """Write a run's arrays for other programs: CSV (a file per array), HDF5, or NPZ. SI units throughout.

    In NPZ and CSV an array is named by its group and itself, `programming-array0-readback`.
    """
    found, form = _found(run, runs), form or _by_ending(output)
    arrays = {
        f"{group}/{name}": values
        for group in found.groups()
        for name, (values, _) in found.load(group).items()
    }
    if not arrays:
        raise ValueError(f"{found.path} holds no arrays")
    if form == "hdf5":
        replace_file(output, (found.path / DATA).read_bytes())
    elif form == "npz":
        buffer = io.BytesIO()
        named: dict[str, Any] = {name.replace("/", "-"): values for name, values in arrays.items()}
        np.savez_compressed(buffer, **named)
        replace_file(output, buffer.getvalue())
    else:
        _write_csv(output, found, arrays)
    remark(f"{len(arrays)} arrays written to {output}")


def wear_command(
    runs: Runs = Path("runs"),
    serial: Annotated[str | None, typer.Option("--serial", metavar="CHIP", help="Only this chip.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how many pulses each array's devices have had over the chip's life, by the journal."""
    if not (runs / JOURNAL).exists():
        raise ValueError(f"no journal in {runs}; name the folder of the runs with --runs")
    rows = []
    with Journal(runs) as journal:
        for chip in journal.chips():
            for array, wear in journal.wear(chip.id).items():
                rows.append(
                    {
                        "chip": chip.serial,
                        "life": chip.id,
                        "array": array,
                        "pulses": int(wear.pulses.sum()),
                        "most": int(wear.pulses.max()),
                        "mean": float(wear.pulses.mean()),
                        "unknown": wear.unknown,
                        "not_in_the_journal": journal.unaccounted(chip.id),
                    }
                )
    rows = [row for row in rows if serial in (None, row["chip"])]
    if as_json:
        print_json(rows)
        return
    columns = ("chip", "life", "array", "pulses", "most", "mean", "unknown", "not in the journal")
    shown = [[f"{v:.1f}" if isinstance(v, float) else v for v in row.values()] for row in rows]
    print_table("pulses per array; most and mean per device", columns, shown)
    remark(
        "unknown: pulses of which the device is not known; not in the journal: of the chip, by other hosts"
    )


def _in_short(run: Run) -> dict[str, Any]:
    record = run.record
    return {
        "run": run.path.name,
        "kind": record.kind,
        "outcome": run.outcome,
        "started": record.started.isoformat(),
        "chip": record.chip.serial if record.chip else None,
        "operator": record.operator,
        "duration_s": None if record.duration_s is None else round(record.duration_s, 1),
        "error": record.error,
    }


def _entries(run: Run) -> list[Entry]:
    """What the journal beside a run has of it; nothing if there is none."""
    if not (run.path.parent / JOURNAL).exists():
        return []
    try:
        with Journal(run.path.parent) as journal:
            return journal.entries(run.path.name)
    except StorageError as error:
        remark(str(error))
        return []


def _entry(entry: Entry) -> dict[str, Any]:
    done = entry.done
    return {
        "entry": entry.id,
        "began": entry.began.isoformat(timespec="milliseconds"),
        "request": entry.intent.request,
        "array": entry.intent.array,
        "fate": "open" if done is None else str(done.fate),
        "pulses": None if done is None else int(done.pulses.sum()),
        "unknown": None if done is None else done.unknown,
    }


def _shapes(run: Run, group: str) -> list[str]:
    return [f"{name} {values.shape} {unit}" for name, (values, unit) in run.load(group).items()]


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _print_comparison(found: Comparison, names: tuple[str, str]) -> None:
    print_table("different", ("", *names), [(k, _said(a), _said(b)) for k, (a, b) in found.different.items()])
    print_table("reached", ("", *names), [(k, _said(a), _said(b)) for k, (a, b) in found.summary.items()])
    columns = ("array", "unit", "mean", "mean", "σ", "σ", "mean difference", "σ of it")
    rows = [
        (a.name, a.unit, *(f"{x:.4g}" for x in (*a.means, *a.sigmas, a.difference_mean, a.difference_sigma)))
        for a in found.arrays
    ]
    if rows:
        print_table("arrays in both", columns, rows)
    else:
        remark("there is no array that both hold in the same shape")
    if found.only_in_one:
        remark(f"in one of them only, or of another shape: {', '.join(found.only_in_one)}")


def _by_ending(output: Path) -> Literal["csv", "hdf5", "npz"]:
    endings: dict[str, Literal["csv", "hdf5", "npz"]] = {
        ".npz": "npz",
        ".h5": "hdf5",
        ".hdf5": "hdf5",
        "": "csv",
    }
    if output.suffix not in endings:
        raise ValueError(f"{output}: name a .npz or .h5 file or a folder, or say --format")
    return endings[output.suffix]


def _write_csv(folder: Path, run: Run, arrays: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        flat = np.asarray(values, np.float64)
        flat = flat.reshape(-1, flat.shape[-1]) if flat.ndim else flat.reshape(1, 1)
        replace_file(folder / f"{name.replace('/', '-')}.csv", to_csv(flat))
    replace_file(folder / "run.json", (run.record.model_dump_json(indent=2) + "\n").encode())
