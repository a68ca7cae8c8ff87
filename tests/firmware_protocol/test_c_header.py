"""What is generated from the protocol's definition is up to date, and C reads the same bytes."""

import dataclasses
import itertools
import json
import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from enum import IntEnum

import pytest
from cobs import cobs

from firmware_protocol import c_header, definition, reference, released
from firmware_protocol.frame import Frame, Kind, encode
from firmware_protocol.messages import MESSAGES, REQUESTS, Hello
from firmware_protocol.released import Version
from firmware_protocol.wire import U8, U16, Chars, Message, OpClass, Request, Rest, Tail, Vector, layout


def check_up_to_date(path, text):
    same = path.read_text(encoding="utf-8") == text
    assert same, f"{path} is not what the definition says; run: {c_header.WRITE_COMMAND}"


def test_the_committed_header_is_the_definition():
    check_up_to_date(c_header.HEADER_FILE, c_header.header())


def test_the_committed_reference_page_is_the_definition():
    check_up_to_date(c_header.REFERENCE_FILE, reference.reference())


def test_the_wire_is_the_recorded_version():
    complaint = released.complaint(released.load(), released.present())
    if complaint:
        pytest.fail(complaint)


# What is said about fields


@dataclass(frozen=True)
class Answer(Message):
    """One that is no part of the protocol."""

    OPCODE = 0xEE

    loud: U8
    """0 is silence */ 11 is most."""
    signed: U16


@dataclass(frozen=True)
class Ask(Request[Answer]):
    """Nothing but bytes."""

    OPCODE = 0x6E
    CLASS = OpClass.READ
    REPLY = Answer

    data: Tail
    """The question."""


def test_a_field_is_explained_by_the_literal_beneath_it():
    assert definition.docs(Answer) == {"loud": "0 is silence */ 11 is most."}


def test_a_field_that_is_a_word_of_c_gets_an_underscore():
    assert "uint16_t signed_;" in c_header._message(Answer)


def test_no_explanation_ends_a_comment():
    assert "/* 0 is silence * / 11 is most. */" in c_header._message(Answer)


def test_a_message_that_is_all_tail_has_no_structure():
    text = c_header._message(Ask)
    assert "struct chip_ask" not in text
    assert "Its payload is bytes: The question." in text


def test_the_frame_header_is_the_one_that_is_sent():
    sent = Frame(Kind.REPLY, 0x21, 0x0102, 0x0304, ack=0x0506, room=0x0708, status=41, payload=b"abc")
    body = cobs.decode(encode(sent)[:-1])
    fields = definition.header_fields()
    values = struct.unpack_from("<" + "".join(field.kind.format for field in fields), body)
    named = dict(zip([field.name for field in fields], values, strict=True))
    assert {name: value for name, value in named.items() if hasattr(sent, name)} == {
        name: getattr(sent, name) for name in ("kind", "opcode", "status", "session", "seq", "ack", "room")
    }
    assert (named["major"], named["payload_length"]) == (1, 3)


def test_every_number_is_in_the_header_and_on_the_page():
    text, page = c_header.header(), reference.reference()
    for enum in definition.enums():
        assert issubclass(enum, IntEnum)
        assert all(re.search(rf"_{member.name} = {int(member)},", text) for member in enum)
        assert all(f"| {int(member)} | `{member.name}` |" in page for member in enum)


def test_every_message_and_field_is_on_the_page():
    page = reference.reference()
    for message in MESSAGES:
        section = page.split(f"### {message.__name__}\n", 1)[1].split("\n## ", 1)[0].split("\n### ", 1)[0]
        assert f"Opcode 0x{message.OPCODE:02X}" in section
        assert all(f"| `{field.name}` |" in section for field in dataclasses.fields(message))


def test_links_on_the_page_lead_somewhere():
    page = reference.reference()
    heads = {head.lower() for head in re.findall(r"^#+ (\w+)$", page, flags=re.MULTILINE)}
    assert set(re.findall(r"\]\(#(\w+)\)", page)) <= heads


# Versions

OLD = Version((1, 0), 1, frozenset({"a", "b"}), released=True)
DRAFT = dataclasses.replace(OLD, released=False)


def now(*lines, number=(1, 0)):
    return Version(number, hash(lines), frozenset(lines))


def test_an_unchanged_release_passes():
    assert released.complaint({(1, 0): OLD}, DRAFT) is None


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        (now("a", "b", "c"), "raise PROTOCOL_MINOR: added since 1.0, which is released\n    c\n"),
        (now("a"), "raise PROTOCOL_MAJOR: changed or removed since 1.0, which is released\n    b\n"),
        (now("a", "B"), "raise PROTOCOL_MAJOR"),
        (now("a", "B", number=(1, 1)), "raise PROTOCOL_MAJOR"),
    ],
    ids=["addition", "removal", "change", "change behind a minor step"],
)
def test_a_change_after_a_release_needs_its_step(version, wanted):
    complaint = released.complaint({(1, 0): OLD}, version)
    assert complaint is not None
    assert complaint.startswith(wanted)
    assert released.COMMAND in complaint
    with pytest.raises(ValueError, match=wanted.partition(":")[0]):
        released.with_version({(1, 0): OLD}, version)


