"""`chipctl demo`: the whole instrument once, end to end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from chipctl.chip import Chip
from chipctl.cli import program
from chipctl.cli.info import identity
from chipctl.cli.options import AsJson, ChipAddress, Config, Profile, Runs, open_chip
from chipctl.cli.screen import Bars, print_json, print_table, remark
from chipctl.faults import ScanReport
from chipctl.memory.digits import Digits, load_digits
from chipctl.memory.store import StoredMemory
from chipctl.runs.journal import Journal
from chipctl.runs.record import RunRecord
from chipctl.runs.store import Run
from chipctl.settings import Settings
from chipctl.studies.first_light import FirstLight, FirstLightResult, MemoryResult, run_first_light
from chipctl.studies.first_light_report import first_light_report

VIRTUAL = "sim://?preset=good&seed=0"


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    chip: ChipAddress = VIRTUAL,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Draws digits, flips and the start of training.")
    ] = 0,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with MNIST's idx files; bundled digits by default."),
    ] = None,
    rule: Annotated[
        Literal["robust", "paper"], typer.Option(help="Learning rule: noise-aware in boxes, or as published.")
    ] = "robust",
    hidden: Annotated[
        Literal["sign", "tanh"], typer.Option(help="Hidden units: one bit a row, or bit-serial.")
    ] = "sign",
    draws: Annotated[int, typer.Option(metavar="N", min=1, help="Corrupted copies of each digit.")] = 20,
    controls: Annotated[
        bool, typer.Option(help="Also recall unprogrammed, and with one open-loop pulse per device.")
    ] = True,
    runs: Runs = Path("runs"),
    config: Config = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Scan a chip for faults, program two memories of ten digits on it, and recall them.

    Without --chip it runs on a virtual chip in this process. **It changes every device of the chip.**
    The exit status is 1 when recall (mean cosine 0.995, worst digit 0.98), programming (90 % verified,
    error mean ±0.5 µS, σ 4.4 µS) or the unprogrammed control (below 0.8) falls short.
    """
    settings = Settings.load(config)
    options = FirstLight(
        seed=seed,
        rule=rule,
        hidden=hidden,
        draws=draws,
        schedule=settings.programming,
        scan=settings.scan,
        controls=controls,
    )
    record = RunRecord.begin("demo", seeds={"demo": seed}, policy=settings.model_dump(mode="json"))
    digits = load_digits(data)
    with (
        Journal(runs) as journal,
        open_chip(chip, settings, profile, (journal, record.name)) as opened,
        Run(runs, record) as run,
    ):
        run.update(chip=identity(chip, opened))
        summary = perform(run, opened, options, digits)
        if profile:
            opened.profile.save(profile)
    (print_json if as_json else _print)(summary)
    if not summary["holds"]:
        raise typer.Exit(1)


def perform(run: Run, chip: Chip, options: FirstLight, digits: Digits) -> dict[str, Any]:
    """Run everything on an open chip, keep it in the run, and sum it up."""
    with Bars().shown() as bars:
        result = run_first_light(chip, options, digits, bars, _Kept(run, chip.profile.serial))
    summary = summarise(chip, result)
    summary["report"] = str(run.report_path)
    run.update(summary=summary)
    run.write_report(first_light_report(result, summary, run.record).render())
    return summary


def summarise(chip: Chip, result: FirstLightResult) -> dict[str, Any]:
    """The run in numbers, for machines."""
    statistics = chip.board.link_statistics()
    summary: dict[str, Any] = {
        "seed": result.options.seed,
        "rule": result.options.rule,
        "hidden": result.options.hidden,
        "flip_probability": result.options.flip_probability,
        "tolerance_siemens": result.options.schedule.tolerance,
        "memories": [_memory_summary(memory) for memory in result.memories],
        "programming": _programming_summary(chip, result),
        "link": {
            "requests": statistics.requests,
            "bytes_out": statistics.bytes_out,
            "bytes_in": statistics.bytes_in,
        },
    }
    summary["holds"] = result.holds
    return summary


def _memory_summary(memory: MemoryResult) -> dict[str, Any]:
    score, unprogrammed, open_loop = memory.score, memory.unprogrammed, memory.open_loop
    return {
        "layers": list(memory.placement.sizes),
        "patterns": len(memory.patterns),
        "recalls": int(score.cosines.size),
        "cosine_mean": score.mean,
        "cosine_min": score.worst_digit,
        "cosine_per_digit": score.cosines.mean(axis=1).tolist(),
        "exactly_recalled": score.exact,
        "iterations_max": int(score.iterations.max()),
        "cue_cosine_mean": float(np.mean(memory.cues * memory.patterns[:, None], dtype=np.float64)),
        "control_unprogrammed": unprogrammed.mean if unprogrammed else None,
        "control_open_loop": open_loop.mean if open_loop else None,
    }


