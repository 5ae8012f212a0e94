"""The index of an MP4 is moved, or the file is refused."""

from __future__ import annotations

import pytest

from services.motion.media.mp4 import index_in_front


def test_moving_the_index_of_a_broken_file_raises() -> None:
    with pytest.raises(ValueError, match="broken mp4 box"):
        index_in_front(b"\x00\x00\xff\xffmdat1234")
