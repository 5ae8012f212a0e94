"""tokens.py gives the ids that open_clip's own tokenizers give, for odd texts and for any."""

from __future__ import annotations

import html
import json
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import ftfy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from services.classifier.model.openvino.tokens import Tokenize, tokenizer_of
from shared.errors import ConfigError

MINI = Path(sys.prefix) / "share" / "clipwatch" / "models" / "mini"
ODD = [
    "",
    " ",
    "a dog",
    "A  Dog\t on\nthe   STREET",
    "a person's bike, they'll've said: we're 1st!",
    "“curly” ‘quotes’ – dashes… and ½",
    "&lt;b&gt; Tom &amp;amp; Jerry &eacute; &#128054;",
    "<i>twice &amp;amp; thrice &amp;amp;amp;",
    "🐕 on a 🛹👩‍🚒!!1",
    "犬が道を歩いている 狗 개",
    "naïve café ŒUVRE ﬁre İstanbul straße",
    "schÃ¶n",
    "<start_of_text> a <end_of_text>!<end_of_text>dog<|endoftext|> <START_OF_TEXT>",
    "[CLS] a [SEP] dog [PAD] [MASK]",
    "<eos> a <pad> dog </s> <bos>",
    "under_score {placeholder} #hash @at",
    "12345 3.14 1,000,000 x2",
    "zero\u200bwidth \ufeff bom \u00a0 nbsp \u3000 wide",
    "'ſ it'ſ <ſtart_of_text> K Å",
    "\x00\x01\x1b[0m",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 " * 40,
    "supercalifragilisticexpialidocious" * 12,
    "a photo of a delivery van, " * 30,
]


def is_known(text: str) -> bool:
    """Whether this Python knows each letter, also of the cleaned text: the libraries' tables differ in age."""
    cleaned = html.unescape(html.unescape(ftfy.fix_text(text)))
    return all(unicodedata.category(letter) not in ("Cs", "Cn", "Co") for letter in text + cleaned)


_texts = st.text(st.characters(exclude_categories=("Cs", "Cn", "Co")), max_size=120).filter(is_known)
_words = st.lists(
    st.sampled_from(
        ["dog", "it's", "A", "&amp;", "…", "<end_of_text>", "<eos>", "[SEP]", "日本", "7", "_", "!?"]
    )
).map(" ".join)
any_text = st.one_of(_texts, _words)


@pytest.fixture(scope="module")
def clip() -> tuple[Tokenize, Any]:
    import open_clip.tokenizer

    return tokenizer_of({"text_cfg": {}}, None), open_clip.tokenizer.SimpleTokenizer()


def test_clips_own_tokenizer_is_open_clips(clip: tuple[Tokenize, Any]) -> None:
    ours, theirs = clip
    found = ours(ODD)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, theirs(ODD).numpy())


@given(text=any_text)
@settings(max_examples=600, deadline=None)
def test_clips_own_tokenizer_is_open_clips_for_any_text(clip: tuple[Tokenize, Any], text: str) -> None:
    ours, theirs = clip
    np.testing.assert_array_equal(ours([text]), theirs([text]).numpy())


@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
def test_context_length_and_cleaning_are_the_configs(clean: str) -> None:
    import open_clip.tokenizer

    ours = tokenizer_of({"text_cfg": {"context_length": 9, "tokenizer_kwargs": {"clean": clean}}}, None)
    theirs = open_clip.tokenizer.SimpleTokenizer(context_length=9, clean=clean)
    np.testing.assert_array_equal(ours(ODD), theirs(ODD).numpy())


def test_no_text_is_no_row() -> None:
    assert tokenizer_of({"text_cfg": {}}, None)([]).shape == (0, 77)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Folders of tokenizers, and the text_cfg of a model that has each."""
    root = tmp_path_factory.mktemp("tokenizers")
    siglip = {"context_length": 64, "tokenizer_kwargs": {"clean": "canonicalize"}}
    return {
        "mini": (MINI, {"context_length": 64}),
        "mini without [SEP]": (
            MINI,
            {"context_length": 16, "tokenizer_kwargs": {"strip_sep_token": True}},
        ),
        "t5": (_t5(root / "t5"), siglip),
        "gemma": (_gemma(root / "gemma"), siglip),
        "gemma, short": (root / "gemma", siglip | {"context_length": 7, "tokenizer_kwargs": {}}),
    }


def _t5(folder: Path) -> Path:
    """Write a tokenizer like SigLIP's: unigram pieces, </s> after a text and as filling."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789'&<>!é犬"
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0), ("▁a", -3.5), ("▁dog", -5.0)]
    pieces += [
        ("ing", -4.0),
        ("er", -4.1),
        ("▁person", -6.0),
        *((letter, -8.0 - n / 9) for n, letter in enumerate(letters)),
    ]
    made = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True),
        ]
    )
    made.add_special_tokens(["<pad>", "</s>", "<unk>"])
    made.post_processor = processors.TemplateProcessing(
        single=["$A", "</s>"], pair=["$A", "</s>", "$B", "</s>"], special_tokens=[("</s>", 1)]
    )
    config = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "eos_token": "</s>", "unk_token": "<unk>"}
    return _written(folder, made, config | {"pad_token": "</s>", "model_max_length": 64})


