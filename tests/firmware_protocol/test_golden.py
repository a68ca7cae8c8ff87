"""The bytes on the wire are those on record: they change with the protocol's version only.

After a change of layouts with a version step, `python tests/firmware_protocol/test_golden.py` records anew.
"""

import json
from pathlib import Path

import pytest

from firmware_protocol.frame import Decoder, Frame, Kind, encode
from firmware_protocol.messages import MESSAGES, PROTOCOL_MAJOR, PROTOCOL_MINOR, SCHEMA_HASH
from firmware_protocol.wire import Chars, Rest, Scalar, Vector, layout

RECORD = Path(__file__).with_name("golden.json")
_BITS = {"B": 8, "H": 16, "I": 32, "Q": 64, "i": 31}


def example(message):
    """A message with a different value in every field, none of them symmetric in its bytes."""
    values = []
    for place, kind in enumerate(layout(message).kinds, start=1):
        match kind:
            case Scalar(code):
                number = (0x0102030405060708 * place + place) % 2 ** _BITS[code]
                values.append(-number if code == "i" else number)
            case Vector(code, count):
                values.append(tuple((0x01020304 * (place + n)) % 2 ** _BITS[code] for n in range(count)))
            case Chars(count):
                values.append(f"µ{place}"[: count - 1])
            case Rest():
                values.append(bytes(range(place, place + 9)))
    return message(*values)


def framed(message):
    kind = Kind.REPLY if message.OPCODE >= 0x80 else Kind.REQUEST
    return Frame(kind, message.OPCODE, 0x1234, 0x5678, 0x5677, 0x0230, 0, example(message).pack())


def recorded():
    return json.loads(RECORD.read_text())


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
def test_a_message_is_packed_and_framed_as_on_record(message):
    payload, frame = recorded()["messages"][message.__name__]
    assert example(message).pack().hex() == payload
    assert encode(framed(message)).hex() == frame


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
def test_the_bytes_on_record_are_read_as_they_were_meant(message):
    payload, frame = recorded()["messages"][message.__name__]
    assert message.unpack(bytes.fromhex(payload)) == example(message)
    assert Decoder().feed(bytes.fromhex(frame)) == [framed(message)]


def test_the_record_is_of_this_version_and_of_all_messages():
    record = recorded()
    assert record["version"] == [PROTOCOL_MAJOR, PROTOCOL_MINOR]
    assert record["schema_hash"] == SCHEMA_HASH
    assert set(record["messages"]) == {message.__name__ for message in MESSAGES}


if __name__ == "__main__":
    messages = {m.__name__: [example(m).pack().hex(), encode(framed(m)).hex()] for m in MESSAGES}
    record = {"version": [PROTOCOL_MAJOR, PROTOCOL_MINOR], "schema_hash": SCHEMA_HASH, "messages": messages}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
