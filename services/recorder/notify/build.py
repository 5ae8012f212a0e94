"""Builds the notifiers of a notify file: the only place that knows all channels."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.recorder.access.links import EventLinks, TargetLinks
from services.recorder.gaps.watch import LiveState
from services.recorder.media.store import MediaStore
from services.recorder.metrics import RecorderMetrics
from services.recorder.notify.file import NotifyFile, Target
from services.recorder.notify.mqtt import Mqtt
from services.recorder.notify.notifier import Notifier, Recipient
from services.recorder.notify.port import Channel
from services.recorder.notify.record_view import DatabaseRecordView
from services.recorder.notify.webhook import Webhook
from services.recorder.record.database import Database


@dataclass(frozen=True, slots=True)
class NotifierParts:
    """What all notifiers share. `holder` names this recorder; without `live` the record's cameras are shown."""

    database: Database
    media: MediaStore
    metrics: RecorderMetrics
    holder: str
    live: LiveState = field(default_factory=LiveState)


def make_notifiers(file: NotifyFile, parts: NotifierParts) -> list[Notifier]:
    """Return one notifier a target; nothing is connected yet."""
    return [
        Notifier(
            _recipient(target, file.page, parts), parts.database, parts.metrics, parts.holder, file.give_up_h
        )
        for target in file.targets
    ]


def _recipient(target: Target, page: str, parts: NotifierParts) -> Recipient:
    wanted = target.filter
    links = TargetLinks(EventLinks(parts.database), target.name, target.links_for)
    if target.webhook is not None:
        hook = target.webhook
        channel: Channel = Webhook(hook, page, parts.live.name_of)
        return Recipient(target.name, "webhook", wanted, channel, hook.timeout_s, links, target.gaps)
    assert target.mqtt is not None  # the file's model sees to it
    record = DatabaseRecordView(parts.database, parts.media, wanted, links, parts.live)
    channel = Mqtt(target.mqtt, target.name, page, record)
    return Recipient(target.name, "mqtt", wanted, channel, target.mqtt.timeout_s, links, target.gaps)