@pytest.mark.parametrize(
    "version",
    [now("a", "b", "c", number=(1, 1)), now("x", number=(2, 0))],
    ids=["addition with a minor step", "change with a major step"],
)
def test_after_its_step_a_change_only_has_to_be_recorded(version):
    complaint = released.complaint({(1, 0): OLD}, version)
    assert complaint is not None
    assert complaint.startswith("the wire is not as recorded")
    record = released.with_version({(1, 0): OLD}, version)
    assert released.complaint(record, version) is None
    assert record[1, 0] == OLD


def test_a_draft_may_be_recorded_anew():
    version = now("a", "B")
    assert "release" in (released.complaint({(1, 0): DRAFT}, version) or "")
    record = released.with_version({(1, 0): DRAFT}, version)
    assert released.complaint(record, version) is None


def test_drafts_of_other_versions_are_dropped():
    version = now("x", number=(1, 1))
    assert released.with_version({(1, 0): DRAFT}, version) == {(1, 1): version}


def test_a_record_reads_back_as_it_was_written(tmp_path):
    record = {(1, 0): OLD, (1, 10): dataclasses.replace(released.present(), number=(1, 10))}
    released.save(record, tmp_path / "released.json")
    assert released.load(tmp_path / "released.json") == record


def test_the_record_holds_replies_numbers_and_the_frame_header():
    lines = released.present().lines
    assert {"07 SETTING ClearFault(fault:B) -> State", "Status.BUSY = 41", "SET = 1"} <= lines
    assert any(line.startswith("frame header(major:B, kind:B") for line in lines)


# C


@pytest.fixture(scope="module")
def compiled(system_program, tmp_path_factory):
    """Runs the body of a C `main` that may write to `stdout`; returns what it wrote."""
    cc = system_program("cc", package="gcc")
    directory = tmp_path_factory.mktemp("c")

    def run(body):
        source, program = directory / "main.c", directory / "main"
        (directory / "protocol.h").write_text(c_header.header(), encoding="utf-8")
        source.write_text(
            f'#include "protocol.h"\n#include <stdio.h>\nint main(void)\n{{\n{body}\nreturn 0;\n}}\n'
        )
        strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
        made = subprocess.run(
            [cc, *strict, "-o", program, source], capture_output=True, text=True, timeout=60
        )
        assert made.returncode == 0, made.stderr
        return subprocess.run([program], capture_output=True, check=True, timeout=10).stdout

    return run


def sample(message):
    """A message whose bytes all differ from their neighbours, so that no two fields can trade places."""
    count = itertools.count(1)

    def number(code):
        size = struct.calcsize(code)
        return int.from_bytes(bytes(next(count) % 127 + 1 for _ in range(size)), "little")

    def value(kind):
        match kind:
            case Rest():
                return b"\x00tail\xff"
            case Chars(size):
                return "µS"[: size - 1]
            case Vector(code, length):
                return tuple(number(code) for _ in range(length))
            case scalar:
                return number(scalar.code)

    return message(*(value(field.kind) for field in definition.message_fields(message)))


def in_c(message):
    """C that writes `message`: the structure, then the tail."""
    fields = {field.name: field.kind for field in definition.message_fields(type(message))}
    values, tail = [], b""
    for name, kind in fields.items():
        value, member = getattr(message, name), c_header.member_name(name)
        match kind:
            case Rest():
                tail = value
            case Chars():
                values.append(f".{member} = {{{', '.join(f'(char){byte}' for byte in value.encode())}}}")
            case Vector():
                values.append(f".{member} = {{{', '.join(f'{number}u' for number in value)}}}")
            case _:
                values.append(f".{member} = {value}u")
    lines = []
    if values:
        tag = c_header.struct_name(type(message))
        lines = [f"struct {tag} it = {{{', '.join(values)}}};", "fwrite(&it, sizeof it, 1, stdout);"]
    lines += [f"putchar({byte});" for byte in tail]
    return "{ " + " ".join(lines) + " }"


@pytest.mark.extras
def test_c_packs_every_message_into_the_same_bytes(compiled):
    samples = [sample(message) for message in MESSAGES]
    written = compiled("\n".join(in_c(message) for message in samples))
    for message in samples:
        payload = message.pack()
        assert written[: len(payload)] == payload, type(message).__name__
        written = written[len(payload) :]
    assert written == b""


@pytest.mark.extras
def test_a_table_of_requests_can_be_made_in_c(compiled):
    row = 'printf("%d %d %d %d %d\\n", CHIP_OPCODE_##N, CHIP_OP_CLASS_##C, bytes, tail, CHIP_OPCODE_##R);'
    written = compiled(f"#define X(N, n, C, bytes, tail, R) {row}\nCHIP_REQUESTS(X)\n")
    rows = [tuple(map(int, line.split())) for line in written.decode().splitlines()]
    assert rows == [
        (r.OPCODE, r.CLASS, len(r.pack(sample(r))) - 6 * tail, tail, r.REPLY.OPCODE)
        for r in REQUESTS
        for tail in [int(layout(r).has_tail)]
    ]


# The command


def printed(what):
    command = [sys.executable, "-m", "firmware_protocol.c_header", what]
    return subprocess.run(command, capture_output=True, check=True, timeout=30).stdout.decode()


def test_what_is_printed_is_what_is_committed():
    check_up_to_date(c_header.HEADER_FILE, printed("header"))


def test_golden_vectors_are_printed_with_their_arguments():
    hello = json.loads(printed("golden"))["Hello"]
    assert Hello(**hello["arguments"]).pack().hex() == hello["payload"]
    assert set(hello) == {"opcode", "arguments", "payload", "frame"}
