"""The reference page of the protocol, written from its definition."""

import inspect
import re
import struct
from typing import Any

from firmware_protocol import definition, frame, messages, session
from firmware_protocol.definition import Field
from firmware_protocol.messages import MESSAGES, PROTOCOL_MAJOR, PROTOCOL_MINOR, REQUESTS, SCHEMA_HASH
from firmware_protocol.status import Status, advice
from firmware_protocol.wire import Chars, Message, Request, Rest, Vector

_TYPES = {"B": "u8", "b": "i8", "H": "u16", "h": "i16", "I": "u32", "i": "i32", "Q": "u64", "q": "i64"}

_OPENING = f"""\
<!-- Written by `python -m firmware_protocol.c_header write` from the Python source: change that. -->
# The protocol between host and board

Version {PROTOCOL_MAJOR}.{PROTOCOL_MINOR}, layouts 0x{SCHEMA_HASH:08x}. \
`firmware_protocol/protocol.h` holds the same for C.

Integers are little-endian; structures have no padding. `text[n]` is UTF-8, padded with NUL to n bytes; \
`bytes` is whatever the payload has left."""


def reference() -> str:
    """The page, in Markdown."""
    replies = [message for message in MESSAGES if message not in REQUESTS]
    parts = [
        _OPENING,
        "## Frames",
        _doc(frame),
        f"A payload has at most {messages.MAX_PAYLOAD} bytes.",
        "### Header",
        _fields(definition.header_fields()),
        "## Sessions",
        _doc(session),
        "## Messages",
        _doc(messages),
        _overview(),
        "## Statuses",
        "A reply whose status is not `OK` carries a [`Refusal`](#refusal); a notice carries nothing. Asking "
        "again helps under the same sequence number (`same-seq`), a new one (`new-seq`), or not (`never`).",
        _statuses(),
        "## Requests",
        *map(_request, REQUESTS),
        "## Replies",
        *map(_reply, replies),
        "## Numbers",
        *_numbers(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _overview() -> str:
    rows = [
        [f"0x{r.OPCODE:02X}", _link(r), r.CLASS.name, _link(r.REPLY), _cell(_doc(r).split("\n\n")[0])]
        for r in REQUESTS
    ]
    return _table(["opcode", "request", "class", "reply", ""], rows)


def _request(message: type[Request[Any]]) -> str:
    about = f"Opcode 0x{message.OPCODE:02X}, class {message.CLASS.name}, reply {_link(message.REPLY)}."
    return _message(message, about)


def _reply(message: type[Message]) -> str:
    asked = ", ".join(_link(request) for request in REQUESTS if request.REPLY is message)
    return _message(message, f"Opcode 0x{message.OPCODE:02X}" + (f"; answers {asked}." if asked else "."))


def _message(message: type[Message], about: str) -> str:
    fields = definition.message_fields(message)
    content = _fields(fields) if fields else "No fields."
    return "\n\n".join([f"### {message.__name__}", about, _doc(message), content])


def _fields(fields: list[Field]) -> str:
    rows, at = [], 0
    for field in fields:
        rows.append([str(at), f"`{field.name}`", _type(field), _cell(field.meaning)])
        at += struct.calcsize("<" + field.kind.format)
    return _table(["byte", "field", "type", "meaning"], rows)


def _type(field: Field) -> str:
    match field.kind:
        case Rest():
            return "bytes"
        case Chars(count):
            return f"text[{count}]"
        case Vector(code, count):
            return f"{_TYPES[code]}[{count}]"
        case scalar:
            return _TYPES[scalar.code]


def _statuses() -> str:
    said = definition.docs(Status)
    rows = []
    for status in Status:
        meaning = re.sub(r"^\dx[^:]*: *", "", said.get(status.name, ""))
        who = advice(status)
        rows.append([str(int(status)), f"`{status.name}`", _cell(_capital(meaning)), who.who, who.retry])
    return _table(["", "status", "meaning", "who must act", "ask again"], rows)


def _numbers() -> list[str]:
    constants = [
        [f"`{name}`", str(value), _cell(meaning)]
        for name, (value, meaning) in definition.constants().items()
        if name != "SCHEMA_HASH"
    ]
    parts = [_table(["name", "value", "meaning"], constants)]
    for enum in definition.enums():
        if enum is not Status:
            said = definition.docs(enum)
            rows = [[str(int(m)), f"`{m.name}`", _cell(said.get(m.name, ""))] for m in enum]
            parts += [f"### {enum.__name__}", _doc(enum), _table(["", "name", "meaning"], rows)]
    return parts


def _doc(documented: object) -> str:
    return inspect.getdoc(documented) or ""


def _link(message: type[Message]) -> str:
    return f"[`{message.__name__}`](#{message.__name__.lower()})"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
