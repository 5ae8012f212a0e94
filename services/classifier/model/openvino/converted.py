"""Reads the two towers of a folder that holds them as OpenVINO's IR or ONNX, in the form that towers.py builds.

Others' exports differ: inputs of other names and integer types, an attention mask, more outputs than the embedding, a
fixed batch. What is meant beyond doubt is brought into form; the rest is refused by one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from services.classifier.model.int8_proof import Int8Proof, proof_of
from services.classifier.model.openvino.towers import Towers
from services.classifier.weights import hub, integrity
from services.classifier.weights.conversions import (
    GOLDEN,
    SOURCE_WEIGHTS,
    converted_folder,
    half_written,
    is_converted,
)
from services.classifier.weights.integrity import ChecksumRecord, GoldenEmbeddings
from services.classifier.weights.names import OURS_FILE, ModelReference, own_settings, read_json
from services.classifier.weights.tower_configs import config_of, tokenizer_folder
from services.classifier.weights.tower_pairs import INT8_FILE, TowerFiles, tower_files
from shared.errors import ConfigError, shortened
from shared.logs import get_logger

log = get_logger(__name__)
IMAGE_INPUT, TEXT_INPUT, OUTPUT = "pixels", "token_ids", "embedding"
# Names of the embedding among several outputs; a SigLIP's pooled output is its embedding, a CLIP's has another name
_EMBEDDINGS = (
    OUTPUT,
    "image_embeds",
    "text_embeds",
    "image_embeddings",
    "text_embeddings",
    "sentence_embedding",
)
_POOLED = "pooler_output"
# CLIP holds its scale at 100 at most (Radford et al. 2021, 2.5), and trained ones are there; SigLIP's are about 110
_USUAL_TEMPERATURE = 100.0


@dataclass(frozen=True, slots=True)
class _TowerInput:
    """The one input of a tower in our form: its shape without the batch, -1 for any length."""

    name: str
    dtype: Any  # Any: numpy's types
    rest: tuple[int, ...]


def find(
    reference: ModelReference, models_dir: Path | None, record: ChecksumRecord | None = None
) -> Path | None:
    """Return the folder with a model's towers: its own, its repository's, or its conversion; None where it has none.

    A conversion counts only if it was made of the weights that are here, or if none are here. Raises ConfigError, one
    line, for a folder with one tower, or a conversion that was broken off.
    """
    here = hub.cache_of(models_dir)
    own = reference.folder or hub.snapshot_folder(here, reference)
    if reference.folder is not None and (line := half_written(reference.folder)):
        raise ConfigError(f"MODEL={reference.name}: {line}")
    if is_converted(here, reference.name) and _is_current(reference, models_dir, record):
        return converted_folder(here, reference.name)
    return own if own is not None and tower_files(own) else None


def _is_current(reference: ModelReference, models_dir: Path | None, record: ChecksumRecord | None) -> bool:
    """Tell whether a model's conversion was made of the weights that are here, if any are."""
    here = hub.cache_of(models_dir)
    record = record or ChecksumRecord(models_dir)
    folder = converted_folder(here, reference.name)
    if reference.folder is not None:
        checked = integrity.check_folder(reference.name, reference.folder, record)
    elif hub.is_here(reference, here):
        checked = integrity.check_cache(reference.name, hub.cached_files(here, reference), record)
    else:
        return True
    if read_json(folder / OURS_FILE).get(SOURCE_WEIGHTS) == checked.weights:
        return True
    log.warning(
        "the conversion was made of other weights than those that are here, and is not used",
        model=reference.name,
        folder=str(folder),
    )
    return False


