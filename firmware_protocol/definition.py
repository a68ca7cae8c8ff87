"""The whole protocol as data: its enums, numbers and frame header, and what the source says about each."""

import ast
import inspect
import itertools
import sys
from collections.abc import Iterator
from enum import IntEnum
from functools import cache
from types import ModuleType
from typing import NamedTuple

from firmware_protocol import frame, jobs, messages, rails, status, wire
from firmware_protocol.wire import Message, Scalar, layout


class Field(NamedTuple):
    """One field of a message or of the frame header."""

    name: str
    kind: wire.Kind
    meaning: str


def enums() -> list[type[IntEnum]]:
    """Every set of numbers that has a meaning on the wire."""
    found = []
    for module in (frame, wire, status, jobs, messages, rails):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, IntEnum) and value.__module__ == module.__name__:
                found.append(value)
    return found


def constants() -> dict[str, tuple[int, str]]:
    """Single numbers both ends share: name, value and meaning."""
    return {
        name: (value, docs(module).get(name, ""))
        for module in (messages, frame)
        for name, value in vars(module).items()
        if isinstance(value, int) and name.isupper() and name[0] != "_" and name in _assigned(module.__name__)
    }


def message_fields(message: type[Message]) -> list[Field]:
    """The fields of a message in the order of its bytes."""
    shape, said = layout(message), docs(message)
    return [
        Field(name, kind, said.get(name, "")) for name, kind in zip(shape.names, shape.kinds, strict=True)
    ]


def header_fields() -> list[Field]:
    """The frame header's fields: the format of its `Struct`, the names from the literal beneath it."""
    made = _assigned(frame.__name__)["_HEADER"]
    assert isinstance(made, ast.Call)
    codes = ast.literal_eval(made.args[0]).removeprefix("<")
    spoken = docs(frame)["_HEADER"].rstrip(".").lower().split(", ")
    said = docs(frame.Frame)
    of_enum = {enum.__name__.lower(): f"`{enum.__name__}`." for enum in enums()}
    return [
        Field(name.replace(" ", "_"), Scalar(code), said.get(name) or of_enum.get(name, ""))
        for name, code in zip(spoken, codes, strict=True)
    ]


def docs(owner: type | ModuleType) -> dict[str, str]:
    """What the string literals say beneath the names of a class or of a module's constants."""
    if isinstance(owner, ModuleType):
        return dict(_said(_tree(owner.__name__).body))
    bodies = (node for node in _tree(owner.__module__).body if isinstance(node, ast.ClassDef))
    return dict(_said(next(node.body for node in bodies if node.name == owner.__name__)))


def _said(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, below in itertools.pairwise(body):
        name = _target(statement)
        if name and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            yield name, inspect.cleandoc(str(below.value.value))


def _assigned(module: str) -> dict[str, ast.expr | None]:
    return {
        name: statement.value
        for statement in _tree(module).body
        if isinstance(statement, ast.Assign | ast.AnnAssign) and (name := _target(statement))
    }


def _target(statement: ast.stmt) -> str:
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id
    return ""


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(sys.modules[module]))
