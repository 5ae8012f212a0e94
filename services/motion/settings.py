"""The settings of the motion service, from its environment. Settings of a camera are in the camera file."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from services.motion.sources.webrtc.ice import PeerNetwork
from shared.settings import CameraSettings, text_parts

MIB = 1024 * 1024
LEAST_DRAIN_S = 10.0  # the last camera's stop 2.5 s, its lease 1 s, tasks 1 s, outbox 2 s; and some to spare


class MotionServiceSettings(CameraSettings):
    """Names are the environment's, in capitals: DATA_DIR, BACKLOG_MAX, …"""

    http_address_connections_max: Annotated[
        int,
        Field(
            ge=8,
            le=65536,
            description="of HTTP_CONNECTIONS_MAX, by one address; all callers of the page come from the recorder's",
        ),
    ] = 512
    data_dir: Annotated[
        Path, Field(description="outbox, journals and marks of finished files; must survive a restart")
    ] = Path("data/motion")
    exit_when_done: Annotated[
        bool,
        Field(
            description="end once every camera was a recording that was read to its end; false: stay, for the camera "
            "file may change and folders may get more"
        ),
    ] = True
    backlog_max: Annotated[
        int, Field(ge=1, le=100_000, description="snippets that may wait in Redis; more wait in the outbox")
    ] = 200
    outbox_max_mib: Annotated[
        int, Field(ge=1, le=10_000_000, description="disk that the outbox may take, MiB")
    ] = 2048
    ring_max_mib: Annotated[
        int, Field(ge=4, le=4096, description="memory for compressed packets, MiB a camera")
    ] = 96
    open_s: Annotated[float, Field(gt=0, le=120, description="deadline for opening a camera")] = 10
    read_s: Annotated[float, Field(gt=0, le=120, description="deadline for the next packet of a camera")] = 10
    live_viewers_max: Annotated[
        int, Field(ge=1, le=1000, description="live pictures and streams of looks that may be open at once")
    ] = 32
    live_ice_servers: Annotated[
        tuple[Annotated[str, Field(pattern=r"^(stun|turns?):")], ...],
        Field(
            max_length=8,
            description="for live pictures over the internet, a JSON list: stun:host:port, turn:host:port",
        ),
    ] = ()
    live_ice_username: Annotated[str, Field(description="of the TURN servers")] = ""
    live_ice_password: Annotated[SecretStr | None, Field(description="of the TURN servers")] = None
    webrtc_ports: Annotated[
        str,
        Field(
            pattern=r"^(\d{1,5}-\d{1,5})?$",
            description="UDP ports for WebRTC, such as 50000-50019; a publisher or viewer takes one or two; unset: any",
        ),
    ] = ""
    webrtc_addresses: Annotated[
        str,
        Field(
            description="IP addresses that WebRTC peers are told in the place of this machine's own, separated by "
            "commas: those of the host of a container, or of a router that forwards the ports"
        ),
    ] = ""
    webrtc_bind: Annotated[
        str,
        Field(
            description="addresses of this machine whose UDP ports WebRTC opens, separated by commas, such as "
            "127.0.0.1 for viewers on this machine only; unset: HTTP_HOST if that is one address of a network, "
            "else all addresses"
        ),
    ] = ""
    reconnect_max_s: Annotated[
        float, Field(gt=0, le=600, description="longest wait between two tries to reach a camera")
    ] = 30

    camera_leases: Annotated[
        bool,
        Field(
            description="share the cameras of the file with other motion processes by leases in Redis; false: this "
            "process reads them all"
        ),
    ] = False
    camera_lease_s: Annotated[
        float, Field(ge=2, le=60, description="a killed process's cameras are free after this long at most")
    ] = 10
    camera_load_max: Annotated[
        float,
        Field(
            ge=0,
            description="megapixels a second that this process reads at most, 31 for 1080p at 15 frames a second; "
            "0: no cap",
        ),
    ] = 0
    camera_location: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_.-]{0,64}$",
            description="where this process is: it takes cameras with this `location` first",
        ),
    ] = ""
    camera_handover_s: Annotated[
        float,
        Field(
            ge=0,
            le=500,
            description="at a stop, hand the leased cameras over one after another within this time; 0: all at once; "
            "DRAIN_S is to be 10 s longer",
        ),
    ] = 0
    reached_at: Annotated[
        str,
        Field(
            pattern=r"^(https?://[^/?#@\s]+/?)?$",
            max_length=500,
            description="address of this process, as MOTION_URL of the recorder lists it, such as http://motion-0:8080",
        ),
    ] = ""

    @field_validator("webrtc_ports")
    @classmethod
    def _are_ports(cls, text: str) -> str:
        if text:
            first, last = (int(number) for number in text.split("-"))
            if not 1024 <= first < last <= 65535:
                raise ValueError("wanted FIRST-LAST, at least two ports of 1024 to 65535")
        return text

    @field_validator("webrtc_addresses", "webrtc_bind")
    @classmethod
    def _are_addresses(cls, text: str) -> str:
        for part in text_parts(text):
            try:
                ip_address(part)
            except ValueError:
                raise ValueError(f"found {part!r}, wanted IP addresses (browsers look no names up)") from None
        return text

    @property
    def lease_fault(self) -> str | None:
        """Return what is wrong between the settings of leases; None: nothing."""
        left_s = self.drain_s - self.camera_handover_s
        if not self.camera_leases or left_s >= LEAST_DRAIN_S:
            return None
        return (
            f"CAMERA_HANDOVER_S={self.camera_handover_s:g}: leaves {left_s:g} s of DRAIN_S={self.drain_s:g} for the "
            f"last camera and the outbox, wanted {LEAST_DRAIN_S:g} at least; raise DRAIN_S, and the time that "
            "the container is given to stop"
        )

    @property
    def peer_network(self) -> PeerNetwork:
        first, _, last = self.webrtc_ports.partition("-")
        return PeerNetwork(
            range(int(first), int(last) + 1) if first else (),
            tuple(text_parts(self.webrtc_addresses)),
            tuple(text_parts(self.webrtc_bind)) or _network_address(self.http_host),
        )

    @property
    def outbox_max_bytes(self) -> int:
        return self.outbox_max_mib * MIB

    @property
    def ring_max_bytes(self) -> int:
        return self.ring_max_mib * MIB


def _network_address(host: str) -> tuple[str, ...]:
    """Return `host` if it is one address of a network; not the loopback, which proxies stand before, nor all."""
    try:
        address = ip_address(host)
    except ValueError:
        return ()
    return () if address.is_loopback or address.is_unspecified else (str(address),)
