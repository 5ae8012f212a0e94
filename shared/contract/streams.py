"""The streams between the services: their names, their consumer groups, and how much they hold."""

SNIPPETS = "snippets.v1"
MEDIA = "media.v1"
LABELS = "labels.v1"
TEXTS = "texts.v1"  # requests; an answer is the one entry of the stream `answer_key(request_id)`
PICTURES = "pictures.v1"  # as TEXTS, for pictures
RECEIPTS = "receipts.v1"  # read by every motion service, without a group
CLASSIFIERS = "classifiers"  # consumer group on SNIPPETS
RECORDERS = "recorders"  # consumer group on LABELS

TEXTS_WAITING = 64  # requests that may wait; the oldest go first, whose senders have given up by then
PICTURES_WAITING = 8  # as TEXTS_WAITING; fewer, since each may have 8 MiB
RECEIPTS_KEPT = 10_000  # about 1 MB; who missed one sends its snippet again
ANSWER_KEPT_S = 60  # an answer that nobody fetches is gone after this long


def answer_key(request_id: str, stream: str = TEXTS) -> str:
    """Return the key under which the answer to a request of TEXTS or PICTURES is written."""
    return f"{stream}:{request_id}"
