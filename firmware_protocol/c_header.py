"""The protocol for firmware in C, and the command that writes all that is generated from the definition.

`python -m firmware_protocol.c_header` takes one of

    header      print `protocol.h`
    reference   print `docs/protocol.md`
    golden      print the frozen bytes of every message: arguments, payload, frame (bytes in hex)
    write       bring the two committed files up to date
    release     record the layouts as the present version's; with --final it is released, no more a draft
"""

import argparse
import dataclasses
import inspect
import json
import re
import struct
import sys
import textwrap
from enum import IntEnum
from pathlib import Path
from typing import Any

from firmware_protocol import definition, released
from firmware_protocol.definition import Field
from firmware_protocol.messages import MESSAGES, PROTOCOL_MAJOR, PROTOCOL_MINOR, REQUESTS
from firmware_protocol.reference import reference
from firmware_protocol.wire import Chars, Message, Request, Rest, Vector, layout

HEADER_FILE = Path(__file__).with_name("protocol.h")
REFERENCE_FILE = Path(__file__).parents[1] / "docs" / "protocol.md"
GOLDEN_FILE = Path(__file__).parents[1] / "tests" / "firmware_protocol" / "golden.json"

WRITE_COMMAND = "python -m firmware_protocol.c_header write"

_TYPES = {
    "B": "uint8_t",
    "b": "int8_t",
    "H": "uint16_t",
    "h": "int16_t",
    "I": "uint32_t",
    "i": "int32_t",
    "Q": "uint64_t",
    "q": "int64_t",
}

_KEYWORDS = {
    "const",
    "default",
    "double",
    "enum",
    "float",
    "int",
    "long",
    "register",
    "short",
    "signed",
    "static",
}
_KEYWORDS |= {
    "auto",
    "case",
    "char",
    "do",
    "extern",
    "goto",
    "inline",
    "restrict",
    "sizeof",
    "struct",
    "switch",
}
_KEYWORDS |= {"typedef", "union", "unsigned", "void", "volatile"}
"""Those of C that Python does not keep for itself."""

_OPENING = f"""\
/* The protocol between host and board, version {PROTOCOL_MAJOR}.{PROTOCOL_MINOR}, for C11.
 *
 * Written by `{WRITE_COMMAND}` from the Python source: change that,
 * not this. Structures are the bytes of a payload: little-endian, no padding, perhaps unaligned. Text is
 * UTF-8, padded with NUL, not ended by it. A flexible array member takes what the payload has left.
 */
#ifndef CHIP_PROTOCOL_H
#define CHIP_PROTOCOL_H

#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "these structures are the wire's bytes on a little-endian processor only"
#endif"""


def header() -> str:
    """The C header."""
    replies = [message for message in MESSAGES if message not in REQUESTS]
    parts = [
        _OPENING,
        *(_constant(name, value, said) for name, (value, said) in definition.constants().items()),
        *map(_enum, definition.enums()),
        _opcodes(),
        "#pragma pack(push, 1)",
        _struct("chip_frame_header", definition.header_fields(), "Before the payload; a CRC-32C follows it."),
        *map(_message, [*REQUESTS, *replies]),
        "#pragma pack(pop)",
        _requests(),
        "#endif",
    ]
    return "\n\n".join(parts) + "\n"


def struct_name(message: type[Message]) -> str:
    """The tag of a message's structure."""
    return f"chip_{_snake(message.__name__)}"


def member_name(field: str) -> str:
    """The name of a field in C, which has words of its own."""
    return f"{field}_" if field in _KEYWORDS else field


def _constant(name: str, value: int, said: str) -> str:
    number = f"0x{value:08x}u" if name == "SCHEMA_HASH" else f"{value}u"
    return _comment(said) + f"#define CHIP_{name} {number}"


def _enum(enum: type[IntEnum]) -> str:
    said, prefix = definition.docs(enum), _snake(enum.__name__).upper()
    members = "".join(
        _comment(said.get(member.name, ""), "    ") + f"    CHIP_{prefix}_{member.name} = {int(member)},\n"
        for member in enum
    )
    return _comment(inspect.getdoc(enum) or "") + f"enum chip_{prefix.lower()} {{\n{members}}};"


def _opcodes() -> str:
    members = "".join(
        f"    CHIP_OPCODE_{_snake(message.__name__).upper()} = 0x{message.OPCODE:02x},\n"
        for message in MESSAGES
    )
    return f"/* The third byte of a frame's header. */\nenum chip_opcode {{\n{members}}};"


def _message(message: type[Message]) -> str:
    about = f"{message.__name__}, 0x{message.OPCODE:02x}"
    if issubclass(message, Request):
        about += f", {message.CLASS.name}, answered by {struct_name(message.REPLY)}"
    said = f"{about}.\n\n{inspect.getdoc(message) or ''}"
    return _struct(struct_name(message), definition.message_fields(message), said)


