"""Commands of the A0 board survive any stream, and nothing else is ever taken for one."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_protocol import a0
from firmware_protocol.a0_frame import Decoder, Transfers, decode
from firmware_protocol.a0_wire import MAX_MESSAGE, Letter, Real, Whole, kinds

VALUES = {
    Letter: lambda _: st.sampled_from("ABCDEFGHJK"),
    Real: lambda _: st.floats(allow_nan=False, allow_infinity=False),
    Whole: lambda kind: st.integers(kind.low, kind.high),
}


def payloads(kind):
    if kind.PAYLOAD is None:
        return {}
    if kind.PAYLOAD.fixed:
        return {"payload": st.binary(min_size=256, max_size=256)}
    unit = kind.PAYLOAD.unit
    sizes = st.integers(1, 60 if unit == 8 else 200)
    return {"payload": sizes.flatmap(lambda n: st.binary(min_size=unit * n, max_size=unit * n))}


def commands():
    made = [
        st.builds(kind, **{name: VALUES[type(k)](k) for name, k in kinds(kind)}, **payloads(kind))
        for kind in a0.COMMANDS.values()
    ]
    return st.one_of(made)


def test_the_command_set_is_the_published_one():
    assert sorted(a0.COMMANDS) == [
        *(101, 103, 201, 202, 203, 204, 205, 207, 210, 211, 212, 213, 214, 215, 216, 217, 218, 219),
        *(220, 221, 230, 231, 301, 302, 303, 304, 401, 402, 403, 404, 405, 406, 407, 411, 412, 502),
    ]


@given(st.lists(commands(), max_size=6), st.integers(1, 400))
def test_commands_arrive_as_they_were_sent_whatever_the_pieces(sent, size):
    data = b"".join(command.encode() for command in sent)
    decoder = Decoder()
    pieces = (data[at : at + size] for at in range(0, len(data), size))
    assert [command for piece in pieces for command in decoder.feed(piece)] == sent
    assert decoder.bad_messages == 0


@given(commands())
def test_a_command_is_one_short_transfer(command):
    message = command.encode()
    assert len(message) <= MAX_MESSAGE
    assert decode(message) == command
    assert Transfers().feed(message) == command


@given(st.lists(st.binary(max_size=900), max_size=8))
def test_garbage_raises_nothing_fills_nothing_and_the_next_command_but_one_is_read(garbage):
    decoder = Decoder()
    for piece in garbage:
        decoder.feed(piece)
        assert len(decoder._held) <= MAX_MESSAGE
    ping = a0.ReadCells(1, 0, 500)
    found = decoder.feed(bytes(MAX_MESSAGE) + ping.encode() + ping.encode())
    assert found[-1] == ping


FIELDS = st.sampled_from([b"", b"-1", b"7", b"70000", b"x", b"A", b"1e9", b" 2", b"\x01", b"99999999999"])


@settings(max_examples=300)
@given(st.sampled_from(sorted(a0.COMMANDS)), st.lists(FIELDS, max_size=9), st.binary(max_size=600))
def test_half_right_messages_raise_only_the_protocols_own_error(code, texts, tail):
    message = b",".join([b"%d" % code, *texts]) + tail
    with contextlib.suppress(a0.A0Error):
        decode(message)
    decoder = Decoder()
    decoder.feed(message)
    assert len(decoder._held) <= MAX_MESSAGE


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (a0.ReadCells(0, 1, 500), b"402,0,1,500\0"),
        (a0.SetPin("D", 13), b"211,D,13\0"),
        (a0.WriteDac(0x00E00003), b"214,50388992\0"),
        (a0.LoadChain(2, b"\x10\0,"), b"303,2,3,\x01,\x10\0,\0"),
        (a0.Multiply(0, 3, 500, bytes(7) + b"\x01"), b"403,0,1,3,500,\x01," + bytes(7) + b"\x01\0"),
        (a0.PulseRows(2, 1, 126, bytes(256)), b"405,2,1,126,0," + bytes(256) + b"\0"),
        (a0.TimedPulseRows(0, 0, 32767, 10, 2, bytes(256)), b"407,0,0,32767,10,2,0," + bytes(256) + b"\0"),
    ],
)
def test_messages_are_byte_for_byte_those_of_the_board(command, message):
    assert command.encode() == message
    assert decode(message) == command


def test_fractions_are_dropped_and_signs_of_words_do_not_matter():
    assert decode(b"407,0,1,32767,10.0,0,0," + bytes(256) + b"\0").width_us == 10
    assert decode(b"214,%d\0" % 0x80FF3500) == decode(b"214,%d\0" % (0x80FF3500 - 2**32))


def test_the_clients_slip_of_the_missing_comma_costs_a_byte_but_not_the_line():
    slipped = b"219,2,3,\x01abc\0,"
    assert Decoder().feed(slipped + a0.Count().encode()) == [
        a0.ExchangeChain(2, b"bc\0"),
        a0.Count(),
    ]
    assert Decoder().feed(a0.ExchangeChain(2, b",,,").encode()) == [a0.ExchangeChain(2, b",,,")]


def test_of_two_messages_in_one_transfer_the_second_is_lost():
    both = a0.Count().encode() + a0.ReadAdcBus().encode()
    assert Transfers().feed(both) == a0.Count()
    assert Decoder().feed(both) == [a0.Count(), a0.ReadAdcBus()]


def test_a_transfer_cut_short_is_filled_up_with_what_was_there():
    transfers = Transfers()
    transfers.feed(a0.ReadCell(2, 63, 12, 1).encode())
    assert transfers.feed(b"401,0,0") == a0.ReadCell(0, 3, 12, 1)
    assert transfers.feed(b"\0anything") is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: a0.ReadCell(3, 0, 0, 0),
        lambda: a0.ReadCell(0, 64, 0, 0),
        lambda: a0.SetPin("I", 0),
        lambda: a0.SetPin("A", 16),
        lambda: a0.Pulse(0, 0, 0, 2, 1, 1),
        lambda: a0.PulseRows(0, 1, 0, bytes(255)),
        lambda: a0.Multiply(0, 1, 0, bytes(7)),
        lambda: a0.LoadChain(2, b""),
        lambda: a0.LoadChain(0, bytes(505)).encode(),
    ],
)
def test_what_the_board_would_not_check_is_refused_before_it_is_sent(make):
    with pytest.raises(a0.A0Error):
        make()


def test_replies_have_the_sizes_that_the_client_reads():
    vectors = bytes(8 * 60)
    sizes = {
        a0.ReadCells(0, 0, 0): 8192,
        a0.Multiply(0, 1, 0, vectors): 7680,
        a0.Multiply(0, 1, 0, vectors[:40]): 1024,
        a0.Multiply(0, 1, 0, vectors + bytes(8)): 0,
        a0.PulseRows(0, 1, 124, bytes(256)): 0,
        a0.PulseRows(0, 1, 126, bytes(256)): 1,
        a0.ExchangeChain(2, bytes(7)): 7,
        a0.Count(): 256,
        a0.ReadMonitors(): 20,
    }
    assert {command: command.reply.size for command in sizes} == sizes


@given(st.lists(st.integers(0, 0xFFFF), min_size=16, max_size=16))
def test_replies_come_back_as_they_were_packed(words):
    reply = a0.ReadFifo(3).reply
    assert reply.unpack(reply.pack(words)).tolist() == words
    with pytest.raises(a0.A0Error):
        reply.unpack(reply.pack(words) + b"\0")
    assert a0.Pulse(0, 0, 0, 1, 1, 1).reply.pack(a0.HANDSHAKE) == b"0"
    assert np.dtype(reply.dtype).byteorder in "<="
