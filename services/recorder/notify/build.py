"""Builds the notifiers of a notify file: the only place that knows all channels."""

from __future__ import annotations

from services.recorder.gaps.watch import LiveState
from services.recorder.media.files import MediaFolder
from services.recorder.metrics import RecorderMetrics
from services.recorder.notify.file import NotifyFile, Target
from services.recorder.notify.mqtt import Mqtt
from services.recorder.notify.notifier import Notifier, Recipient
from services.recorder.notify.port import Channel
from services.recorder.notify.record_view import DatabaseRecordView
from services.recorder.notify.webhook import Webhook
from services.recorder.record.database import Database


def make_notifiers(
    file: NotifyFile,
    database: Database,
    media: MediaFolder,
    metrics: RecorderMetrics,
    holder: str,
    live: LiveState | None = None,
) -> list[Notifier]:
    """Return one delivery a target; nothing is connected yet. Without `live` the record's cameras are shown."""
    live = live or LiveState()
    return [
        Notifier(
            _recipient(target, file.page, database, media, live), database, metrics, holder, file.give_up_h
        )
        for target in file.targets
    ]


def _recipient(
    target: Target, page: str, database: Database, media: MediaFolder, live: LiveState
) -> Recipient:
    wanted = target.filter
    if target.webhook is not None:
        hook = target.webhook
        channel: Channel = Webhook(hook, page)
        return Recipient(target.name, "webhook", wanted, channel, hook.timeout_s, target.gaps)
    assert target.mqtt is not None  # the file's model sees to it
    record = DatabaseRecordView(database, media, wanted, target.name, live)
    channel = Mqtt(target.mqtt, target.name, page, record)
    return Recipient(target.name, "mqtt", wanted, channel, target.mqtt.timeout_s, target.gaps)
