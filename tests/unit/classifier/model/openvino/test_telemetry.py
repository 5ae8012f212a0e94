"""Nothing is told to anybody: OpenVINO and nncf open no socket."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import socket, sys, time
opened = []
class Watched(socket.socket):
    def __init__(self, *args, **kwargs):
        opened.append(args)
        super().__init__(*args, **kwargs)
socket.socket = Watched
look_up = socket.getaddrinfo
def watched(*args, **kwargs):
    opened.append(args)
    return look_up(*args, **kwargs)
socket.getaddrinfo = watched
import services.classifier.model.openvino
import {module}
time.sleep(0.5)  # what is told is told by a thread
assert not opened, opened
assert not any(name.startswith("openvino_telemetry") and found for name, found in sys.modules.items())
"""


@pytest.mark.parametrize("module", ["openvino", "nncf"])
def test_no_socket_is_opened(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(module=module)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
