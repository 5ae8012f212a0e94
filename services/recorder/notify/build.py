"""Builds the deliveries of a notify file: the only place that knows all channels."""

from __future__ import annotations

from services.recorder.gaps.watch import LiveState
from services.recorder.media.files import MediaFolder
from services.recorder.metrics import RecorderMetrics
from services.recorder.notify.delivery import Address, Delivery
from services.recorder.notify.file import NotifyFile, Target
from services.recorder.notify.mqtt import Mqtt
from services.recorder.notify.port import Channel
from services.recorder.notify.record_view import StateOfRecord
from services.recorder.notify.webhook import Webhook
from services.recorder.record.database import Database


def deliveries(
    file: NotifyFile,
    database: Database,
    media: MediaFolder,
    metrics: RecorderMetrics,
    holder: str,
    live: LiveState | None = None,
) -> list[Delivery]:
    """Return one delivery a target; nothing is connected yet. Without `live` the record's cameras are shown."""
    live = live or LiveState()
    return [
        Delivery(
            _address(target, file.page, database, media, live), database, metrics, holder, file.give_up_h
        )
        for target in file.targets
    ]


def _address(target: Target, page: str, database: Database, media: MediaFolder, live: LiveState) -> Address:
    wanted = target.filter
    if target.webhook is not None:
        hook = target.webhook
        channel: Channel = Webhook(hook, page)
        return Address(target.name, "webhook", wanted, channel, hook.timeout_s, target.gaps)
    assert target.mqtt is not None  # the file's model sees to it
    record = StateOfRecord(database, media, wanted, target.name, live)
    channel = Mqtt(target.mqtt, target.name, page, record)
    return Address(target.name, "mqtt", wanted, channel, target.mqtt.timeout_s, target.gaps)
