"""Hugging Face's BERT with the mean of its words as the text's vector: the text tower of `mini`.

Devlin et al. 2019; names and order of operations as in transformers' BertModel and open_clip's HFTextEncoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from services.classifier.model.openvino import layers
from services.classifier.model.openvino.layers import Heads
from services.classifier.model.openvino.tensors import Tensors, expect


def build_bert(config: Mapping[str, Any], tensors: Tensors) -> ov.Model:  # Any: JSON
    """Build the tower of a config.json; raise ConfigError where it is another kind of BERT."""
    expect(
        "config.json",
        {"position_embedding_type": "absolute"} | dict(config),
        model_type="bert",
        hidden_act="gelu",
        position_embedding_type="absolute",
    )
    width = int(config["hidden_size"])
    epsilon = float(config.get("layer_norm_eps", 1e-12))
    heads = Heads(int(config["num_attention_heads"]), width)
    ids = layers.token_ids()
    seen = ops.not_equal(ids, layers.integers(int(config.get("pad_token_id", 0))))
    mask = ops.unsqueeze(seen, layers.integers(1, 2))
    x = _embedded(ids, tensors.within("embeddings"), config, epsilon)
    for number in range(int(config["num_hidden_layers"])):
        layer = tensors.within(f"encoder.layer.{number}")
        own = layer.within("attention")
        query, key, value = (
            layers.linear(x, own.within(f"self.{name}"), width, width) for name in ("query", "key", "value")
        )
        mixed = heads.attend(query, key, value, mask)
        x = _added(x, mixed, own.within("output"), epsilon)
        n_inner = int(config["intermediate_size"])
        inner = layers.gelu(layers.linear(x, layer.within("intermediate.dense"), width, n_inner))
        x = _added(x, inner, layer.within("output"), epsilon, n_inner)
    return layers.model(_mean(x, seen), ids, "text")


def _embedded(ids: ov.Node, tensors: Tensors, config: Mapping[str, Any], epsilon: float) -> ov.Node:
    # Any: JSON
    width = int(config["hidden_size"])
    words = tensors.within("word_embeddings").take("weight", int(config["vocab_size"]), width)
    positions = tensors.within("position_embeddings").take(
        "weight", int(config["max_position_embeddings"]), width
    )
    kinds = tensors.within("token_type_embeddings").take("weight", int(config["type_vocab_size"]), width)
    # a text is of the first kind, all of it
    x = layers.embedded(ids, words, layers.float32(positions) + layers.float32(kinds[:1]))
    return layers.layer_norm(x, tensors.within("LayerNorm"), width, epsilon)


def _added(x: ov.Node, change: ov.Node, tensors: Tensors, epsilon: float, n_in: int = 0) -> ov.Node:
    width = int(x.get_output_partial_shape(0)[2].get_length())
    summed = ops.add(layers.linear(change, tensors.within("dense"), n_in or width, width), x)
    return layers.layer_norm(summed, tensors.within("LayerNorm"), width, epsilon)


def _mean(x: ov.Node, seen: ov.Node) -> ov.Node:
    """Return the mean float[N,D] over the tokens that are no filling."""
    weights = ops.unsqueeze(ops.convert(seen, np.float32), layers.integers(2))
    total = ops.reduce_sum(ops.multiply(x, weights), layers.integers(1))
    return ops.divide(total, ops.reduce_sum(weights, layers.integers(1)))
