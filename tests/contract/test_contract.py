"""The messages on the wire: golden files, faults that each must be named, and bytes that were never a message."""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shared import contract
from shared.contract import (
    LABELS,
    MAX_CLIP_BYTES,
    MAX_HEADER_BYTES,
    MAX_PICTURE_BYTES,
    MAX_REQUEST_BYTES,
    MEDIA,
    PICTURES,
    RECEIPTS,
    SNIPPETS,
    TEXTS,
    Box,
    DecisionSettings,
    ExamplesMessage,
    Fields,
    LabelSet,
    LabelsMessage,
    MediaMessage,
    PictureInfo,
    PicturesAnswer,
    PicturesAnswerHeader,
    PicturesRequest,
    Receipt,
    SnippetHeader,
    SnippetMessage,
    TextsAnswer,
    TextsRequest,
)
from shared.errors import ContractError
from tests.contract import examples
from tests.contract.examples import (
    answer,
    at,
    judged,
    labels,
    media,
    picture_answer,
    picture_question,
    question,
    read_golden,
    receipt,
    snippet,
)

Message = (
    SnippetMessage
    | MediaMessage
    | LabelsMessage
    | TextsRequest
    | TextsAnswer
    | PicturesRequest
    | PicturesAnswer
    | Receipt
    | ExamplesMessage
)
KINDS: dict[str, type[Message]] = {
    SNIPPETS: SnippetMessage,
    MEDIA: MediaMessage,
    LABELS: LabelsMessage,
    TEXTS: TextsRequest,
    f"{TEXTS}.answer": TextsAnswer,
    PICTURES: PicturesRequest,
    f"{PICTURES}.answer": PicturesAnswer,
    RECEIPTS: Receipt,
    contract.EXAMPLES: ExamplesMessage,
}
EXAMPLES: dict[str, Callable[[], Message]] = {
    SNIPPETS: snippet,
    MEDIA: media,
    LABELS: labels,
    TEXTS: question,
    f"{TEXTS}.answer": answer,
    PICTURES: picture_question,
    f"{PICTURES}.answer": picture_answer,
    RECEIPTS: receipt,
    contract.EXAMPLES: judged,
}
each_kind = pytest.mark.parametrize("stream", list(KINDS))


def changed(fields: Fields, **header: Any) -> Fields:  # Any: JSON values
    """Return `fields` with other values in the header; a name with __ goes into what it holds."""
    document = json.loads(fields[b"h"])
    for name, value in header.items():
        *parents, last = name.split("__")
        part = document
        for parent in parents:
            part = part[int(parent) if parent.isdigit() else parent]
        part[last] = value
    return {**fields, b"h": json.dumps(document).encode()}


# -- golden files


@pytest.mark.parametrize("name", sorted(examples.all_encoded()))
def test_what_is_written_today_equals_the_golden_file(name: str) -> None:
    path = examples.GOLDEN / f"{name}.json"
    assert examples.golden_text(examples.all_encoded()[name]) == path.read_text(encoding="utf-8"), (
        f"{path.name}: a message changed; within a version fields are only added, with a default: "
        "keep the old file under another name and write a new one"
    )


@each_kind
def test_golden_files_are_read_today(stream: str) -> None:
    assert KINDS[stream].decode(read_golden(stream)) == EXAMPLES[stream]()


def test_labels_are_read_with_and_without_the_scores_that_decided() -> None:
    assert LabelsMessage.decode(read_golden("labels.v1.scored")) == examples.scored_labels()
    assert LabelsMessage.decode(read_golden("labels.v1")).scores == b""


def test_crops_are_read_with_and_without_the_object_that_they_show() -> None:
    tracked, plain = read_golden("snippets.v1.tracked"), read_golden("snippets.v1")
    assert [one.track for one in SnippetMessage.decode(tracked).header.pictures] == [None, 3, None]
    assert [one.track for one in SnippetMessage.decode(plain).header.pictures] == [None, None, None]
    assert LabelsMessage.decode(read_golden("labels.v1.tracked")) == examples.tracked_labels()


