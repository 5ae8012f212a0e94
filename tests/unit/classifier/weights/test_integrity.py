"""Checksums, the record of them, and golden embeddings."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from services.classifier.weights.integrity import (
    RECORD_FILE,
    SUMS_FILE,
    ChecksumRecord,
    GoldenEmbeddings,
    check_cache,
    check_folder,
    compare,
    git_sha1,
    read_sums,
    write_sums,
)
from shared.errors import ConfigError


def flip(path: Path, at: int = 100) -> None:
    """Change one byte, and keep size and date as a bad disk does."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    import os

    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "open_clip_model.safetensors").write_bytes(bytes(1000))
    (made / "open_clip_config.json").write_text("{}")
    return made


def cached(models_dir: Path, name: str, files: dict[str, bytes], links: bool = True) -> tuple[Path, ...]:
    """Write a repository as the hub's cache holds it: large files by sha256, small ones by git's sha1."""
    root = models_dir / f"models--{name.replace('/', '--')}"
    commit = "c" * 40
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    (root / "blobs").mkdir()
    (root / "snapshots" / commit).mkdir(parents=True)
    paths = []
    for file, data in files.items():
        path = root / "snapshots" / commit / file
        if file.endswith(".safetensors"):
            digest = hashlib.sha256(data).hexdigest()
        else:
            digest = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        if links:
            (root / "blobs" / digest).write_bytes(data)
            path.symlink_to(f"../../blobs/{digest}")
        else:
            path.write_bytes(data)
        paths.append(path)
    return tuple(paths)


def test_a_folder_with_the_listed_checksums_is_verified(folder: Path, tmp_path: Path) -> None:
    write_sums(folder)
    checked = check_folder("x", folder, ChecksumRecord(tmp_path))
    assert (checked.is_verified, checked.n_files) == (True, 2)
    assert checked.n_bytes == 1002


def test_a_folder_without_a_list_is_not_verified(folder: Path, tmp_path: Path) -> None:
    assert check_folder("x", folder, ChecksumRecord(tmp_path)).is_verified is False


@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_config.json"])
def test_one_wrong_byte_is_named_with_what_to_do(folder: Path, tmp_path: Path, file: str) -> None:
    write_sums(folder)
    flip(folder / file, at=0)
    with pytest.raises(ConfigError, match=r"wanted .*corrupt: run `clipwatch models fetch x`") as caught:
        check_folder("x", folder, ChecksumRecord(tmp_path))
    assert file in str(caught.value)
    assert len(caught.value.faults) == 1


def test_all_faults_come_at_once(folder: Path, tmp_path: Path) -> None:
    write_sums(folder)
    (folder / "open_clip_config.json").unlink()
    (folder / "model.bin").write_bytes(b"stray")
    flip(folder / "open_clip_model.safetensors")
    with pytest.raises(ConfigError) as caught:
        check_folder("x", folder, ChecksumRecord(tmp_path))
    assert [word in str(caught.value) for word in ("not named", "not there", "corrupt")] == [True] * 3


def test_the_offline_models_manifest_is_a_list_of_checksums(folder: Path, tmp_path: Path) -> None:
    right = hashlib.sha256(bytes(1000)).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"files": {"open_clip_model.safetensors": right}}))
    assert check_folder("mini", folder, ChecksumRecord(tmp_path)).is_verified
    flip(folder / "open_clip_model.safetensors")
    with pytest.raises(ConfigError, match="make install"):
        check_folder("mini", folder, ChecksumRecord(tmp_path / "other"))


@pytest.mark.parametrize("line", ["nonsense", f"{'a' * 64}  ../outside", f"{'a' * 64}  /etc/passwd"])
def test_a_list_that_is_none_is_refused(folder: Path, line: str) -> None:
    (folder / SUMS_FILE).write_text(line)
    with pytest.raises(ConfigError, match="line 1"):
        read_sums(folder)