def _struct(name: str, fields: list[Field], said: str) -> str:
    size = struct.calcsize("<" + "".join(field.kind.format for field in fields))
    if size == 0:
        content = (
            f"Its payload is bytes: {fields[0].meaning or fields[0].name}."
            if fields
            else "It has no payload."
        )
        return _comment(f"{said}\n\n{content}").rstrip()
    members = "".join(_comment(field.meaning, "    ") + f"    {_member(field)};\n" for field in fields)
    check = f'_Static_assert(sizeof(struct {name}) == {size}, "layout of {name}");'
    return _comment(said) + f"struct {name} {{\n{members}}};\n{check}"


def _member(field: Field) -> str:
    name = member_name(field.name)
    match field.kind:
        case Rest():
            return f"uint8_t {name}[]"
        case Chars(count):
            return f"char {name}[{count}]"
        case Vector(code, count):
            return f"{_TYPES[code]} {name}[{count}]"
        case scalar:
            return f"{_TYPES[scalar.code]} {name}"


def _requests() -> str:
    entries = "".join(f" \\\n    X({', '.join(_entry(request))})" for request in REQUESTS)
    said = (
        "Every request, for tables: X(NAME, name, class, bytes before the tail, 1 if it has a tail, REPLY)."
    )
    return f"/* {said} */\n#define CHIP_REQUESTS(X){entries}"


def _entry(request: type[Request[Any]]) -> list[str]:
    name, shape = _snake(request.__name__), layout(request)
    reply = _snake(request.REPLY.__name__).upper()
    return [name.upper(), name, request.CLASS.name, str(shape.fixed.size), str(int(shape.has_tail)), reply]


def _comment(text: str, indent: str = "") -> str:
    """`text` as a comment on the lines before what it is about; nothing for nothing."""
    if not text:
        return ""
    paragraphs = text.replace("*/", "* /").replace("/*", "/ *").split("\n\n")
    wrapped = [
        textwrap.wrap(" ".join(part.split()), 106 - len(indent)) for part in paragraphs if part.strip()
    ]
    lines = [line for part in wrapped for line in ("", *part)][1:]
    if len(lines) == 1:
        return f"{indent}/* {lines[0]} */\n"
    first, *others = lines
    body = "".join(f"{indent} * {line}".rstrip() + "\n" for line in others)
    return f"{indent}/* {first}\n{body}{indent} */\n"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _release(final: bool) -> str:
    record = released.load() if released.RECORD.exists() else {}
    version = dataclasses.replace(released.present(), released=final)
    known = record.get(version.number)
    if known is not None and known.released:
        version = dataclasses.replace(version, released=True)
    try:
        released.save(released.with_version(record, version))
    except ValueError as error:
        sys.exit(str(error))
    name = ".".join(map(str, version.number))
    return f"recorded {name} ({'released' if version.released else 'draft'}) in {released.RECORD}\n"


def _write() -> str:
    for path, text in ((HEADER_FILE, header()), (REFERENCE_FILE, reference())):
        path.write_text(text, encoding="utf-8")
    return f"wrote {HEADER_FILE}\nwrote {REFERENCE_FILE}\n"


def _golden() -> str:
    if not GOLDEN_FILE.exists():
        sys.exit(f"the golden vectors are in the source tree only: no {GOLDEN_FILE}")
    classes = {message.__name__: message for message in MESSAGES}
    records = {}
    for name, (payload, frame) in json.loads(GOLDEN_FILE.read_text(encoding="utf-8"))["messages"].items():
        message = classes[name].unpack(bytes.fromhex(payload))
        arguments = {
            key: value.hex() if isinstance(value, bytes) else value
            for key, value in dataclasses.asdict(message).items()
        }
        records[name] = {"opcode": message.OPCODE, "arguments": arguments, "payload": payload, "frame": frame}
    return json.dumps(records, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Print or write what is generated from the definition."""
    parser = argparse.ArgumentParser(prog="python -m firmware_protocol.c_header", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("what", choices=["header", "reference", "golden", "write", "release"])
    parser.add_argument("--final", action="store_true", help="release: from now on a version step is needed")
    given = parser.parse_args()
    if given.final and given.what != "release":
        parser.error("--final goes with release")
    if given.what == "release":
        text = _release(given.final)
    elif given.what == "write":
        text = _write()
    elif given.what == "golden":
        text = _golden()
    else:
        text = {"header": header, "reference": reference}[given.what]()
    sys.stdout.buffer.write(text.encode())


if __name__ == "__main__":
    main()