@pytest.mark.parametrize(
    ("picture", "track", "fault"),
    [
        (0, 3, "pictures.0: .*kind=frame with track=3: only a crop shows a single object"),
        (1, -1, "pictures.1.track: .*greater than or equal to 0"),
        (1, 2**31, "pictures.1.track: .*less than or equal to 2147483647"),
        (1, 1.5, "pictures.1.track: .*valid integer"),
        (1, "x", "pictures.1.track: .*valid integer"),
    ],
)
def test_a_track_that_cannot_be_is_named(picture: int, track: object, fault: str) -> None:
    fields = changed(snippet().encode(), **{f"pictures__{picture}__track": track})
    with pytest.raises(ContractError, match=fault):
        SnippetMessage.decode(fields)


@pytest.mark.parametrize("name", [b"scores", b"backgrounds"])
@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (b"", "has 0 bytes, wanted 16 for 2 x 2"),
        (struct.pack("<5f", 0, 0, 0, 0, 0), "has 20 bytes"),
        (struct.pack("<4f", 0, 0, 1.5, 0), "outside of 0..1"),
        (struct.pack("<4f", 0, 0, math.nan, 0), "outside of 0..1"),
    ],
)
def test_scores_that_do_not_fit_their_moments_are_refused(name: bytes, value: bytes, fault: str) -> None:
    fields = {**examples.scored_labels().encode(), name: value}
    with pytest.raises(ContractError, match=f"field '{name.decode()}' .*{fault}"):
        LabelsMessage.decode(fields)


def test_the_least_that_version_1_may_hold_is_read() -> None:
    message = SnippetMessage.decode(read_golden("snippets.v1.least"))
    assert message.header.label_set == LabelSet(labels=("a dog",))
    assert message.header.decision == DecisionSettings()
    assert message.pictures == ()
    assert message.media_id == ""


def test_what_a_later_writer_adds_is_ignored() -> None:
    assert SnippetMessage.decode(read_golden("snippets.v1.later")) == snippet()


def test_every_golden_file_is_tested() -> None:
    wanted = {f"{name}.json" for name in [*examples.all_encoded(), "snippets.v1.least", "snippets.v1.later"]}
    assert {path.name for path in examples.GOLDEN.iterdir()} == wanted


# -- faults


@each_kind
def test_each_field_is_needed(stream: str) -> None:
    whole = EXAMPLES[stream]().encode()
    for name in whole:
        fields = {key: value for key, value in whole.items() if key != name}
        with pytest.raises(ContractError, match=f"field '{name.decode()}' is missing"):
            KINDS[stream].decode(fields)
    with pytest.raises(ContractError):
        KINDS[stream].decode({})


@each_kind
def test_every_truncated_header_is_refused(stream: str) -> None:
    whole = EXAMPLES[stream]().encode()
    for length in range(len(whole[b"h"])):
        with pytest.raises(ContractError):
            KINDS[stream].decode({**whole, b"h": whole[b"h"][:length]})


@each_kind
@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"null",
        b"[]",
        b"3",
        b'"text"',
        b"{}",
        b"\xff\xfe",
        b'{"camera": "\xff"}',
        b"{" * 10_000,
        b"[" * 200_000,
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_what_is_no_header_is_refused(stream: str, header: bytes) -> None:
    with pytest.raises(ContractError):
        KINDS[stream].decode({**EXAMPLES[stream]().encode(), b"h": header})


@each_kind
@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5, "x" * 5000], ids=str)
def test_another_version_is_named(stream: str, version: object) -> None:
    with pytest.raises(ContractError, match=r"version '.{1,40}', this service reads 1: upgrade the older"):
        KINDS[stream].decode(changed(EXAMPLES[stream]().encode(), version=version))


@each_kind
def test_a_huge_header_is_refused_before_it_is_read(stream: str) -> None:
    fields = {**EXAMPLES[stream]().encode(), b"h": b" " * (MAX_HEADER_BYTES + 1)}
    with pytest.raises(ContractError, match=f"{MAX_HEADER_BYTES + 1} bytes, at most {MAX_HEADER_BYTES}"):
        KINDS[stream].decode(fields)


