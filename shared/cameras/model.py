"""What a camera is: its settings with their bounds, and what must hold between them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Field, field_validator, model_validator

from shared.cameras.sources import kind_of, stream_fault, whip_fault
from shared.contract import CameraId, DecisionSettings, LabelSet, LabelText, Ratio
from shared.terminal_text import without_controls
from shared.yaml_files import FileModel

NewLabelText = Annotated[
    LabelText, AfterValidator(without_controls)
]  # one that is set; messages may hold older ones
Point = tuple[Ratio, Ratio]
LEAST_LOOKS_HZ = 0.5  # motion cannot be told from fewer pictures a second


class MotionSettings(FileModel):
    """How movement is found and cut. Lengths in seconds; areas in px of a picture 640 px wide."""

    gaussian_ksize: Annotated[
        int, Field(ge=1, le=99, description="side of the Gaussian blur in px of the detection plane, odd")
    ] = 5
    threshold: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=255)],
        Field(description="grey levels that count as change; 'auto' follows the measured noise"),
    ] = "auto"
    dilate_iterations: Annotated[
        int, Field(ge=0, le=20, description="how often the changed area is dilated")
    ] = 2
    min_contour_area: Annotated[
        float, Field(ge=1, le=307200, description="smallest moving area, px of a picture 640 px wide")
    ] = 200
    min_frames: Annotated[
        int, Field(ge=1, le=50, description="consecutive frames with motion before an event starts")
    ] = 3
    detect_fps: Annotated[
        float,
        Field(ge=LEAST_LOOKS_HZ, le=60, description="frames a second that the detector looks at, at most"),
    ] = 10
    pre_roll_s: Annotated[float, Field(ge=0, le=30, description="what a clip shows before the motion")] = 3
    post_roll_s: Annotated[float, Field(ge=0, le=30, description="what a clip shows after the motion")] = 2
    quiet_s: Annotated[
        float, Field(gt=0, le=120, description="the event ends after this long without motion")
    ] = 4
    first_snippet_s: Annotated[float, Field(gt=0, le=60, description="motion in the early first snippet")] = 3
    longest_snippet_s: Annotated[
        float, Field(gt=0, le=120, description="a longer event is cut into further snippets")
    ] = 10
    longest_event_s: Annotated[
        float,
        Field(ge=10, le=86400, description="motion that never stops is cut into events of this length"),
    ] = 300
    pictures: Annotated[
        int, Field(ge=1, le=32, description="moments of a snippet that the classifier sees, at most")
    ] = 12
    idle: Annotated[
        Literal["auto", "off"],
        Field(
            description="'auto' decodes key frames only while nothing moves, where packet sizes tell when that ends, "
            "and at other times no picture between two looks that no other needs, nor what is left of a group of "
            "pictures after its last look; 'off' decodes everything"
        ),
    ] = "auto"
    masks: Annotated[
        tuple[tuple[Point, ...], ...],
        Field(description="polygons (shares of width and height) where motion is ignored"),
    ] = ()
    zones: Annotated[
        tuple[tuple[Point, ...], ...],
        Field(description="polygons; if there are any, only what touches one of them makes an event"),
    ] = ()

    @field_validator("idle", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value  # what YAML 1.1 makes of a bare off

    @field_validator("gaussian_ksize")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd")
        return value

    @field_validator("masks", "zones")
    @classmethod
    def _polygons(cls, value: tuple[tuple[Point, ...], ...]) -> tuple[tuple[Point, ...], ...]:
        if any(len(polygon) < 3 for polygon in value):
            raise ValueError("a polygon needs at least 3 points")
        return value


class Camera(FileModel):
    """One configured source."""

    id: CameraId
    url: Annotated[
        str,
        Field(
            min_length=1,
            description="rtsp://…, rtsps://…, http://… (MJPEG), whep://… or whip:?token=… (WebRTC), /dev/video0 (USB), "
            "or the path of a video file or folder",
        ),
    ]
    detect_url: Annotated[
        str | None,
        Field(
            description="a smaller stream of the same camera to look for motion in; clips and pictures are of `url`"
        ),
    ] = None
    transport: Annotated[
        Literal["tcp", "udp"],
        Field(description="rtsp: tcp loses nothing; udp delivers sooner on a good network"),
    ] = "tcp"
    name: Annotated[str, Field(max_length=200), AfterValidator(without_controls)] = ""
    enabled: bool = True
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    labels: Annotated[
        tuple[NewLabelText, ...], Field(min_length=1, max_length=200, description="what is looked for")
    ]
    background: Annotated[
        tuple[NewLabelText, ...], Field(max_length=50, description="what is always in view")
    ] = ()
    threshold: Annotated[Ratio, Field(description="probability from which a label is accepted")] = 0.5
    leave_threshold: Annotated[
        Ratio | None, Field(description="probability below which its span ends; default 0.8 x threshold")
    ] = None
    margin: Annotated[Ratio, Field(description="by how much a label must beat the background")] = 0.05
    window_s: Annotated[
        float, Field(ge=0, le=60, description="length of the moving average over moments")
    ] = 2.0
    min_moments: Annotated[
        int, Field(ge=1, le=64, description="contiguous moments that a label must carry")
    ] = 2
    example_group: Annotated[
        CameraId | None,
        Field(
            description="cameras with the same one learn from each other's verdicts; default: from its own alone"
        ),
    ] = None
    location: Annotated[
        CameraId | None,
        Field(
            description="where it is: with CAMERA_LEASES a motion process with this CAMERA_LOCATION reads it, if one "
            "has room"
        ),
    ] = None
    motion: MotionSettings = MotionSettings()
    # files only
    pace: Annotated[
        Literal["realtime", "fast"], Field(description="file: play at its own speed, or as fast as possible")
    ] = "realtime"
    loop: Annotated[bool, Field(description="file: begin again at its end")] = True
    starts_at: Annotated[
        AwareDatetime | None,
        Field(description="file, not looped: the time of its first frame; event ids then follow from it"),
    ] = None

    @property
    def is_file(self) -> bool:
        """Whether it is a recording, or a folder of them."""
        return kind_of(self.url) == "file"

    @property
    def label_set(self) -> LabelSet:
        return LabelSet(labels=self.labels, background=self.background)

    @property
    def decision(self) -> DecisionSettings:
        return DecisionSettings(
            threshold=self.threshold,
            leave_threshold=self.leave_threshold,
            margin=self.margin,
            window_s=self.window_s,
            min_moments=self.min_moments,
        )

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        kind = kind_of(value)
        fault = whip_fault(value) if kind in ("whip", "file", "device") else stream_fault(value)
        if "\0" in value:
            fault = "holds a NUL character, which no file name has"
        if fault is not None:
            raise ValueError(fault)
        return value

    @field_validator("detect_url")
    @classmethod
    def _live_scheme(cls, value: str | None) -> str | None:
        if value is not None and kind_of(value) not in ("rtsp", "http", "whep"):
            raise ValueError("must be a stream: rtsp://, rtsps://, http://, https://, whep:// or wheps://")
        if value is not None and (fault := stream_fault(value)) is not None:
            raise ValueError(fault)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Camera:
        faults = cross_faults(self.model_dump())
        if faults:
            raise ValueError("; ".join(faults))
        return self


class CameraFile(FileModel):
    """All cameras of one file, in its order, ids unique."""

    cameras: Annotated[tuple[Camera, ...], Field(min_length=1, max_length=10_000)]

    @model_validator(mode="after")
    def _unique(self) -> CameraFile:
        ids = [camera.id for camera in self.cameras]
        doubled = sorted({camera for camera in ids if ids.count(camera) > 1})
        if doubled:
            raise ValueError(f"camera ids must be unique, found twice: {', '.join(doubled)}")
        return self


def cross_faults(entry: Mapping[str, Any]) -> list[str]:  # Any: YAML values, valid or not
    """Say what is wrong between fields; of values that are wrong themselves nothing is said."""
    faults = []
    words = [
        text.strip().casefold()
        for name in ("labels", "background")
        if isinstance(texts := entry.get(name), list | tuple)
        for text in texts
        if isinstance(text, str)
    ]
    doubled = sorted({word for word in words if words.count(word) > 1})
    if doubled:
        faults.append(f"named twice among labels and background: {', '.join(doubled)}")
    if (entry.get("latitude") is None) != (entry.get("longitude") is None):
        faults.append("latitude and longitude go together: give both or neither")
    enter, leave = entry.get("threshold"), entry.get("leave_threshold")
    if isinstance(enter, int | float) and isinstance(leave, int | float) and leave > enter:
        faults.append(f"leave_threshold={leave}: must not lie above threshold={enter}")
    return faults
