"""`python -m services.classifier.convert NAME`: write a model as a folder that any torch-free classifier takes.

The heavy part runs in a process of its own, so that what the kernel kills for memory is one line here. It writes into a
folder beside the conversion's place; only a whole one is renamed, its list of checksums written last.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from services.classifier.fetch import warn_of_licence
from services.classifier.missing_packages import how_to_install
from services.classifier.settings import ClassifierSettings
from services.classifier.weights import hub, integrity
from services.classifier.weights.conversions import converted_folder
from services.classifier.weights.names import ModelReference, resolve_model
from shared.errors import ConfigError, redact
from shared.files import sync_folder
from shared.settings import load_settings
from shared.terminal_text import say

NO_INT8 = "--no-int8"
_INTO = "--into"  # the child's: the folder to write into
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
_TOLD = "clipwatch: "
_LARGER = "stop other programs, or convert it on a larger machine and copy the folder"
_GRACE_S = 10.0  # for the child to end on its own after Ctrl-C
# Of the weights: both towers in float16 take half of a float32 file, int8 a quarter; float32 first where float16 fails
_ROOM = 1.5


def main(arguments: list[str]) -> int:
    """Convert a model; return the exit code."""
    names = [argument for argument in arguments if argument != NO_INT8]
    with_int8 = NO_INT8 not in arguments
    try:
        settings = load_settings(ClassifierSettings)
        if len(names) == 3 and names[0] == _INTO:
            return _convert_here(names[2], settings.models_dir, Path(names[1]), with_int8)
        if len(names) != 1 or names[0].startswith("-"):
            raise ConfigError("wanted one name, such as ViT-B-32-256/datacomp_s34b_b86k")
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: nothing is left
        say(f"{names[0]}: {convert(names[0], settings.models_dir, with_int8)}: written")
    except ConfigError as exc:
        for fault in exc.faults:
            say(f"{_TOLD}{fault}", is_error=True)
        return 2
    except KeyboardInterrupt:
        say("clipwatch: interrupted; nothing was left behind", is_error=True)
        return 130
    return 0


def convert(name: str, models_dir: Path, with_int8: bool = True) -> Path:
    """Convert a model and return its folder; raise ConfigError, one line, and leave nothing, where that fails."""
    reference = resolve_model(name, models_dir)
    if with_int8 and not _has_nncf():
        raise ConfigError(
            f"nncf, which makes int8, is not installed: {how_to_install('convert')}, or add {NO_INT8}"
        )
    warn_of_licence(reference)
    if not (reference.folder or hub.is_here(reference, models_dir)) and (why := hub.why_unreachable()):
        raise ConfigError(hub.not_here(reference, why))
    folder = converted_folder(models_dir, reference.name)
    half = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        _remove_halves(folder)
        half.mkdir(parents=True)
        _require_room(reference, models_dir, half)
        _run_child(reference, models_dir, half, with_int8)
        _finish(half, folder)
    except OSError as exc:
        raise ConfigError(_why_not_written(half, exc)) from exc
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return folder


def _run_child(reference: ModelReference, models_dir: Path, half: Path, with_int8: bool) -> None:
    options = [] if with_int8 else [NO_INT8]
    command = [
        sys.executable,
        "-m",
        "services.classifier.convert",
        *options,
        _INTO,
        str(half),
        reference.name,
    ]
    environment = {**os.environ, "MODELS_DIR": str(models_dir)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as child:
        try:
            _, said = child.communicate()
        except BaseException:
            child.send_signal(signal.SIGINT)
            try:
                child.communicate(timeout=_GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()
            raise
    if child.returncode in _KILLED:
        raise ConfigError(
            f"MODEL={reference.name}: the conversion was killed, most likely for want of memory: {_LARGER}"
        )
    if child.returncode:
        faults = [line.removeprefix(_TOLD) for line in said.splitlines() if line.startswith(_TOLD)]
        last = said.strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
        raise ConfigError(faults or [f"MODEL={reference.name}: not converted: {last[0]}"])


def _convert_here(name: str, models_dir: Path, half: Path, with_int8: bool) -> int:
    """Do the heavy part; return the exit code. What is missing has been told by then."""
    from services.classifier.model.openvino.conversion import convert as write  # late: it imports the runtime

    def tell(line: str) -> None:
        say(line)

    try:
        write(resolve_model(name, models_dir), models_dir, half, with_int8, tell)
    except MemoryError as exc:
        raise ConfigError(
            f"MODEL={name}: out of memory: stop other programs, or convert it on a larger machine"
        ) from exc
    except OSError as exc:
        raise ConfigError(_why_not_written(half, exc)) from exc
    except RuntimeError as exc:  # OpenVINO's only kind
        said = " ".join(str(exc).split())
        if "bad_alloc" in said or "allocate" in said:
            raise ConfigError(
                f"MODEL={name}: out of memory: stop other programs, or convert it on a larger machine"
            ) from exc
        if shutil.disk_usage(half).free < 1_000_000:
            raise ConfigError(
                _why_not_written(half, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
            ) from exc
        raise ConfigError(f"MODEL={name}: OpenVINO cannot convert it: {redact(said)[:300]}") from exc
    return 0


def _finish(half: Path, folder: Path) -> None:
    """Make the files durable, write their checksums last, and give the folder its name."""
    for path in half.iterdir():
        path.chmod(0o644)
        with path.open("rb") as file:
            os.fsync(file.fileno())
    integrity.write_sums(half)
    half.chmod(0o755)
    if folder.exists():
        shutil.rmtree(folder)
    half.rename(folder)
    sync_folder(folder.parent)


def _remove_halves(folder: Path) -> None:
    """Remove what killed conversions of the same model left."""
    for path in folder.parent.glob(f".{folder.name}.*.tmp"):
        number = path.suffixes[-2].removeprefix(".") if len(path.suffixes) > 1 else ""
        if not number.isdigit() or not Path(f"/proc/{number}").exists():
            shutil.rmtree(path, ignore_errors=True)


def _require_room(reference: ModelReference, models_dir: Path, half: Path) -> None:
    files = reference.folder.iterdir() if reference.folder else hub.cached_files(models_dir, reference)
    wanted = int(_ROOM * sum(path.stat().st_size for path in files if path.is_file()))
    free = shutil.disk_usage(half).free
    if free < wanted:
        raise ConfigError(
            f"{half.parent}: {free / 1e6:.0f} MB are free, wanted {wanted / 1e6:.0f} MB for the conversion: make room"
        )


def _why_not_written(half: Path, exc: OSError) -> str:
    if exc.errno == errno.ENOSPC:
        return f"{half.parent}: the disk is full: make room, and run it again"
    return (
        f"{half.parent}: the conversion cannot be written: {exc.strerror or exc}: check the folder MODELS_DIR"
    )


def _has_nncf() -> bool:
    import importlib.util

    return importlib.util.find_spec("nncf") is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