def _gemma(folder: Path) -> Path:
    """Write a tokenizer like SigLIP2's: byte pairs over ▁, with <eos> after a text and <pad> as filling."""
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    merges = [("d", "o"), ("do", "g"), ("▁", "dog"), ("▁", "a"), ("i", "n"), ("in", "g"), ("e", "r")]
    letters = [*"▁abcdefghijklmnopqrstuvwxyz0123456789'&<>!"]
    tokens = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), *letters, *(a + b for a, b in merges)]
    pairs = models.BPE(
        {token: n for n, token in enumerate(tokens)},
        merges,
        fuse_unk=True,
        unk_token="<unk>",
        byte_fallback=True,
    )
    made = Tokenizer(pairs)
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.add_special_tokens(specials)
    made.post_processor = processors.TemplateProcessing(single=["$A", "<eos>"], special_tokens=[("<eos>", 1)])
    config = {name: f"<{name.removesuffix('_token')}>" for name in ("bos_token", "eos_token", "unk_token")}
    config |= {"pad_token": {"content": "<pad>", "__type": "AddedToken"}, "padding_side": "right"}  # type: ignore[dict-item]  # as files have it
    return _written(
        folder,
        made,
        {**config, "tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "add_eos_token": True},
    )


def _written(folder: Path, tokenizer: Tokenizer, config: dict[str, Any]) -> Path:
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


NAMES = ["mini", "mini without [SEP]", "t5", "gemma", "gemma, short"]


@pytest.fixture(scope="module")
def pairs(folders: dict[str, tuple[Path, dict[str, Any]]]) -> dict[str, tuple[Tokenize, Any]]:
    """Ours and open_clip's, for each of the folders."""
    from open_clip.tokenizer import HFTokenizer

    found = {}
    for name, (folder, text_cfg) in folders.items():
        config = {"text_cfg": text_cfg | {"hf_tokenizer_name": "owner/name"}}
        options = text_cfg.get("tokenizer_kwargs", {})
        theirs = HFTokenizer(str(folder), context_length=text_cfg["context_length"], **options)
        found[name] = tokenizer_of(config, folder), theirs
    return found


@pytest.mark.model
@pytest.mark.parametrize("name", NAMES)
def test_a_file_tokenizer_is_open_clips(name: str, pairs: dict[str, tuple[Tokenize, Any]]) -> None:
    ours, theirs = pairs[name]
    found = ours(ODD)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, theirs(ODD).numpy())
    assert len(np.unique(found)) > 20  # not all of them unknown


@pytest.mark.model
@pytest.mark.parametrize("name", NAMES)
@given(text=any_text)
@settings(max_examples=150, deadline=None)
def test_a_file_tokenizer_is_open_clips_for_any_text(
    name: str, pairs: dict[str, tuple[Tokenize, Any]], text: str
) -> None:
    ours, theirs = pairs[name]
    np.testing.assert_array_equal(ours([text]), theirs([text]).numpy())


def _refusal(text_cfg: dict[str, Any], folder: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        tokenizer_of({"text_cfg": text_cfg}, folder)
    return str(caught.value)


def test_what_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    assert "reduction_mask" in _refusal({"tokenizer_kwargs": {"reduction_mask": "simple"}})
    assert "clean=nothing" in _refusal({"tokenizer_kwargs": {"clean": "nothing"}})
    named = {"hf_tokenizer_name": "owner/name"}
    assert "tokenizer_mode" in _refusal(named | {"tokenizer_mode": "clips"})
    assert "no tokenizer.json, wanted that of owner/name" in _refusal(named)
    assert f"{tmp_path}: no tokenizer.json" in _refusal(named, tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    assert "tokenizer.json: cannot be read" in _refusal(named, tmp_path)


def test_a_pad_token_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = _t5(tmp_path / "t5")
    named = {"hf_tokenizer_name": "owner/name"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    assert "pad_token=[PAD] of tokenizer_config.json is not in it" in _refusal(named, folder)
    (folder / "tokenizer_config.json").unlink()
    assert "no pad_token is named" in _refusal(named, folder)


def test_tokenizing_imports_neither_torch_nor_open_clip() -> None:
    code = (
        "import sys; from services.classifier.model.openvino.tokens import tokenizer_of; "
        "tokenizer_of({'text_cfg': {}}, None)(['a dog']); "
        "print([name for name in ('torch', 'open_clip', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
