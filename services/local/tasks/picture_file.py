"""Reads a picture file to search by: upright, scaled down and as JPEG, so that any photograph can be sent."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from shared.errors import ConfigError, reason

FILE_BYTES_MAX = 64 * 1024 * 1024
SIDE_PX = 1024  # models look at 224 to 512 px
LIKE_WANTED = "a picture (JPEG, PNG, WebP, …) or the id of an event"
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def picture_to_send(path: Path, option: str, wanted: str = LIKE_WANTED) -> bytes:
    """Return a JPEG of at most SIDE_PX a side; raise ConfigError, which names `option`, for what is no picture."""
    where = f"{option} {path}"
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigError(f"{where}: more than {FILE_BYTES_MAX >> 20} MiB; name a smaller picture")
        with Image.open(path, formats=_FORMATS) as image:
            image.draft("RGB", (2 * SIDE_PX, 2 * SIDE_PX))
            image.thumbnail((SIDE_PX, SIDE_PX))
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except UnidentifiedImageError as exc:
        raise ConfigError(f"{where}: wanted {wanted}") from exc
    except OSError as exc:
        said = exc.strerror or reason(exc)
        raise ConfigError(f"{where}: {said}; wanted {wanted}") from exc
    except (SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        raise ConfigError(f"{where}: this picture cannot be read ({exc}); name another one") from exc
    flat = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")
    buffer = io.BytesIO()
    flat.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
