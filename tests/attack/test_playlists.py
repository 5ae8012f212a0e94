"""A recording is one file: what a playlist or session description in it names is neither read nor asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from services.motion.sources.file import open_file
from services.motion.sources.probe import probe
from services.motion.sources.stream import SourceAway
from shared.errors import ConfigError
from tests.attack.canary import loopback_server
from tests.unit.motion.videos import scene, write_video

Playlist = Callable[[str], str]


def hls(target: str) -> str:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n"


def hls_master(target: str) -> str:
    media = f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="{target}"'
    return f"#EXTM3U\n{media}\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n"


def hls_key(target: str) -> str:
    return f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:2,\nother.ts\n#EXT-X-ENDLIST\n'


def ffconcat(target: str) -> str:
    return f"ffconcat version 1.0\nfile '{target}'\n"


def dash(target: str) -> str:
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
        f'bandwidth="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>'
    )


def session_description(target: str) -> str:
    port = target.rpartition(":")[2].partition("/")[0]
    number = port if port.isdigit() else "5004"
    return (
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {number} RTP/AVP 96\n"
        f"a=rtpmap:96 H264/90000\na=control:{target}\n"
    )


def image_sequence(target: str) -> str:
    return f'<?xml version="1.0"?><smil><body><video src="{target}"/></body></smil>'


PLAYLISTS = (hls, hls_master, hls_key, ffconcat, dash, session_description, image_sequence)


@pytest.mark.parametrize("playlist", PLAYLISTS, ids=lambda one: str(one.__name__))
@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8", "a.ts", "a.sdp", "a.ffconcat"])
def test_a_playlist_is_no_recording(playlist: Playlist, name: str, tmp_path: Path) -> None:
    write_video(tmp_path / "other.ts", scene(5))
    path = tmp_path / name
    with loopback_server() as canary:
        targets = (f"{canary.url}/a.ts", "other.ts", f"file://{tmp_path}/other.ts", "/etc/passwd", "pipe:0")
        for target in (
            *targets,
            f"subfile,,start,0,end,99,,:{tmp_path}/other.ts",
            "data:video/mp4;base64,AAAA",
        ):
            path.write_text(playlist(target), encoding="utf-8")
            with pytest.raises(ConfigError):
                probe(path)
            with pytest.raises((ConfigError, SourceAway)):
                list(open_file(str(path), 0.0, lambda _reason: None).read())
        assert canary.n_visits == 0


@pytest.mark.parametrize(
    "name", ["http:{port}.mp4", "concat:other.ts|other.ts", "subfile,,start,0,end,9,,:other.ts"]
)
def test_the_name_of_a_file_is_no_address(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "other.ts", scene(5))
    with loopback_server() as canary:
        with pytest.raises(ConfigError):
            open_file(name.format(port=canary.port), 0.0, lambda _reason: None)
        assert canary.n_visits == 0


def test_pictures_are_no_recordings(tmp_path: Path) -> None:
    for suffix in ("png", "webp", "bmp", "tiff"):
        path = tmp_path / f"a.{suffix}"
        Image.new("RGB", (64, 64)).save(path)
        renamed = path.rename(tmp_path / f"{suffix}.mp4")
        with pytest.raises(ConfigError, match="is not a video that FFmpeg knows"):
            probe(renamed)