@pytest.mark.parametrize(
    ("stream", "name", "limit"),
    [
        (SNIPPETS, b"p1", MAX_PICTURE_BYTES),
        (MEDIA, b"jpg", MAX_PICTURE_BYTES),
        (MEDIA, b"mp4", MAX_CLIP_BYTES),
        (PICTURES, b"p1", MAX_PICTURE_BYTES),
    ],
)
def test_huge_pictures_and_clips_are_refused(stream: str, name: bytes, limit: int) -> None:
    fields = {**EXAMPLES[stream]().encode(), name: bytes(limit + 1)}
    with pytest.raises(ContractError, match=f"field '{name.decode()}' has {limit + 1} bytes"):
        KINDS[stream].decode(fields)


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ({"motion_peak": math.nan}, "motion_peak"),
        ({"motion_peak": math.inf}, "motion_peak"),
        ({"motion_peak": 1.001}, "motion_peak"),
        ({"latitude": math.nan}, "latitude"),
        ({"latitude": 90.5}, "latitude"),
        ({"longitude": -math.inf}, "longitude"),
        ({"decision__window_s": math.nan}, "decision.window_s"),
        ({"pictures__1__box__x": math.nan}, "pictures.1.box.x"),
        ({"snippet": -1}, "snippet"),
        ({"snippet": 10**40}, "snippet"),
        ({"snippet": 2**31}, "snippet"),
        ({"camera": "../../etc"}, "camera"),
        ({"camera": ""}, "camera"),
        ({"event_id": "019d3727-f93a-4abc-8def-0123456789ab"}, "event_id"),
        ({"event_id": "019d3727-f93a-7abc-8def-0123456789ab\n"}, "event_id"),
        ({"started_at": "2026-03-29T00:59:58"}, "started_at"),
        ({"started_at": "0001-01-01T00:00:00+14:00"}, "started_at"),
        ({"ended_at": "9999-12-31T23:59:59-12:00"}, "ended_at"),
        ({"ended_at": "2020-01-01T00:00:00Z"}, "ended_at lies before started_at"),
        ({"label_set": {"labels": []}}, "label_set.labels"),
        ({"label_set": {"labels": [" "]}}, "label_set.labels"),
        ({"label_set": {"labels": ["x" * 201]}}, "label_set.labels"),
        ({"pictures__0__moment": 64}, "pictures.0.moment"),
        ({"pictures__0__width": 0}, "pictures.0.width"),
        ({"pictures__0__kind": "film"}, "pictures.0.kind"),
        ({"is_last": "perhaps"}, "is_last"),
    ],
    ids=str,
)
def test_a_fault_in_a_snippet_is_named(header: dict[str, Any], fault: str) -> None:
    with pytest.raises(ContractError) as caught:
        SnippetMessage.decode(changed(snippet().encode(), **header))
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    "media_id", [b"x", b"1", b"1-", b"-", b"1-2-3", b"1-\xff", b"9" * 40 + b"-0", b"*", b"1-0\n"]
)
def test_what_is_no_entry_id_is_refused(media_id: bytes) -> None:
    with pytest.raises(ContractError, match="media_id"):
        SnippetMessage.decode({**snippet().encode(), b"media_id": media_id})
    with pytest.raises(ContractError, match="media_id"):
        LabelsMessage.decode(changed(labels().encode(), media_id=media_id.decode("latin-1")))


@pytest.mark.parametrize(
    "key", ["", "0" * 31, "0" * 33, "g" * 32, "A" * 32, "../" + "0" * 29, "0" * 32 + "\n"]
)
def test_a_media_key_that_is_not_128_bits_in_hex_is_refused(key: str) -> None:
    with pytest.raises(ContractError, match="media_key"):
        MediaMessage.decode(changed(media().encode(), media_key=key))


@pytest.mark.parametrize("name", [b"probabilities", b"embeddings"])
@pytest.mark.parametrize("change", [-2, -1, 1, 2])
def test_a_blob_of_another_length_is_refused(name: bytes, change: int) -> None:
    fields = labels().encode()
    blob = (fields[name] + b"\x00\x00")[: len(fields[name]) + change]
    with pytest.raises(ContractError, match=f"field '{name.decode()}' has {len(blob)} bytes, wanted"):
        LabelsMessage.decode({**fields, name: blob})


@pytest.mark.parametrize("name", [b"probabilities", b"embeddings"])
@pytest.mark.parametrize("number", [math.nan, -math.nan, math.inf, -math.inf])
def test_a_blob_with_what_is_no_number_is_refused(name: bytes, number: float) -> None:
    fields = labels().encode()
    blob = fields[name][:-2] + struct.pack("<e", number)
    with pytest.raises(ContractError, match=f"field '{name.decode()}' holds NaN or infinity"):
        LabelsMessage.decode({**fields, name: blob})


