"""Redis, MySQL and the clips' store by TLS: who is given which authorities, where they lie, and what says so."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from services.recorder.record.database_url import parse_url
from services.recorder.settings import RecorderSettings
from shared.redis_client import redis_faults
from shared.settings import read_settings
from tests.certificates import make_certificate
from tests.helm import LEAST, MATRIX, Yaml, merged, named, render
from tests.unit.deploy.test_compose import READ
from tests.unit.deploy.test_helm_services import containers, environment, objects

PASSWORD = "p:a/s?s@w#rd-of-16-and-more"
AUTHORITIES = {  # whose servers each container checks, and by nobody else
    "motion": {"redis-ca"},
    "classifier": {"redis-ca"},
    "migration": {"mysql-ca"},
    "recorder": {"redis-ca", "mysql-ca"},
    "grafana": {"mysql-ca"},
    "prometheus": set(),
}


def mounted(container: Yaml, spec: Yaml) -> dict[str, str]:
    """Return the files of authorities that a container sees, with their Secrets."""
    secrets = {one["name"]: one["secret"] for one in spec["volumes"] if "secret" in one}
    found = {}
    for mount in container["volumeMounts"]:
        for item in secrets.get(mount["name"], {}).get("items", []):
            if item["key"] == "ca.crt":
                assert mount["readOnly"] is True
                found[f"{mount['mountPath']}/{item['path']}"] = secrets[mount["name"]]["secretName"]
    return found


def test_each_container_is_given_the_authorities_of_its_own_servers() -> None:
    parts = containers(objects("tls"))
    assert {name: {*mounted(*part).values()} for name, part in parts.items()} == AUTHORITIES
    for case in ("default", "external"):
        assert not any(mounted(*part) for part in containers(objects(case)).values())


def test_the_recorder_checks_the_clips_store_by_its_authorities(tmp_path: Path) -> None:
    parts = containers(objects("bucket-tls"))
    found = {name: {*mounted(*part).values()} for name, part in parts.items()}
    assert found.pop("recorder") == {"store-ca"}
    assert not any(found.values())
    container, spec = parts["recorder"]
    [file] = mounted(container, spec)
    assert environment(container, tmp_path)["S3_CA_FILE"] == file
    container, spec = containers(objects("bucket"))["recorder"]
    assert not mounted(container, spec)
    assert "S3_CA_FILE" not in environment(container, tmp_path)


def test_the_services_read_the_authorities_where_they_are_mounted(tmp_path: Path) -> None:
    """The folder of the mounts stands in for the container's."""
    parts = containers(objects("tls"))
    for name in ("motion", "classifier", "recorder", "migration"):
        container, spec = parts[name]
        given = environment(container, tmp_path)
        files = mounted(container, spec)
        urls = [given[one] for one in ("REDIS_URL", "DATABASE_URL", "MIGRATION_DATABASE_URL") if one in given]
        assert {url.rpartition("=")[2] for url in urls} == {*files}, name
        for file in files:
            made = make_certificate(tmp_path / name / file.strip("/").replace("/", "-"))
            given = {key: value.replace(file, str(made.chain)) for key, value in given.items()}
        for file in [
            value for key, value in given.items() if key.endswith(("_PASSWORD_FILE", "_TOKEN_FILE"))
        ]:
            Path(file).write_text(PASSWORD)
        settings, faults = read_settings(READ[name], given)
        assert faults == []
        assert settings is not None
        assert redis_faults(settings.redis_address) == []
        if isinstance(settings, RecorderSettings):
            address = settings.migration.address if settings.migration else settings.database_address
            assert parse_url(address).password == PASSWORD


def test_sentinels_are_checked_by_the_same_authorities(tmp_path: Path) -> None:
    over = {"redis": {"external": {"tls": True, "caSecret": "redis-ca"}}}
    found = render(merged(merged(LEAST, MATRIX["sentinels"]), over))
    url = environment(containers(found)["motion"][0], tmp_path)["REDIS_URL"]
    assert url.startswith("rediss+sentinel://motion@sentinel-0")
    assert url.endswith("/queue/1?ssl_ca_certs=/run/tls/redis/ca.crt")


def test_keda_checks_redis_by_the_same_authorities() -> None:
    found = objects("tls")
    wanted = {"parameter": "ca", "name": "redis-ca", "key": "ca.crt"}
    assert wanted in named(found, "TriggerAuthentication", "clipwatch-keda")["spec"]["secretTargetRef"]
    for trigger in named(found, "ScaledObject", "clipwatch-classifier")["spec"]["triggers"]:
        assert trigger["metadata"]["enableTLS"] == "true"
    others = named(objects("keda"), "TriggerAuthentication", "clipwatch-keda")["spec"]["secretTargetRef"]
    assert "ca" not in {one["parameter"] for one in others}


def test_grafana_reads_mysql_by_tls_where_the_services_do() -> None:
    def source(case: str) -> Yaml:
        text = named(objects(case), "ConfigMap", "clipwatch-grafana-provisioning")["data"]["mysql.yml"]
        found: Yaml = YAML(typ="safe").load(text)["datasources"][0]
        return found

    container, spec = containers(objects("tls"))["grafana"]
    [file] = mounted(container, spec)
    assert source("tls")["jsonData"]["tlsAuthWithCACert"] is True
    assert source("tls")["secureJsonData"]["tlsCACert"] == f"$__file{{{file}}}"
    assert source("tls")["secureJsonData"]["password"] == "$__env{MYSQL_GRAFANA_PASSWORD}"
    assert "tlsAuthWithCACert" not in source("bundled")["jsonData"]
    assert source("bundled")["secureJsonData"].keys() == {"password"}