def load_pair(folder: Path) -> Towers:
    """Read a folder's two towers; raise ConfigError, one line, where they are not usable as they are."""
    files = tower_files(folder)
    if files is None:
        raise ConfigError(f"{folder}: holds no towers, wanted image.xml and text.xml")
    if line := half_written(folder):
        raise ConfigError(line)
    config = config_of(folder)
    model_cfg = config.get("model_cfg", {})
    size = _image_size(config)
    image = _image_tower(files.image, size)
    size = int(image.input(0).get_partial_shape()[2].get_length())
    length = model_cfg.get("text_cfg", {}).get("context_length")
    text = _text_tower(files, folder, int(length) if length else None)
    _check_widths(files, image, text)
    _check_tokenizer(folder, model_cfg)
    return Towers(image, text, _temperature(folder), size)


def load_int8(folder: Path) -> tuple[ov.Model, Int8Proof] | None:
    """Return the image tower in int8 and its proof; None where there is none, or where the proof is not enough."""
    path = folder / INT8_FILE
    proof = int8_proof(folder)
    if proof is None or not proof.is_near or not path.is_file():
        return None
    return _image_tower(path, None), proof


def int8_proof(folder: Path) -> Int8Proof | None:
    """Return what a conversion found out about int8, whether it passed or not; None for other folders."""
    ours = folder / OURS_FILE
    return proof_of(read_json(ours).get("int8")) if ours.is_file() else None


def golden(reference: ModelReference, weights: str) -> GoldenEmbeddings | None:
    """Return the embeddings that the source of a conversion gave in float32, None for other models.

    `weights` is the checksum of the folder's own files.
    """
    kept = own_settings(reference).get(GOLDEN)
    if not isinstance(kept, Mapping):
        return None
    try:
        picture, text = (np.asarray(kept[part], dtype=np.float32) for part in ("picture", "text"))
    except (KeyError, TypeError, ValueError):
        return None
    return GoldenEmbeddings(weights, picture, text)


def _read(path: Path) -> ov.Model:
    try:
        return ov.Core().read_model(path)
    except Exception as exc:  # noqa: BLE001 - the library raises RuntimeError, and what its Python layer adds
        raise ConfigError(f"{path}: {_why_unreadable(path, exc)}") from exc


def _why_unreadable(path: Path, exc: Exception) -> str:
    said = shortened(str(exc), 200)
    here = ov.get_version().split("-")[0]
    if path.suffix != ".xml":
        return f"cannot be read by OpenVINO {here}: {said}; export it anew"
    head, tail = _ends(path)
    version = re.search(r'<net\b[^>]*\bversion="(\d+)"', head)
    writer = re.search(r'"OpenVINO Runtime" value="([\d.]+)', tail)
    of = f"IR version {version[1]}" if version else "no whole IR"
    by = f", written by OpenVINO {writer[1]}" if writer else ""
    return (
        f"{of}{by}, cannot be read by OpenVINO {here} here: {said}; convert the model here anew "
        "(`clipwatch models convert NAME`), or get it whole"
    )


def _ends(path: Path) -> tuple[str, str]:
    """Return the first and the last thousands of bytes of a file."""
    with path.open("rb") as file:
        head = file.read(2000)
        file.seek(max(0, path.stat().st_size - 8000))
        return head.decode(errors="replace"), file.read().decode(errors="replace")


def _image_tower(path: Path, size: int | None) -> ov.Model:
    """Return the tower as float32[N,3,S,S] -> float32[N,D]."""
    model = _read(path)
    if len(model.inputs) != 1 or model.input(0).get_partial_shape().rank.get_max_length() != 4:
        raise ConfigError(f"{path}: takes {_names(model.inputs)}, wanted one input, pictures [N,3,S,S]")
    shape = model.input(0).get_partial_shape()
    sides = {side.get_length() for side in list(shape)[2:] if side.is_static}
    if len(sides) > 1 or (shape[1].is_static and shape[1].get_length() != 3):
        raise ConfigError(f"{path}: takes pictures {shape}, wanted [N,3,S,S]")
    own = sides.pop() if sides else None
    if own and size and own != size:
        raise ConfigError(
            f"{path}: takes pictures of {own} px, but the model's config says image_size {size}: they do not belong "
            "together"
        )
    side = own or size
    if not side:
        raise ConfigError(
            f"{path}: takes pictures of any size, and no config says image_size: write it there"
        )
    return _formed(path, model, _TowerInput(IMAGE_INPUT, np.float32, (3, side, side)), lambda x: {0: x})


