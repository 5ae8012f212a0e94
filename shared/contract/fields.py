"""The types of header fields, with their bounds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

EventId = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
]
CAMERA_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
CameraId = Annotated[str, StringConstraints(pattern=f"^{CAMERA_ID.pattern}$")]
LabelText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
# of an entry in MEDIA, or none; 19 digits always fit into the 64 bits that Redis takes
MediaId = Annotated[str, StringConstraints(pattern=r"^([0-9]{1,19}-[0-9]{1,19})?$")]
RequestId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Ratio = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[int, Field(ge=0, le=2**31 - 1)]  # what the tables hold


def _to_utc(moment: datetime) -> datetime:
    if not 1970 <= moment.year < 2200:  # near the ends of datetime a change of zone overflows
        raise ValueError("must lie between the years 1970 and 2200")
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_to_utc)]  # UTC, whatever zone it came in


class MessagePart(BaseModel):
    """A header, or a part of one: frozen; what it does not know is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
