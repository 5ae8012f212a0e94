"""Label settings before they are saved: what the last day would have recorded, and what is before the camera now."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar, cast

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from sqlalchemy import select

from services.classifier.model.preprocess import PixelBudget
from services.classifier.picture_requests import (
    PictureEmbedding,
    PictureRequestMetrics,
    PictureRequestServer,
)
from services.classifier.words.prompts import LabelBank
from services.recorder.http.label_trial import LabelTrialIn
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from services.recorder.record.label_history import LabelSettings
from services.recorder.record.relabels import find_relabels
from services.recorder.record.schema import detections, snippets
from services.recorder.search.camera_examples import ExamplesInRedis
from services.recorder.search.label_trial import LabelTrial
from services.recorder.search.picture_requests import PictureEmbedder
from services.recorder.search.text_requests import NoClassifier, TextEmbedder
from shared.clock import uuid7
from shared.contract import (
    DecisionSettings,
    ExampleSaid,
    ExamplesHeader,
    ExamplesMessage,
    LabelSet,
    LabelsMessage,
    SnippetMessage,
    examples_key,
)
from shared.decisions.examples import NO_EXAMPLES, Example, LabelExamples, for_labels
from shared.decisions.labeller import EmbeddedSnippet, label
from shared.permissions import PERMISSIONS_OF, Identity, Role
from tests.http_apps import KnownIdentity, client_of, guarded
from tests.integration.test_search_and_hindsight import Record, answering, record, seen
from tests.unit.classifier.makers import BLUE, GREEN, NOON, RED, Colour, ColourModel, jpeg, message
from tests.unit.recorder.http.motion_stand_in import recorder_app

__all__ = ["record"]  # the fixture

pytestmark = pytest.mark.redis
_T = TypeVar("_T")
STREET = ("an empty street",)
ANNA = Identity("anna", PERMISSIONS_OF[Role.OPERATOR], frozenset({"gate"}))


@contextlib.asynccontextmanager
async def looking(redis: Redis, model: ColourModel) -> AsyncIterator[None]:
    """Answer requests for texts and for pictures as the classifier does, with a model that sees colours."""

    def now(work: Callable[[], _T]) -> Awaitable[_T]:
        done: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        done.set_result(work())
        return done

    stop = asyncio.Event()
    with ThreadPoolExecutor(1) as decoders:
        embedding = PictureEmbedding(model, now, decoders, PixelBudget(10**7, 10**8))
        metrics = PictureRequestMetrics(CollectorRegistry())
        server = PictureRequestServer(redis, "one", embedding, metrics)
        async with answering(redis, model):
            task = asyncio.create_task(server.run(stop))
            try:
                yield
            finally:
                stop.set()
                await task


def trial_of(redis: Redis) -> LabelTrial:
    return LabelTrial(TextEmbedder(redis, 20), PictureEmbedder(redis, 20), ExamplesInRedis(redis).of)


@pytest.fixture
async def site(redis_client: Redis) -> AsyncIterator[httpx.AsyncClient]:
    trial = trial_of(redis_client)
    app = recorder_app(ApiState(lambda: True, label_trial=trial))
    async with client_of(guarded(app, RULES, PATTERNS, KnownIdentity(ANNA))) as http:
        yield http


def asked(*colours: Colour, **settings: Any) -> dict[str, Any]:  # Any: JSON
    pictures = [base64.b64encode(jpeg(colour)).decode() for colour in colours]
    return {"labels": ["a person", "a dog"], "background": list(STREET), "pictures": pictures, **settings}


async def tried(site: httpx.AsyncClient, body: dict[str, Any], camera: str = "gate") -> httpx.Response:
    return await site.post(f"/api/cameras/{camera}/label-trial", json=body)


def decided(
    colours: list[Colour], settings: DecisionSettings, said: LabelExamples = NO_EXAMPLES
) -> LabelsMessage:
    """Return what the classifier decides of a snippet of three moments, each with these crops."""
    sent = message([[("crop", b"") for _ in colours]] * 3, background=STREET, decision=settings)
    model = ColourModel()
    texts = LabelBank(model, 1).get(sent.header.label_set)
    embeddings = np.concatenate([embedded(colours)] * 3)
    return label(
        EmbeddedSnippet(sent, embeddings, np.ones(len(embeddings), np.bool_)), texts, model.facts, NOON, said
    )


def embedded(colours: list[Colour]) -> NDArray[np.float32]:
    """Return the embeddings of JPEGs of one colour each."""
    pixels = [np.asarray(Image.open(io.BytesIO(jpeg(colour)))).transpose(2, 0, 1) for colour in colours]
    return ColourModel().embed_pictures(np.stack(pixels))


# Between a dog's green and the street's blue: by hand, cosines 0.717 and 0.698 with a temperature of 20 make
# 1 / (1 + e^(-20 * 0.0194)) = 0.596 of a dog, and 0.404 of the street.
TEAL: Colour = (20, 205, 200)
TRIED: list[tuple[list[Colour], dict[str, Any], list[str]]] = [
    ([GREEN], {}, ["a dog"]),
    ([BLUE], {}, []),
    ([RED, GREEN], {}, ["a person", "a dog"]),  # each by its own crop
    ([TEAL], {}, ["a dog"]),
    ([TEAL], {"threshold": 0.65}, []),
    ([TEAL], {"margin": 0.3}, []),
    ([TEAL, RED], {"threshold": 0.65}, ["a person"]),
    ([GREEN], {"threshold": 1.0}, ["a dog"]),  # nothing else looks like green: its score is 1
]


@pytest.mark.parametrize(("colours", "settings", "carried"), TRIED, ids=str)
async def test_a_moment_is_scored_as_the_classifier_would(
    site: httpx.AsyncClient,
    redis_client: Redis,
    colours: list[Colour],
    settings: dict[str, Any],
    carried: list[str],
) -> None:
    """Where every moment is like this one, what it carries is what is accepted."""
    wanted = decided(colours, DecisionSettings(**settings))
    async with looking(redis_client, ColourModel()):
        answer = (await tried(site, asked(*colours, decision=settings))).json()
    assert answer["model"] == "colours"
    scores = np.frombuffer(wanted.scores, "<f4").reshape(3, 2)[1]
    backgrounds = np.frombuffer(wanted.backgrounds, "<f4").reshape(3, 2)[1]
    assert [one["label"] for one in answer["labels"]] == ["a person", "a dog"]
    assert [one["score"] for one in answer["labels"]] == pytest.approx(list(scores), abs=0.003)
    assert [one["background"] for one in answer["labels"]] == pytest.approx(list(backgrounds), abs=0.003)
    assert [one["label"] for one in answer["labels"] if one["is_carried"]] == carried
    assert {one.label for one in wanted.header.accepted} == set(carried)
    shares = np.frombuffer(wanted.probabilities, "<f2").reshape(3, -1)[0]
    assert [one["label"] for one in answer["background"]] == list(STREET)
    assert answer["background"][0]["probability"] == pytest.approx(shares[2], abs=0.003)
    assert answer["other"] == pytest.approx(shares[3:].sum(), abs=0.003)


async def test_what_was_said_of_a_cameras_pictures_counts_as_in_a_decision(redis_client: Redis) -> None:
    (vector,) = embedded([TEAL])
    wrong = ExampleSaid(event=uuid7(NOON, seed="other"), label="a dog", is_right=False)
    header = ExamplesHeader(camera="gate", model="colours", embedding_dim=4, unrelated=0.4, said=(wrong,))
    fields = ExamplesMessage(header, 1, vector.astype("<f2").tobytes()).encode()
    # Any: redis-py's unions of both clients
    await cast("Any", redis_client.hset(examples_key("gate", "colours"), mapping=cast("Any", fields)))
    settings = LabelSettings(LabelSet(labels=("a person", "a dog"), background=STREET), DecisionSettings())
    async with looking(redis_client, ColourModel()):
        trial = trial_of(redis_client)
        gate = await trial.look("gate", settings, [jpeg(TEAL)])
        yard = await trial.look("yard", settings, [jpeg(TEAL)])
        await cast("Any", redis_client.hset(examples_key("gate", "colours"), "h", b"{"))
        unreadable = await trial.look("gate", settings, [jpeg(TEAL)])
    example = Example(wrong.event, "a dog", is_right=False, embedding=vector)
    said = for_labels([example], settings.label_set.labels, 0.4)
    wanted = np.frombuffer(decided([TEAL], DecisionSettings(), said).scores, "<f4").reshape(3, 2)[1]
    assert [one.score for one in gate.labels] == pytest.approx(list(wanted), abs=0.003)
    assert gate.labels[1].score < 0.1 < 0.5 < yard.labels[1].score
    assert (gate.labels[1].is_carried, yard.labels[1].is_carried) == (False, True)
    assert unreadable == yard  # the classifier leaves such examples out, too


async def test_faults_are_worded_as_check_words_them_and_all_are_told(site: httpx.AsyncClient) -> None:
    body = asked(GREEN, labels=["a dog", " ", "A dog"], decision={"threshold": 0.5, "leave_threshold": 0.9})
    answer = await tried(site, body)
    assert answer.status_code == 422
    found = " | ".join(fault["found"] for fault in answer.json()["errors"])
    assert "labels" in found
    assert "named twice among labels and background: a dog" in found
    assert "leave_threshold=0.9" in found


@pytest.mark.parametrize(
    "change",
    [
        {"pictures": []},
        {"pictures": ["!"]},
        {"pictures": ["QUJD"] * 5},
        {"pictures": ["A" * 400_004]},
        {"decision": {"treshold": 0.5}},
        {"zones": []},
        {"labels": "a dog"},
        {"decision": {"threshold": 2}},
    ],
    ids=str,
)
async def test_what_is_no_trial_is_refused(site: httpx.AsyncClient, change: dict[str, Any]) -> None:
    answer = await tried(site, {**asked(GREEN), **change})
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"found", "wanted", "do"}


async def test_pictures_that_cannot_be_read_are_refused_with_a_reason(
    site: httpx.AsyncClient, redis_client: Redis
) -> None:
    async with looking(redis_client, ColourModel()):
        answer = await tried(site, {**asked(GREEN), "pictures": ["QUJD"]})
    assert answer.status_code == 400
    assert answer.json()["error"]["do"] == "send JPEGs"


async def test_a_label_is_never_read_as_a_variable_of_the_environment(site: httpx.AsyncClient) -> None:
    answer = await tried(site, asked(GREEN, labels=["${PATH}"]))
    assert answer.status_code == 422
    assert "/bin" not in answer.text


async def test_a_camera_that_somebody_may_not_see_is_not_there(site: httpx.AsyncClient) -> None:
    assert (await tried(site, asked(GREEN), "yard")).status_code == 404
    assert (await tried(site, {}, "yard")).status_code == 404


async def test_classifiers_with_different_models_give_no_number(redis_client: Redis) -> None:
    class Other(PictureEmbedder):
        async def ask(self, jpegs: Any) -> Any:  # Any: as PictureEmbedder has them
            found = await super().ask(jpegs)
            return type(found)("another", found.embeddings)

    trial = replace(trial_of(redis_client), pictures=Other(redis_client, 20))
    settings = LabelSettings(LabelSet(labels=("a dog",)), DecisionSettings())
    async with looking(redis_client, ColourModel()):
        with pytest.raises(NoClassifier, match="different models"):
            await trial.look("gate", settings, [jpeg(GREEN)])


# -- the last day


DOG = LabelSet(labels=("a dog",), background=STREET)
STEADY, BROKEN, FLICKER = [GREEN, GREEN], [GREEN, BLUE, GREEN], [BLUE, GREEN, BLUE]


def with_decision(sent: SnippetMessage, decision: DecisionSettings) -> SnippetMessage:
    return replace(sent, header=sent.header.model_copy(update={"decision": decision}))


# By hand: half a second apart, a window of 2 s averages BROKEN to 2/3 and FLICKER to 1/3; the rest is street.
@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, [STEADY, BROKEN]),
        ({"min_moments": 1, "window_s": 0.0}, [STEADY, BROKEN, FLICKER]),
        (
            {"min_moments": 3},
            [STEADY],
        ),  # both its moments are a dog, and it reaches 0.75; BROKEN has two of three
        ({"threshold": 0.7}, [STEADY]),
        ({"threshold": 0.3, "margin": 0.0}, [STEADY, BROKEN]),
        ({"margin": 0.4}, [STEADY]),
    ],
    ids=str,
)
async def test_all_settings_of_a_decision_take_the_place_of_those_of_then(
    record: Record, redis_client: Redis, settings: dict[str, Any], found: list[list[Colour]]
) -> None:
    then = DecisionSettings(threshold=0.9, margin=0.5, window_s=0.0, min_moments=1)
    recorded = [STEADY, BROKEN, FLICKER]
    ids = [await record.add(with_decision(seen(n, of), then), of) for n, of in enumerate(recorded)]
    decision = DecisionSettings(**settings)
    model = ColourModel()
    accepted = []
    for number, colours in enumerate(recorded):
        sent = with_decision(seen(number, colours), decision)
        sent = replace(sent, header=sent.header.model_copy(update={"label_set": DOG}))
        texts = LabelBank(model, 1).get(DOG)
        looked = EmbeddedSnippet(sent, embedded(colours), np.ones(len(colours), np.bool_))
        accepted.append(bool(label(looked, texts, model.facts, NOON).header.accepted))
    assert accepted == [colours in found for colours in recorded]
    async with answering(redis_client, record.model):
        outcome = await record.look_back(labels=DOG.labels, decision=decision, is_applied=True)
    assert outcome.labels["a dog"].hindsight == len(found)
    async with record.database.reading() as connection:
        rows = await connection.execute(select(detections.c.event_id))
        (entry,) = await find_relabels(connection)
        kept = (await connection.execute(select(snippets.c.decision))).scalars().all()
    assert set(rows.scalars()) == {ids[n] for n, is_found in enumerate(accepted) if is_found}
    assert entry.asked["decision"] == decision.model_dump()
    assert entry.asked["threshold"] == decision.threshold
    assert {DecisionSettings.model_validate_json(text) for text in kept} == {decision}


def test_the_trial_takes_as_many_labels_as_a_camera_may_have() -> None:
    texts = [f"thing {number}" for number in range(200)]
    assert len(LabelTrialIn(labels=texts, pictures=["QUJD"]).labels) == len(texts)