def test_a_file_is_hashed_once_until_it_changes(folder: Path, tmp_path: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    first = ChecksumRecord(tmp_path)
    before, _ = first.sha256(path)
    first.save()
    flip(path)
    assert ChecksumRecord(tmp_path).sha256(path) == (
        before,
        before,
    )  # same size, date and inode: not read again
    assert ChecksumRecord(tmp_path).sha256(path, again=True) == (
        hashlib.sha256(path.read_bytes()).hexdigest(),
        before,
    )
    path.write_bytes(bytes(999))
    assert ChecksumRecord(tmp_path).sha256(path)[0] == hashlib.sha256(bytes(999)).hexdigest()


def test_decay_under_the_same_date_is_found_when_asked(folder: Path, tmp_path: Path) -> None:
    record = ChecksumRecord(tmp_path)
    check_folder("x", folder, record)
    flip(folder / "open_clip_model.safetensors")
    with pytest.raises(ConfigError, match="corrupt"):
        check_folder("x", folder, record, again=True)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"files": 1, "golden": 2}'])
def test_a_broken_record_is_as_none(folder: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / RECORD_FILE).write_text(content)
    assert check_folder("x", folder, ChecksumRecord(tmp_path)).weights


def test_blobs_of_the_hubs_cache_are_named_by_their_checksum(tmp_path: Path) -> None:
    files = cached(tmp_path, "o/n", {"open_clip_model.safetensors": bytes(500), "tokenizer.json": b"{}"})
    assert check_cache("hf-hub:o/n", files, ChecksumRecord(tmp_path)).is_verified


@pytest.mark.parametrize("number", [0, 1])
def test_a_corrupt_blob_is_found(tmp_path: Path, number: int) -> None:
    files = cached(tmp_path, "o/n", {"open_clip_model.safetensors": bytes(500), "tokenizer.json": b"{}"})
    flip(files[number], at=1)
    with pytest.raises(ConfigError, match="delete it and run `clipwatch models fetch hf-hub:o/n`"):
        check_cache("hf-hub:o/n", files, ChecksumRecord(tmp_path))


def test_a_cut_off_blob_is_found(tmp_path: Path) -> None:
    files = cached(tmp_path, "o/n", {"open_clip_model.safetensors": bytes(500)})
    files[0].write_bytes(bytes(200))
    with pytest.raises(ConfigError, match="corrupt"):
        check_cache("hf-hub:o/n", files, ChecksumRecord(tmp_path))


def test_a_cache_of_copies_cannot_be_verified_but_notices_decay(tmp_path: Path) -> None:
    files = cached(tmp_path, "o/n", {"open_clip_model.safetensors": bytes(500)}, links=False)
    record = ChecksumRecord(tmp_path)
    assert check_cache("hf-hub:o/n", files, record).is_verified is False
    flip(files[0])
    with pytest.raises(ConfigError, match="corrupt"):
        check_cache("hf-hub:o/n", files, record, again=True)


def test_gits_name_of_a_file_is_gits(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello\n")
    assert git_sha1(tmp_path / "x") == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object


def golden(picture: list[float], text: list[float]) -> GoldenEmbeddings:
    return GoldenEmbeddings("w", np.array(picture, dtype=np.float32), np.array(text, dtype=np.float32))


def test_golden_embeddings_belong_to_their_weights(tmp_path: Path) -> None:
    record = ChecksumRecord(tmp_path)
    record.remember_golden("x", golden([1, 0], [0, 1]))
    record.save()
    kept = ChecksumRecord(tmp_path).golden("x", "w")
    assert kept is not None
    assert kept.picture.tolist() == [1, 0]
    assert ChecksumRecord(tmp_path).golden("x", "other weights") is None


def test_an_embedding_that_moved_is_an_error_with_its_cause() -> None:
    right = golden([1, 0], [0, 1])
    compare("x", "float32", right, right)
    moved = golden([0.995, 0.0999], [0, 1])
    compare("x", "bfloat16", right, moved)
    with pytest.raises(ConfigError, match=r"golden picture has cosine 0.9950 .* preprocess_cfg"):
        compare("x", "float32", right, moved)
    with pytest.raises(ConfigError, match=r"golden text .* tokenizer"):
        compare("x", "float32", right, golden([1, 0], [1, 0]))
    with pytest.raises(ConfigError, match="nan"):
        compare("x", "float32", right, golden([1, 0, 0], [0, 1]))