@pytest.mark.parametrize("n_pictures", [0, -1, 17, 10**9])
def test_a_request_has_a_few_pictures(n_pictures: int) -> None:
    with pytest.raises(ContractError, match="n_pictures"):
        PicturesRequest.decode(changed(picture_question().encode(), n_pictures=n_pictures))


def test_the_pictures_of_a_request_are_bounded_together() -> None:
    fields = {**picture_question().encode(), **{b"p%d" % n: bytes(MAX_PICTURE_BYTES) for n in range(3)}}
    with pytest.raises(ContractError, match=f"at most {MAX_REQUEST_BYTES} are taken at once"):
        PicturesRequest.decode(changed(fields, n_pictures=3))


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (b"", "has 0 bytes, wanted 16"),
        (struct.pack("<5f", 0, 0, 0, 0, 0), "has 20 bytes, wanted 16"),
        (struct.pack("<4f", 1, 0, math.inf, 0), "NaN or infinity"),
    ],
)
def test_embeddings_that_are_not_those_of_the_pictures_are_refused(value: bytes, fault: str) -> None:
    with pytest.raises(ContractError, match=fault):
        PicturesAnswer.decode({**picture_answer().encode(), b"embeddings": value})


def test_pictures_that_a_classifier_made_nothing_of_have_no_embeddings() -> None:
    refused = PicturesAnswer(PicturesAnswerHeader(request_id="0" * 32, fault="no picture"))
    assert PicturesAnswer.decode(refused.encode()) == refused


@pytest.mark.parametrize("number", [-0.5, 1.001])
def test_a_probability_outside_of_0_to_1_is_refused(number: float) -> None:
    fields = labels().encode()
    blob = fields[b"probabilities"][:-2] + struct.pack("<e", number)
    with pytest.raises(ContractError, match=r"outside of 0\.\.1"):
        LabelsMessage.decode({**fields, b"probabilities": blob})


@pytest.mark.parametrize(
    "message",
    [
        SnippetMessage(snippet().header, snippet().pictures[:1]),
        SnippetMessage(snippet().header, snippet().pictures, "not an id"),
        SnippetMessage(snippet().header, (b"x" * (MAX_PICTURE_BYTES + 1), b"", b"")),
        MediaMessage(media().header, b"", b"x" * (MAX_PICTURE_BYTES + 1)),
        LabelsMessage(labels().header, b"", labels().embeddings),
        LabelsMessage(labels().header, b"\x00\x7e" * 8, labels().embeddings),
        PicturesRequest(picture_question().header, picture_question().pictures[:1]),
        PicturesAnswer(picture_answer().header),
    ],
    ids=[
        "too few pictures",
        "media_id",
        "huge picture",
        "huge thumbnail",
        "no probabilities",
        "NaN",
        "a picture less than is said",
        "no embeddings",
    ],
)
def test_what_no_reader_would_take_is_not_written(message: Message) -> None:
    with pytest.raises(ContractError):
        message.encode()


def test_a_header_cannot_be_made_with_nan() -> None:
    with pytest.raises(ValidationError):
        DecisionSettings(threshold=math.nan)
    with pytest.raises(ValidationError):
        Box(x=math.nan, y=0, w=0, h=0)


def test_times_of_any_zone_become_utc() -> None:
    zone = timezone(timedelta(hours=2))
    message = SnippetMessage.decode(
        changed(snippet().encode(), started_at=at(-3).astimezone(zone).isoformat())
    )
    assert message.header.started_at == at(-3)
    assert message.header.started_at.tzinfo == UTC


# -- properties

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200).filter(
    lambda s: bool(s.strip())
)
ratios = st.floats(0, 1)
moments = st.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 30)).map(lambda t: t.replace(tzinfo=UTC))


