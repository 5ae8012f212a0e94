"""open_clip's own text transformer: CLIP's, which looks back only, and SigLIP's, which looks at all words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from services.classifier.model.openvino import layers
from services.classifier.model.openvino.tensors import Tensors, refuse_others
from services.classifier.model.openvino.transformer import shape_of, transform
from shared.errors import ConfigError

_LONGEST = 2**16  # tokens of a text, at most
# of a text_cfg: what is built, what is the tokenizer's, and what open_clip does not look at for this tower
_KNOWN = frozenset(
    {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "ls_init_value"}
    | {
        "no_causal_mask",
        "pool_type",
        "eos_id",
        "pad_id",
        "proj_type",
        "proj_bias",
        "norm_kwargs",
        "act_kwargs",
    }
    | {"hf_tokenizer_name", "tokenizer_kwargs", "tokenizer_mode", "final_ln_after_pool"}
    | {"hf_model_pretrained", "hf_pooler_type", "hf_proj_type"}
)


def build_text(
    text_cfg: Mapping[str, Any], embed_dim: int, tensors: Tensors, is_quick: bool
) -> ov.Model:  # Any: JSON
    """Build open_clip's TextTransformer; raise ConfigError for what a text_cfg asks for beyond a plain one.

    A text may be cut after its last word where it looks back only and the last word is the one that counts: filling
    changes nothing then. Else it has to be as long as the model's context.
    """
    refuse_others("text_cfg", text_cfg, _KNOWN)
    width = int(text_cfg.get("width", 512))
    length = int(text_cfg.get("context_length", 77))
    shape = shape_of("text_cfg", text_cfg, width, int(text_cfg.get("heads", 8)), is_quick)
    shape = replace(shape, is_causal=not text_cfg.get("no_causal_mask", False))
    pool = str(text_cfg.get("pool_type", "argmax"))
    ids = layers.token_ids(-1 if shape.is_causal and pool in ("argmax", "eos") else length)
    words = tensors.within("token_embedding").take("weight", int(text_cfg.get("vocab_size", 49408)), width)
    x = layers.embedded(ids, words, tensors.take("positional_embedding", length, width))
    x = transform(x, tensors, shape)
    x = ops.gather(x, _row(ids, pool, text_cfg), layers.integers(1), batch_dims=1)
    x = ops.squeeze(x, layers.integers(1))
    x = layers.layer_norm(x, tensors.within("ln_final"), width, shape.epsilon)
    return layers.model(_projected(x, text_cfg, width, embed_dim, tensors), ids, "text")


def _row(ids: ov.Node, pool: str, text_cfg: Mapping[str, Any]) -> ov.Node:  # Any: JSON
    """Return int[N,1], the place of the token that stands for its text: the first of those that qualify."""
    if pool == "argmax":
        return _first(ops.equal(ids, ops.reduce_max(ids, layers.integers(1), keep_dims=True)))
    if pool == "eos":
        return _first(ops.equal(ids, layers.integers(int(text_cfg.get("eos_id", 2)))))
    if pool not in ("first", "last"):
        raise ConfigError(f"text_cfg: pool_type={pool}, built are argmax, eos, first and last")
    n_texts = ops.slice(ops.shape_of(ids), layers.integers(0), layers.integers(1), layers.integers(1))
    place = 0 if pool == "first" else int(text_cfg.get("context_length", 77)) - 1
    return ops.broadcast(layers.integers(place), ops.concat([n_texts, layers.integers(1)], 0))


def _first(is_it: ov.Node) -> ov.Node:
    """Return int[N,1], the place of the first true one of bool[N,L]; 0 where none is.

    Not by TopK, which has no kernel without AVX.
    """
    left = ops.constant(np.arange(_LONGEST, 0, -1, dtype=np.int32)[np.newaxis])
    length = ops.slice(ops.shape_of(is_it), layers.integers(1), layers.integers(2), layers.integers(1))
    left = ops.slice(left, layers.integers(0), length, layers.integers(1), layers.integers(1))
    most = ops.reduce_max(
        ops.multiply(ops.convert(is_it, np.int32), left), layers.integers(1), keep_dims=True
    )
    return ops.mod(ops.subtract(ops.constant(np.int32(_LONGEST)), most), ops.constant(np.int32(_LONGEST)))


def _projected(
    x: ov.Node, text_cfg: Mapping[str, Any], width: int, embed_dim: int, tensors: Tensors
) -> ov.Node:  # Any: JSON
    kind = text_cfg.get("proj_type", "linear")
    if kind == "none" and width == embed_dim:
        return x
    if kind != "linear":
        raise ConfigError(f"text_cfg: proj_type={kind} is not built for a width of {width} of {embed_dim}")
    if text_cfg.get("proj_bias", False):
        return layers.linear(x, tensors.within("text_projection"), width, embed_dim)
    return layers.project(x, tensors.take("text_projection", width, embed_dim))
