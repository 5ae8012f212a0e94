"""THE messages between the services, and nothing else: stream names, encode, decode, version rule.

On the wire a message is one Redis stream entry: field `h` holds the header as JSON, further fields hold bytes as
they are (JPEG, MP4, float16): no pickle, no base64.

Version rule: the name of a stream carries the version. Within a version fields are only added, with a default; a
reader ignores what it does not know. A change that a reader of the version would misread makes a new stream.
"""

from shared.contract.codec import MAX_CLIP_BYTES, MAX_HEADER_BYTES, MAX_PICTURE_BYTES, MAX_PICTURES, Fields
from shared.contract.examples import (
    EXAMPLES,
    MAX_EXAMPLES,
    ExampleSaid,
    ExamplesHeader,
    ExamplesMessage,
    examples_key,
    revision_of,
)
from shared.contract.fields import CAMERA_ID, CameraId, LabelText, Moment, Ratio
from shared.contract.labels import AcceptedLabel, Column, LabelsHeader, LabelsMessage
from shared.contract.media import MediaHeader, MediaMessage
from shared.contract.pictures import (
    MAX_REQUEST_BYTES,
    MAX_REQUEST_PICTURES,
    PicturesAnswer,
    PicturesAnswerHeader,
    PicturesRequest,
    PicturesRequestHeader,
)
from shared.contract.receipts import Receipt
from shared.contract.snippets import (
    Box,
    DecisionSettings,
    LabelSet,
    PictureInfo,
    SnippetHeader,
    SnippetMessage,
)
from shared.contract.streams import (
    ANSWER_KEPT_S,
    CLASSIFIERS,
    LABELS,
    MEDIA,
    PICTURES,
    PICTURES_WAITING,
    RECEIPTS,
    RECEIPTS_KEPT,
    RECORDERS,
    SNIPPETS,
    TEXTS,
    TEXTS_WAITING,
    answer_key,
)
from shared.contract.texts import TextsAnswer, TextsAnswerHeader, TextsRequest

__all__ = [
    "ANSWER_KEPT_S",
    "CAMERA_ID",
    "CLASSIFIERS",
    "EXAMPLES",
    "LABELS",
    "MAX_CLIP_BYTES",
    "MAX_EXAMPLES",
    "MAX_HEADER_BYTES",
    "MAX_PICTURES",
    "MAX_PICTURE_BYTES",
    "MAX_REQUEST_BYTES",
    "MAX_REQUEST_PICTURES",
    "MEDIA",
    "PICTURES",
    "PICTURES_WAITING",
    "RECEIPTS",
    "RECEIPTS_KEPT",
    "RECORDERS",
    "SNIPPETS",
    "TEXTS",
    "TEXTS_WAITING",
    "AcceptedLabel",
    "Box",
    "CameraId",
    "Column",
    "DecisionSettings",
    "ExampleSaid",
    "ExamplesHeader",
    "ExamplesMessage",
    "Fields",
    "LabelSet",
    "LabelText",
    "LabelsHeader",
    "LabelsMessage",
    "MediaHeader",
    "MediaMessage",
    "Moment",
    "PictureInfo",
    "PicturesAnswer",
    "PicturesAnswerHeader",
    "PicturesRequest",
    "PicturesRequestHeader",
    "Ratio",
    "Receipt",
    "SnippetHeader",
    "SnippetMessage",
    "TextsAnswer",
    "TextsAnswerHeader",
    "TextsRequest",
    "answer_key",
    "examples_key",
    "revision_of",
]
