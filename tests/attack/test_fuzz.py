"""Fuzzed requests, uploads and stream messages: no crash, no 500, no long answer, no memory that stays."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from services.motion.media.picture_bounds import coded_fault
from services.motion.sources.http_mjpeg import MultipartParser
from services.motion.sources.webrtc.session_description import BadSessionDescription, bounded
from shared.contract import (
    Fields,
    LabelsMessage,
    MediaMessage,
    Receipt,
    SnippetMessage,
    TextsAnswer,
    TextsRequest,
)
from shared.errors import ContractError
from tests.attack import bombs
from tests.attack.fuzz import Fuzzer, Reply, ask
from tests.attack.site_rig import LONG, Site
from tests.contract import examples

AT_ONCE = 4
MOST_GROWN_MIB = 64
PART_WAITS_S = 6.0  # PICTURE_S of motion's http/live.py and the deadline of search/text_requests.py are 5 s
LIMIT_S = 20.0  # of one answer, on a machine that runs other tests


async def replies(port: int, fuzzer: Fuzzer, count: int) -> list[tuple[bytes, Reply]]:
    """Send that many requests, a few at once."""
    found: list[tuple[bytes, Reply]] = []
    requests = fuzzer.requests(count)

    async def work() -> None:
        for request in requests:
            found.append((request, await ask(port, request, LIMIT_S)))

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return found


def waits_for_another(request: bytes, reply: Reply) -> bool:
    """Whether a picture waited for the next frame, or a search for the classifier, which this site does not have."""
    is_search = (
        request.startswith((b"GET /api/search", b"POST /api/search", b"POST /api/hindsight"))
        and reply.status == 503
    )
    return (b"/picture.jpg" in request or is_search) and reply.took_s < PART_WAITS_S


@pytest.mark.redis
@pytest.mark.parametrize("service", ["recorder", "motion"])
@pytest.mark.parametrize(
    ("count", "longest_s"),
    [(400, LIMIT_S), pytest.param(12_500, 1.0, marks=LONG)],
)
async def test_requests_of_noise_are_answered(
    site: Site, record_property: Callable[[str, object], None], service: str, count: int, longest_s: float
) -> None:
    port, token = site.ports[service]
    await replies(port, Fuzzer(1, token), 300)  # what is made once
    before_mib = site.rss_mib(service)
    found = await replies(port, Fuzzer(2, token), count)
    bugs = [(request[:300], reply) for request, reply in found if reply.status in (500, 501, 502, 504)]
    grown_mib = site.rss_mib(service) - before_mib
    record_property("requests", len(found))
    record_property("faults", len(bugs))
    record_property("slowest_s", round(max(reply.took_s for _, reply in found), 3))
    record_property("grown_mib", round(grown_mib, 1))
    assert bugs == []
    slow = [(request[:90], reply) for request, reply in found if reply.took_s >= longest_s]
    assert [one for one in slow if not waits_for_another(*one)] == []
    assert grown_mib < MOST_GROWN_MIB
    statuses = Counter(reply.status for _, reply in found)
    assert statuses[None] < count / 4, statuses  # most are answered, whatever they are
    assert statuses[400]


Decode = Callable[[Mapping[bytes, bytes]], object]
DECODERS: dict[str, tuple[Decode, Fields]] = {
    "snippets": (SnippetMessage.decode, examples.snippet().encode()),
    "labels": (LabelsMessage.decode, examples.scored_labels().encode()),
    "media": (MediaMessage.decode, examples.media().encode()),
    "receipts": (Receipt.decode, examples.receipt().encode()),
    "texts": (TextsRequest.decode, examples.question().encode()),
    "answers": (TextsAnswer.decode, examples.answer().encode()),
}


@pytest.mark.parametrize("kind", sorted(DECODERS))
@pytest.mark.parametrize("count", [500, pytest.param(12_000, marks=LONG)])
def test_stream_messages_of_noise_are_contract_errors(
    record_property: Callable[[str, object], None], kind: str, count: int
) -> None:
    record_property("messages", count)
    some = random.Random(f"{kind} {count}")
    decode, honest = DECODERS[kind]
    slowest_s = 0.0
    for fields in hostile_messages(some, honest, count):
        began_s = time.process_time()
        with contextlib.suppress(ContractError):
            decode(fields)
        slowest_s = max(slowest_s, time.process_time() - began_s)
    assert slowest_s < 1.0


def hostile_messages(some: random.Random, honest: Fields, count: int) -> Iterator[Fields]:
    """Yield messages that differ from an honest one in their header, in a field, or in all."""
    fuzzer = Fuzzer(some.randrange(2**32), "")
    for _ in range(count):
        fields = dict(honest)
        kind = some.randrange(6)
        if kind == 0:
            fields[b"h"] = fuzzer.body()
        elif kind == 1:
            header = bytearray(fields[b"h"])
            for _ in range(some.randrange(1, 6)):
                header[some.randrange(len(header))] = some.randrange(256)
            fields[b"h"] = bytes(header)
        elif kind == 2:
            fields[some.choice(list(fields))] = some.randbytes(some.choice((0, 1, 100, 600_000)))
        elif kind == 3:
            del fields[some.choice(list(fields))]
        elif kind == 4:
            fields |= {some.randbytes(8): some.randbytes(100) for _ in range(some.randrange(200))}
        else:
            document = json.loads(fields[b"h"])
            _change_one(some, document, fuzzer)
            fields[b"h"] = json.dumps(document).encode()
        yield fields


def _change_one(some: random.Random, document: Any, fuzzer: Fuzzer) -> None:  # Any: JSON
    """Put an odd value somewhere into a document."""
    while True:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        if not keys:
            return
        key = some.choice(keys)
        inner = document[key]
        if not isinstance(inner, dict | list) or not inner or some.random() < 0.3:
            document[key] = fuzzer.value()
            return
        document = inner


@pytest.mark.parametrize("count", [300, pytest.param(12_000, marks=LONG)])
def test_uploads_of_noise_are_refused_or_read(
    record_property: Callable[[str, object], None], count: int
) -> None:
    record_property("uploads", count)
    some = random.Random(count)
    fuzzer = Fuzzer(count, "")
    parser = MultipartParser(lambda _reason: None)
    honest = bombs.jpeg(64, 64)
    slowest_s = 0.0
    for _ in range(count):
        data = bytearray(honest)
        for _ in range(some.randrange(1, 9)):
            data[some.randrange(len(data))] = some.randrange(256)
        part = b"--frame\r\nContent-Length: %d\r\n\r\n" % some.choice((len(data), 0, 10**15, 7)) + data
        began_s = time.process_time()
        coded_fault("mjpeg", bytes(data))
        coded_fault("vp8", some.randbytes(some.randrange(20)))
        parser.feed(part if some.random() < 0.8 else some.randbytes(some.randrange(3000)))
        with contextlib.suppress(BadSessionDescription):
            bounded(fuzzer.body().decode(errors="replace"))
        slowest_s = max(slowest_s, time.process_time() - began_s)
    assert slowest_s < 1.0
