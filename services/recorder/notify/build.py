"""Builds the deliveries of a notify file: the only place that knows all channels."""

from __future__ import annotations

from services.recorder.database import Database
from services.recorder.media import MediaFolder
from services.recorder.metrics import RecorderMetrics
from services.recorder.notify.delivery import Address, Delivery
from services.recorder.notify.file import NotifyFile, Target
from services.recorder.notify.mqtt import Mqtt, RecordView
from services.recorder.notify.record_view import StateOfRecord
from services.recorder.notify.webhook import Webhook


def deliveries(
    file: NotifyFile, database: Database, media: MediaFolder, metrics: RecorderMetrics, holder: str
) -> list[Delivery]:
    """Return one delivery a target; nothing is connected yet."""
    return [
        Delivery(_address(target, file.page, database, media), database, metrics, holder, file.give_up_h)
        for target in file.targets
    ]


def _address(target: Target, page: str, database: Database, media: MediaFolder) -> Address:
    wanted = target.filter
    if target.webhook is not None:
        hook = target.webhook
        return Address(target.name, "webhook", wanted, Webhook(hook, page), hook.timeout_s)
    assert target.mqtt is not None  # the file's model sees to it
    record = StateOfRecord(database, media, wanted)
    view = RecordView(record.cameras, record.state)
    channel = Mqtt(target.mqtt, target.name, page, view)
    return Address(target.name, "mqtt", wanted, channel, target.mqtt.timeout_s)
