"""Questions that take long: answered in any order, on any number of processes, each answer kept at once."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Answer:
    """A task, what came of it, and the CPU time it took."""

    task: Any
    value: Any
    """What JSON can hold: a number, or a dict of what was measured."""
    seconds: float


class Task(Protocol):
    """A question that can be sent to another process."""

    @property
    def key(self) -> str:
        """Equal for equal questions, in any process."""
        ...

    def answer(self) -> Answer:
        """Work it out."""
        ...


Spread = Callable[[Callable[[Task], Answer], Sequence[Task]], Iterable[Answer]]
"""Applies a function to each task, in any order: `map`, or the processes of a pool or a cluster."""


def answer(task: Task) -> Answer:
    """The answer to one task, worked out here."""
    return task.answer()


class Answers:
    """Answers in a file of JSON lines, kept as they come; a line cut short by a kill is left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, tuple[Any, float]] = {}
        if path.exists():
            self.learn(path)
        self._kept = set(self._known)

    def learn(self, path: Path) -> None:
        """Take the answers of another file for true; those that are asked for are kept in this one too."""
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
                self._known[record["key"]] = (record["value"], record["seconds"])
            except (ValueError, KeyError, TypeError):
                continue

    def find(self, task: Task) -> Answer | None:
        """The answer to a task, if it is there."""
        known = self._known.get(task.key)
        return None if known is None else Answer(task, *known)

    def keep(self, answer: Answer) -> None:
        """Append it to the file, if it is not there."""
        key, seconds = answer.task.key, round(answer.seconds, 2)
        if key in self._kept:
            return
        line = json.dumps({"key": key, "value": answer.value, "seconds": seconds}, ensure_ascii=False)
        cut = self._path.exists() and not self._path.read_bytes().endswith(b"\n")
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("\n" if cut else "") + line + "\n")
        self._known[key] = (answer.value, seconds)
        self._kept.add(key)


def measure(tasks: Iterable[Task], known: Answers, spread: Spread = map) -> Iterator[Answer]:
    """Answers to all tasks, those already known first; the others are kept as they come, none asked twice."""
    asked: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        asked[task.key].append(task)
    unknown = []
    for same in asked.values():
        found = known.find(same[0])
        if found is None:
            unknown.append(same[0])
        else:
            known.keep(found)
            yield from (Answer(task, found.value, found.seconds) for task in same)
    for found in spread(answer, unknown):
        known.keep(found)
        yield from (Answer(task, found.value, found.seconds) for task in asked[found.task.key])
