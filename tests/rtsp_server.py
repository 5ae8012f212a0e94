"""An RTSP server of GStreamer for tests: a moving ball in H.264, HEVC or MJPEG, with a password or a late RTP clock.

With `--file` it sends a recording's packets at their times, once.

Run by the system's Python, which has the GStreamer bindings (Debian: see tests/install-servers.sh), never imported:

    /usr/bin/python3 tests/rtsp_server.py --port 8554 --codec h264 --size 320x240      rtsp://127.0.0.1:8554/cam
"""

import argparse
import sys

import gi  # type: ignore[import-not-found]  # the system's, not the virtual environment's

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # type: ignore[import-not-found]  # noqa: E402

SERVER = (
    "rtpbin appsrc appsink udpsrc udpsink multiudpsink queue tee funnel"  # what the RTSP server itself makes
)
FAST = "tune=zerolatency speed-preset=ultrafast bitrate=800"
ENCODERS = {
    "h264": "x264enc {options} ! rtph264pay config-interval=1",
    "h265": "x265enc {options} ! rtph265pay config-interval=1",
    "mjpeg": "jpegenc ! rtpjpegpay",
}
BALL = (
    "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width={width},height={height},"
    "framerate={fps}/1 ! {encoder}"
)
FILM = 'filesrc location="{file}" ! qtdemux ! h264parse ! rtph264pay config-interval=1'


def missing_elements() -> list[str]:
    """Return the elements of all pipelines that this machine's GStreamer does not have."""
    pipelines = (*ENCODERS.values(), BALL, FILM)
    parts = [part.strip() for pipeline in pipelines for part in pipeline.split("!")]
    wanted = {part.split()[0] for part in parts if part[0].isalpha() and "/" not in part.split(",")[0]}
    return sorted(name for name in wanted | set(SERVER.split()) if Gst.ElementFactory.find(name) is None)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port")
    parser.add_argument("--missing", action="store_true", help="only tell which elements are missing: exit 1")
    parser.add_argument("--codec", choices=sorted(ENCODERS), default="h264")
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--login", default="", help="user:password")
    parser.add_argument("--first-timestamp", type=int, help="RTP timestamp of the first packet")
    parser.add_argument("--carried-by", choices=("tcp", "udp"), help="refuse the other transport (461)")
    parser.add_argument("--file", help="an MP4 in H.264, sent as it is, in place of the ball")
    given = parser.parse_args()
    Gst.init(None)
    if given.missing:
        missing = missing_elements()
        print("no element " + ", ".join(missing) if missing else "nothing is missing")
        sys.exit(1 if missing else 0)
    width, height = given.size.split("x")
    encoder = ENCODERS[given.codec].format(options=f"{FAST} key-int-max={given.fps}")
    clock = "" if given.first_timestamp is None else f" timestamp-offset={given.first_timestamp}"
    factory = GstRtspServer.RTSPMediaFactory()
    ball = BALL.format(width=width, height=height, fps=given.fps, encoder=encoder)
    film = FILM.format(file=given.file)
    factory.set_launch(f"( {film if given.file else ball} name=pay0 pt=96{clock} )")
    factory.set_shared(True)
    if given.carried_by:
        wanted = GstRtsp.RTSPLowerTrans
        factory.set_protocols(wanted.UDP if given.carried_by == "udp" else wanted.TCP)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(given.port)
    if given.login:
        user, _, password = given.login.partition(":")
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/cam", factory)
    if not server.attach(None):
        raise SystemExit("address already in use")
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