def _text_tower(files: TowerFiles, folder: Path, length: int | None) -> ov.Model:
    """Return the tower as int64[N,L] -> float32[N,D]; what it takes beside the token ids is made from them."""
    path = files.text
    model = _read(path)
    by_role: dict[str, int] = {}
    for number, port in enumerate(model.inputs):
        known = [name for name in port.names if name in ("attention_mask", "token_type_ids")]
        role = known[0] if known else "ids"
        if role in by_role or port.get_partial_shape().rank.get_max_length() != 2:
            raise ConfigError(
                f"{path}: takes {_names(model.inputs)}, wanted token ids [N,L], and attention_mask at most"
            )
        by_role[role] = number
    if "ids" not in by_role:
        raise ConfigError(f"{path}: takes {_names(model.inputs)}, wanted token ids [N,L]")
    own = model.input(by_role["ids"]).get_partial_shape()[1]
    if own.is_static and length and own.get_length() != length:
        raise ConfigError(
            f"{path}: takes {own.get_length()} tokens, but the model's config says context_length {length}: they do "
            "not belong together"
        )

    def given(ids: ov.Output) -> dict[int, ov.Output]:
        found = {by_role["ids"]: ids}
        if "attention_mask" in by_role:
            found[by_role["attention_mask"]] = _mask(ids, folder)
        if "token_type_ids" in by_role:
            found[by_role["token_type_ids"]] = ops.multiply(ids, ops.constant(np.int64(0))).output(0)
        return found

    wide = own.get_length() if own.is_static else -1
    return _formed(path, model, _TowerInput(TEXT_INPUT, np.int64, (wide,)), given)


def _mask(ids: ov.Output, folder: Path) -> ov.Output:
    """Return int64[N,L]: 1 for a token, 0 for filling. All 1 where the filling is the end's token again.

    A tower that fills up so looks at nothing after the first end anyway (CLIP).
    """
    pad = _filling(folder)
    if pad is None:
        one = ops.constant(np.int64(1))
        return ops.add(ops.multiply(ids, ops.constant(np.int64(0))), one).output(0)
    return ops.convert(ops.not_equal(ids, ops.constant(np.int64(pad))), np.int64).output(0)


def _filling(folder: Path) -> int | None:
    where = tokenizer_folder(folder)
    if where is None:
        return None
    from tokenizers import Tokenizer

    settings = (
        read_json(where / "tokenizer_config.json") if (where / "tokenizer_config.json").is_file() else {}
    )
    pad, end = (_content(settings.get(name)) for name in ("pad_token", "eos_token"))
    if not pad or pad == end:
        return None
    found = Tokenizer.from_file(str(where / "tokenizer.json")).token_to_id(pad)
    return None if found is None else int(found)


def _content(token: object) -> str:
    return str(token.get("content", "")) if isinstance(token, Mapping) else str(token or "")


def _formed(
    path: Path,
    model: ov.Model,
    wanted: _TowerInput,
    given: Callable[[ov.Output], dict[int, ov.Output]],
) -> ov.Model:
    """Return a model with one input [N,…] and the embedding alone, float32[N,D], whatever the file's looks like.

    `given` makes all inputs of the file's model from that one.
    """
    embedding = _embedding(path, model)
    is_free = _free_batch(model, embedding, wanted.rest)
    entry = ops.parameter([-1 if is_free else 1, *wanted.rest], wanted.dtype)
    for number, value in given(entry.output(0)).items():
        port = model.input(number)
        fitting = value
        if value.get_element_type() != port.get_element_type():
            fitting = ops.convert(value, port.get_element_type().to_string()).output(0)
        for target in port.get_target_inputs():
            target.replace_source_output(fitting)
    result = embedding.get_node().input_value(0)
    if result.get_element_type() != ov.Type.f32:
        result = ops.convert(result, np.float32).output(0)
    formed = ov.Model([ops.result(result)], [entry], model.get_friendly_name())
    if not is_free:
        formed = _repeated(formed, wanted)
    formed.input(0).get_node().set_friendly_name(wanted.name)
    formed.input(0).get_tensor().set_names({wanted.name})
    formed.output(0).get_tensor().set_names({OUTPUT})
    return formed