def _programming_summary(chip: Chip, result: FirstLightResult) -> list[dict[str, Any]]:
    planted = {array: chip.board.planted(array) for array in result.scans}
    tolerance = result.options.schedule.tolerance
    rows = []
    for memory in result.memories:
        for array, outcome in memory.arrays.items():
            facts = program.summary(outcome.report, outcome.readback, tolerance)
            truth = planted[array]
            facts["memory"] = memory.name
            facts["stuck_found"] = result.scans[array].faults.count()
            facts["stuck_planted"] = None if truth is None else int(np.count_nonzero(truth[0]))
            rows.append(facts)
    return rows


@dataclass(frozen=True)
class _Kept:
    """Writes each part to the run's directory as soon as it is done."""

    run: Run
    serial: str

    def scan(self, report: ScanReport) -> None:
        """An array was scanned."""
        self.run.save(
            f"scan/array{report.array}",
            kinds=(report.faults.kinds, "1"),
            stuck=(report.faults.conductance, "S"),
            uncertainty=(report.faults.uncertainty, "S"),
            scatter=(report.scatter, "S"),
            pulses=(report.pulse_counts, "1"),
        )

    def memory(self, result: MemoryResult) -> None:
        """A memory was programmed and recalled."""
        _keep_memory(self.run, self.serial, result)


def _keep_memory(run: Run, serial: str, memory: MemoryResult) -> None:
    layers, name = memory.trained.layers, memory.name
    stored = StoredMemory(
        serial, memory.placement, layers, memory.hidden, memory.patterns, memory.corrections
    )
    stored.save(run.path / f"memory-{name}.npz")
    for array, outcome in memory.arrays.items():
        report = outcome.report
        run.save(
            f"programming/{name}/array{array}",
            attributes=None,
            target=(outcome.planned.target, "S"),
            mask=(outcome.planned.mask, "1"),
            readback=(outcome.readback, "S"),
            **report.outcome_arrays,
        )
    run.save(
        f"recall/{name}",
        patterns=(memory.patterns, "1"),
        states=(memory.recall.states, "1"),
        iterations=(memory.recall.iterations, "1"),
        cosines=(memory.score.cosines, "1"),
        energies=(memory.recall.energies, "1"),
    )


def _print(summary: dict[str, Any]) -> None:
    memories = summary["memories"]
    tolerance = f"±{summary['tolerance_siemens'] * 1e6:g} µS"
    print_table(
        f"programming: share verified within {tolerance}; pulses and reads per device; stuck found/planted",
        ("memory", "array", "devices", "verified", "error µS", "pulses", "reads", "stuck"),
        [_array_row(row) for row in summary["programming"]],
    )
    print_table(
        f"recall of ten digits, {summary['flip_probability']:.0%} of the pixels flipped "
        f"({summary['rule']} rule, {summary['hidden']} hidden units)",
        ("memory", "mean cosine", "worst digit", "exact", "iterations", "unprogrammed", "open loop"),
        [_memory_row(memory) for memory in memories],
    )
    print_table(
        "cosine of each digit",
        ("memory", *map(str, range(10))),
        [[_name(m), *(f"{c:.3f}" for c in m["cosine_per_digit"])] for m in memories],
    )
    link = summary["link"]
    remark(f"{link['requests']} requests, {link['bytes_out']} bytes out, {link['bytes_in']} bytes in")
    remark(f"the chip now holds the last memory, {_name(memories[-1])}")
    remark(f"report: {summary['report']}")


def _name(memory: dict[str, Any]) -> str:
    return "-".join(map(str, memory["layers"]))


def _array_row(p: dict[str, Any]) -> list[object]:
    planted = "" if p["stuck_planted"] is None else f"/{p['stuck_planted']}"
    return [
        p["memory"],
        p["array"],
        p["devices"],
        f"{p['converged'] / p['devices']:.1%}",
        f"{p['error_mean_siemens'] * 1e6:+.2f} ± {p['error_std_siemens'] * 1e6:.2f}",
        f"{p['pulses_mean']:.1f}",
        f"{p['reads_mean']:.1f}",
        f"{p['stuck_found']}{planted}",
    ]


def _memory_row(m: dict[str, Any]) -> list[object]:
    controls = (m["control_unprogrammed"], m["control_open_loop"])
    return [
        _name(m),
        f"{m['cosine_mean']:.4f}",
        f"{m['cosine_min']:.4f}",
        f"{m['exactly_recalled']}/{m['recalls']}",
        m["iterations_max"],
        *("" if c is None else f"{c:.3f}" for c in controls),
    ]
