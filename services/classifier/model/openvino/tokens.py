"""Texts to token ids as open_clip makes them, by the `tokenizers` library: CLIP's own words, or a tokenizer.json.

Knows no torch and no transformers. Which of the two a model has, and how texts are cleaned, its text_cfg says:
  hf_tokenizer_name  there: tokenizer.json and tokenizer_config.json lie in a folder; absent: CLIP's own
  context_length     ids a text, cut and filled up to that (77 if absent)
  tokenizer_kwargs   clean (`lower`, `whitespace` or `canonicalize`), strip_sep_token
"""

from __future__ import annotations

import gzip
import html
import string
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import ftfy
import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from services.classifier.weights.names import open_clip_folder, read_json
from shared.errors import ConfigError, shortened

Tokenize = Callable[[Sequence[str]], NDArray[np.int64]]  # K texts -> int64[K,L]

CONTEXT_LENGTH = 77  # open_clip's, where the model's config names none
_START, _END = "<start_of_text>", "<end_of_text>"
_N_MERGES = 49152 - 256 - 2  # of the file's; CLIP left the rest out
_END_OF_WORD = "</w>"
# Radford et al. 2021 (CLIP), SimpleTokenizer; texts are in lower case by then, and ſ is an s to it
_WORD = r"<[sſ]tart_of_text>|<end_of_text>|'[sſ]|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_CACHED_WORDS = 20_000
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def tokenizer_of(model_cfg: Mapping[str, Any], folder: Path | None) -> Tokenize:  # Any: JSON
    """Return the tokenizer of an open_clip `model_cfg`; raise ConfigError, one line, if it is none that is known here.

    `folder` holds tokenizer.json where the model does not use CLIP's own: the model's folder, or the snapshot of
    `hf_tokenizer_name` in the hub's cache.
    """
    text_cfg = model_cfg.get("text_cfg", {})
    length = int(text_cfg.get("context_length") or CONTEXT_LENGTH)
    options = dict(text_cfg.get("tokenizer_kwargs") or {})
    name = text_cfg.get("hf_tokenizer_name")
    clean = _cleaner(str(options.pop("clean", "whitespace" if name else "lower")))
    strips_sep = bool(options.pop("strip_sep_token", False)) and bool(name)
    unknown = [*options, *(["tokenizer_mode"] if name and text_cfg.get("tokenizer_mode") else [])]
    if unknown:
        raise ConfigError(
            f"open_clip_config.json: model_cfg.text_cfg: {', '.join(unknown)}: not known without torch, wanted clean "
            "or strip_sep_token; run this model where torch is"
        )
    if not name:
        return _ClipTokenizer(length, clean)
    if folder is None or not (folder / "tokenizer.json").is_file():
        raise ConfigError(
            f"{folder or name}: no tokenizer.json, wanted that of {name} beside the model's config, "
            "with tokenizer_config.json"
        )
    return _FileTokenizer(folder, length, clean, strips_sep)


class _ClipTokenizer:
    """CLIP's own: byte pairs of words in lower case."""

    def __init__(self, length: int, clean: Callable[[str], str]) -> None:
        ids, merges = _vocabulary()
        self._length, self._clean = length, clean
        self._start, self._end = ids[_START], ids[_END]
        self._split = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORD), "removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        pairs = models.BPE(ids, merges, end_of_word_suffix=_END_OF_WORD)
        specials = {_START: [self._start], _END: [self._end]}
        self._word_ids: Callable[[str], list[int]] = lru_cache(_CACHED_WORDS)(
            lambda word: specials.get(word) or [token.id for token in pairs.tokenize(word)]
        )

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        found = np.zeros((len(texts), self._length), np.int64)
        for row, text in zip(found, texts, strict=True):
            words = self._split.pre_tokenize_str(self._clean(text))
            ids = [self._start, *(one for word, _ in words for one in self._word_ids(word)), self._end]
            if len(ids) > self._length:
                ids = [*ids[: self._length - 1], self._end]
            row[: len(ids)] = ids
        return found


class _FileTokenizer:
    """A tokenizer.json, padded and cut as its tokenizer_config.json says.

    What is put around a text is the first file's template. add_bos_token and add_eos_token of the second one do not
    count, as with transformers 5.
    """

    def __init__(
        self, folder: Path, length: int, clean: Callable[[str], str], strips_sep: bool = False
    ) -> None:
        path = folder / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as exc:  # noqa: BLE001 - the library raises nothing narrower
            said = shortened(str(exc), 200)
            raise ConfigError(f"{path}: cannot be read: {said}; make the model folder anew") from exc
        self._length, self._clean = length, clean
        settings = _settings(folder)
        pad = _token_id(self._tokenizer, settings, "pad_token", path)
        padding = self._tokenizer.padding or {}
        self._tokenizer.enable_padding(
            direction=settings.get("padding_side") or padding.get("direction", "right"),
            pad_id=pad,
            length=length,
        )
        self._tokenizer.enable_truncation(length, direction=settings.get("truncation_side") or "right")
        self._sep = _token_id(self._tokenizer, settings, "sep_token", path) if strips_sep else None

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        encoded = self._tokenizer.encode_batch([self._clean(text) for text in texts])
        found = np.array([one.ids for one in encoded], np.int64).reshape(len(texts), self._length)
        if self._sep is not None:
            found[found == self._sep] = 0
        return found


def _cleaner(name: str) -> Callable[[str], str]:
    if name == "lower":
        return lambda text: _one_line(text).lower()
    if name == "whitespace":
        return _one_line
    if name == "canonicalize":
        return _canonical
    raise ConfigError(
        f"open_clip_config.json: model_cfg.text_cfg.tokenizer_kwargs.clean={name}: "
        "wanted lower, whitespace or canonicalize"
    )


def _repaired(text: str) -> str:
    return html.unescape(html.unescape(ftfy.fix_text(text)))


def _one_line(text: str) -> str:
    return " ".join(_repaired(text).split())


def _canonical(text: str) -> str:
    """Return a text without punctuation, in lower case, as SigLIP's were (big_vision's canonicalize_text)."""
    return " ".join(_repaired(text).replace("_", " ").translate(_WITHOUT_PUNCTUATION).lower().split())


def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return CLIP's token ids and merges, from open_clip's vocabulary file; open_clip itself is not imported."""
    path = open_clip_folder() / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1 : _N_MERGES + 1]
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines)]
    # ids of single bytes go by value among those that print, then among the others, which have letters from Ā on
    printing = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    letters = [chr(byte) for byte in printing] + [chr(256 + n) for n in range(256 - len(printing))]
    tokens = [*letters, *(letter + _END_OF_WORD for letter in letters)]
    tokens += [*(left + right for left, right in merges), _START, _END]
    return {token: number for number, token in enumerate(tokens)}, merges


def _settings(folder: Path) -> dict[str, Any]:  # Any: JSON
    """Return tokenizer_config.json over special_tokens_map.json, either of which may be absent."""
    found: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            found |= read_json(folder / name)
    return found


def _content(token: object) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _token_id(tokenizer: Tokenizer, settings: Mapping[str, Any], name: str, path: Path) -> int:  # Any: JSON
    token = _content(settings.get(name))
    found = tokenizer.token_to_id(token)
    if found is None:
        named = (
            f"{name}={token} of tokenizer_config.json is not in it" if token else f"no {name} is named for it"
        )
        raise ConfigError(f"{path}: {named}; make the model folder anew")
    return int(found)