def _embedding(path: Path, model: ov.Model) -> ov.Output:
    """Return the output that is the embedding [N,D]."""
    flat = [port for port in model.outputs if port.get_partial_shape().rank.get_max_length() == 2]
    for names in (set(_EMBEDDINGS), {_POOLED}):
        if len(flat) > 1 and (named := [port for port in flat if names & port.names]):
            flat = named
    if len(flat) != 1:
        raise ConfigError(f"{path}: gives {_names(model.outputs)}, wanted one embedding [N,D] among them")
    return flat[0]


def _free_batch(model: ov.Model, embedding: ov.Output, rest: tuple[int, ...]) -> bool:
    """Make the batch any number; False, and the batch 1, where the model has that in its insides."""
    fixed = {port: port.get_partial_shape() for port in model.inputs}
    try:
        model.reshape({port: ov.PartialShape([-1, *rest]) for port in model.inputs})
        if embedding.get_partial_shape()[0].is_dynamic:
            return True
    except RuntimeError:  # shapes that fit no other batch
        pass
    model.reshape({port: ov.PartialShape([1, *list(shape)[1:]]) for port, shape in fixed.items()})
    return False


def _repeated(one: ov.Model, wanted: _TowerInput) -> ov.Model:
    """Return a model that runs another one, made for one picture or text, once for each of a batch."""
    batch = ops.parameter([-1, *wanted.rest], wanted.dtype)
    loop = ov.op.TensorIterator()
    loop.set_function(one)
    loop.set_sliced_input(one.get_parameters()[0], batch.output(0), 0, 1, 1, -1, 0)
    out = loop.get_concatenated_slices(one.get_results()[0].output(0), 0, 1, 1, -1, 0)
    return ov.Model([ops.result(out)], [batch], one.get_friendly_name())


def _check_widths(files: TowerFiles, image: ov.Model, text: ov.Model) -> None:
    widths = [model.output(0).get_partial_shape()[1] for model in (image, text)]
    if all(width.is_static for width in widths) and widths[0] != widths[1]:
        raise ConfigError(
            f"{files.image.name} gives {widths[0]} numbers a picture, {files.text.name} {widths[1]} a text: the "
            f"towers in {files.image.parent} are of two models"
        )


def _check_tokenizer(folder: Path, model_cfg: Mapping[str, Any]) -> None:  # Any: JSON
    named = model_cfg.get("text_cfg", {}).get("hf_tokenizer_name")
    if tokenizer_folder(folder) is None and (named or not model_cfg):
        raise ConfigError(
            f"{folder}: no tokenizer.json, wanted {'that of ' + named if named else 'the model’s own'} beside the "
            "towers, with tokenizer_config.json"
        )


def _image_size(config: Mapping[str, Any]) -> int | None:  # Any: JSON
    size = config.get("model_cfg", {}).get("vision_cfg", {}).get("image_size")
    if isinstance(size, list | tuple):
        size = size[0] if len(set(size)) == 1 else None
    return int(size) if size else None


def _temperature(folder: Path) -> float:
    ours = read_json(folder / OURS_FILE) if (folder / OURS_FILE).is_file() else {}
    written = ours.get("temperature")
    if isinstance(written, int | float) and not isinstance(written, bool) and 0 < written <= 1000:
        return float(written)
    log.warning(
        "nothing says the model's temperature; `temperature` in its clipwatch.json would",
        folder=str(folder),
        taken=_USUAL_TEMPERATURE,
    )
    return _USUAL_TEMPERATURE


def _names(ports: list[ov.Output]) -> str:
    return ", ".join(f"{'/'.join(sorted(port.names)) or '?'} {port.get_partial_shape()}" for port in ports)