@st.composite
def snippets(draw: st.DrawFn) -> SnippetMessage:
    start, end = sorted([draw(moments), draw(moments)])
    frames = st.builds(
        PictureInfo,
        moment=st.integers(0, 63),
        kind=st.sampled_from(["frame", "crop"]),
        captured_at=moments,
        width=st.integers(1, 65535),
        height=st.integers(1, 65535),
        box=st.none() | st.builds(Box, x=ratios, y=ratios, w=ratios, h=ratios),
    )
    tracks = st.none() | st.integers(0, 2**31 - 1)
    crops = st.builds(
        lambda one, track: one.model_copy(update={"kind": "crop", "track": track}), frames, tracks
    )
    infos = frames | crops
    header = SnippetHeader(
        event_id=str(draw(st.uuids(version=4)))[:14] + "7" + str(draw(st.uuids(version=4)))[15:],
        snippet=draw(st.integers(0, 2**31 - 1)),
        is_last=draw(st.booleans()),
        camera=draw(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")),
        event_started_at=draw(moments),
        event_ended_at=draw(st.none() | moments),
        started_at=start,
        ended_at=end,
        motion_peak=draw(ratios),
        latitude=draw(st.none() | st.floats(-90, 90)),
        longitude=draw(st.none() | st.floats(-180, 180)),
        label_set=LabelSet(
            labels=tuple(draw(st.lists(texts, min_size=1, max_size=5))),
            background=tuple(draw(st.lists(texts, max_size=3))),
        ),
        pictures=tuple(draw(st.lists(infos, max_size=4))),
    )
    blobs = tuple(draw(st.binary(max_size=50)) for _ in header.pictures)
    return SnippetMessage(header, blobs, draw(st.sampled_from(["", "0-1", "1774745998250-12"])))


@given(snippets())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_snippet_is_read_as_it_was_written(message: SnippetMessage) -> None:
    fields = message.encode()
    assert SnippetMessage.decode(fields) == message
    assert SnippetMessage.decode(fields).encode() == fields


@each_kind
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_bytes_changed_at_random_raise_nothing_but_contract_errors(stream: str, data: st.DataObject) -> None:
    fields = dict(EXAMPLES[stream]().encode())
    name = data.draw(st.sampled_from(sorted(fields)))
    value = bytearray(fields[name])
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(value)))
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change" if where < len(value):
                value[where] = data.draw(st.integers(0, 255))
            case "cut":
                del value[where : where + data.draw(st.integers(1, 9))]
            case _:
                value[where:where] = data.draw(st.binary(max_size=9))
    fields[name] = bytes(value)
    try:
        message = KINDS[stream].decode(fields)
    except ContractError:
        return
    assert KINDS[stream].decode(message.encode()) == message


@each_kind
@given(
    fields=st.dictionaries(
        st.sampled_from([b"h", b"media_id", b"p0", b"mp4", b"jpg"]), st.binary(max_size=300)
    )
)
@settings(max_examples=100, deadline=None)
def test_bytes_that_were_never_a_message_raise_nothing_but_contract_errors(
    stream: str, fields: Fields
) -> None:
    with pytest.raises(ContractError):
        KINDS[stream].decode(fields)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@each_kind
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_values_of_any_kind_in_the_header_raise_nothing_but_contract_errors(
    stream: str, data: st.DataObject
) -> None:
    fields = EXAMPLES[stream]().encode()
    name = data.draw(st.sampled_from(sorted(json.loads(fields[b"h"]))))
    with contextlib.suppress(ContractError):
        KINDS[stream].decode(changed(fields, **{name: data.draw(json_values)}))


def test_a_fault_is_said_shortly_however_long_the_input() -> None:
    with pytest.raises(ContractError) as caught:
        LabelsMessage.decode(changed(labels().encode(), peaks={"x" * 400_000: 2}))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("message", [snippet(), labels()])
def test_a_dead_letter_of_either_stream_gives_the_receipt_of_its_snippet(
    message: SnippetMessage | LabelsMessage,
) -> None:
    fields = changed(message.encode(), version=7)
    header = snippet().header
    assert Receipt.of_dead(fields) == Receipt(
        event_id=header.event_id, snippet=header.snippet, outcome="dead"
    )


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"7", b'{"snippet": {}}', b'{"event_id": 1, "snippet": 0}']
)
def test_a_dead_letter_that_does_not_say_whose_it_is_gives_no_receipt(raw: bytes) -> None:
    assert Receipt.of_dead({b"h": raw}) is None
    assert Receipt.of_dead({}) is None
