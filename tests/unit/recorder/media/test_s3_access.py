"""MEDIA_URL and S3_…: what they name, and every fault at once, without a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.recorder.app import check
from services.recorder.media.s3_access import S3Settings, parse_s3
from services.recorder.settings import RecorderSettings
from shared.errors import ConfigError

SECRET = "wJalrXUtnFEMI/K7MDENG+bPx"


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("s3://clips", "clips", ""),
        ("s3://clips/", "clips", ""),
        ("s3://my.clips-2/site/one", "my.clips-2", "site/one"),
        ("s3://clips/site=1/", "clips", "site=1"),
    ],
)
def test_a_url_names_bucket_and_prefix(url: str, bucket: str, prefix: str) -> None:
    access = parse_s3(S3Settings(url))
    assert (access.bucket, access.prefix, access.endpoint) == (bucket, prefix, "")


@pytest.mark.parametrize(
    "url",
    ["https://s3.example.org/clips", "s3://", "s3://Clips", "s3://c", "s3://clips//x", "s3://clips/../x",
     "s3://clips/.index", "s3://user:pw@clips", "s3://clips?x=1", "clips", "s3://clips/a b"],
)  # fmt: skip
def test_other_urls_are_told(url: str) -> None:
    with pytest.raises(ConfigError, match="wanted s3://bucket or s3://bucket/prefix, or nothing") as told:
        parse_s3(S3Settings(url))
    assert "pw" not in str(told.value)


@pytest.mark.parametrize("endpoint", ["https://s3.example.org", "http://minio:9000", "https://[::1]:9000/"])
def test_an_endpoint_is_a_host(endpoint: str) -> None:
    assert parse_s3(S3Settings("s3://clips", endpoint)).endpoint == endpoint.rstrip("/")


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("minio:9000", "wanted https://host"),
        ("ftp://minio", "wanted https://host"),
        ("http://minio:9000/clips", "the bucket belongs into MEDIA_URL"),
        ("http://minio:99999999", "the port is no number"),
        (
            f"https://key:{SECRET.replace('/', '%2F')}@minio",
            "give it as S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY",
        ),
    ],
)
def test_other_endpoints_are_told(endpoint: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as told:
        parse_s3(S3Settings("s3://clips", endpoint))
    assert "wJalr" not in str(told.value)


async def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("none")
    settings = RecorderSettings.model_validate(
        {
            "media_dir": tmp_path,
            "media_url": "s3:/clips",
            "s3_endpoint_url": "minio",
            "s3_secret_access_key": SECRET,
            "s3_ca_file": tmp_path / "ca.pem",
            "retention_free_gb": 3,
        }
    )
    told = await check(settings)
    assert [fault.partition("=")[0].partition(":")[0] for fault in told] == [
        "MEDIA_URL", "S3_ENDPOINT_URL", "S3_ACCESS_KEY_ID", "S3_CA_FILE", "RETENTION_FREE_GB",
    ]  # fmt: skip
    assert SECRET not in "".join(told)
    assert SECRET not in repr(settings)


async def test_with_a_bucket_only_the_index_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    given = {"media_url": "s3://clips", "media_dir": tmp_path / "file" / "media", "index_dir": tmp_path}
    assert await check(RecorderSettings.model_validate(given)) == []
    without = await check(RecorderSettings.model_validate({**given, "index_dir": None}))
    assert [fault.partition("=")[0] for fault in without] == ["MEDIA_DIR"]
