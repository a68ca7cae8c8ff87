"""`chipctl recall`: recall patterns from a memory that is on the chip."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from chipctl.cli.options import AsJson, ChipAddress, OnBoard, Profile, open_chip
from chipctl.cli.screen import print_json, remark, results
from chipctl.memory.associative import States, Update
from chipctl.memory.learning.noise import Gaussian
from chipctl.memory.learning.recall import flip
from chipctl.memory.store import StoredMemory, restore
from chipctl.settings import Settings

EXIT_NOT_RECALLED = 1
"""Exit status when a cue did not settle, or a damaged pattern ended at another one."""


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("recall")(recall_command)


def recall_command(
    memory: Annotated[
        Path, typer.Argument(metavar="MEMORY", help="Memory file that `chipctl demo` wrote into its run.")
    ],
    chip: ChipAddress,
    cue: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Text of + and - signs, one a neuron; else stored patterns are damaged."
        ),
    ] = None,
    flips: Annotated[
        float, typer.Option("--flip", metavar="P", min=0, max=1, help="Probability of a flipped pixel.")
    ] = 0.1,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Draws the flips, and the order of updates.")
    ] = 0,
    max_iterations: Annotated[
        int, typer.Option(metavar="N", min=1, max=255, help="Give up after N updates of all neurons.")
    ] = 20,
    profile: Profile = None,
    update: Annotated[
        Update,
        typer.Option(help="All neurons at a time; or one by one, drawn at random or in shuffled sweeps."),
    ] = "all",
    on_board: OnBoard = False,
    as_json: AsJson = False,
) -> None:
    """Recall patterns from a memory that was programmed on the chip before. Changes nothing on it."""
    stored = StoredMemory.load(memory)
    neurons = stored.patterns.shape[1]
    rng = np.random.default_rng(seed)
    cues = read_cue(cue, neurons)[None] if cue else _damaged(stored.patterns, flips, rng)
    with open_chip(chip, Settings(), profile) as opened:
        found = restore(opened, memory).recall(
            cues, max_iterations, update=update, seed=seed, on_board=on_board
        )
    nearest = found.similarity[-1]
    facts = [_facts(index, found, nearest) for index in range(len(cues))]
    if as_json:
        print_json(facts)
    else:
        for fact, start, final in zip(facts, cues, found.final, strict=True):
            _print(fact, start, final, stored.patterns[fact["pattern"]])
    wrong = 0 if cue else sum(fact["pattern"] != fact["cue"] for fact in facts)
    changing = int((~found.settled).sum())
    if wrong or changing:
        remark(
            f"{wrong} of {len(cues)} cues ended nearest to another pattern, {changing} were still changing"
        )
        raise typer.Exit(EXIT_NOT_RECALLED)


def _damaged(patterns: States, flips: float, rng: np.random.Generator) -> States:
    """Patterns with flips; continuous ones with noise of that standard deviation."""
    if patterns.dtype == np.int8:
        return flip(patterns.astype(np.int8), flips, rng)
    cues = np.empty_like(patterns, np.float32)
    Gaussian(flips).damage(patterns.astype(np.float32), rng, cues)
    return cues


def read_cue(path: Path, neurons: int) -> NDArray[np.int8]:
    """A pattern from a text of + and - signs; white space is ignored.

    Raises:
        ValueError: Other characters, or another number of neurons.
    """
    signs = "".join(path.read_text(encoding="utf-8", errors="replace").split())
    if set(signs) - {"+", "-"} or len(signs) != neurons:
        raise ValueError(f"{path} must hold {neurons} signs, + or -, and nothing else; it has {len(signs)}")
    return np.array([1 if sign == "+" else -1 for sign in signs], np.int8)


def _facts(index: int, found: Any, nearest: NDArray[np.float64]) -> dict[str, Any]:
    best = int(np.argmax(nearest[index]))
    return {
        "cue": index,
        "pattern": best,
        "cosine": float(nearest[index, best]),
        "iterations": int(found.iterations[index]),
        "settled": bool(found.settled[index]),
        "state": "".join("+" if value > 0 else "-" for value in found.final[index]),
    }


def _print(
    fact: dict[str, Any], cue: NDArray[np.int8], final: NDArray[np.int8], stored: NDArray[np.int8]
) -> None:
    results.print(
        f"cue {fact['cue']}: nearest stored pattern {fact['pattern']}, cosine {fact['cosine']:.3f}, "
        f"{fact['iterations']} updates{'' if fact['settled'] else ', not settled'}"
    )
    side = round(len(cue) ** 0.5)
    if side * side == len(cue):
        results.print(f"{'cue':<{2 * side}}   {'recalled':<{2 * side}}   stored", style="dim")
        for row in range(side):
            images = (image[row * side : (row + 1) * side] for image in (cue, final, stored))
            results.print("   ".join("".join("██" if p > 0 else "··" for p in image) for image in images))
        results.print()
