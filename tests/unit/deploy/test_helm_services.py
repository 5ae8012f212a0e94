"""The chart agrees with the services' settings and with docker compose: names, ports, secrets, commands, versions."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from services.recorder.settings import RecorderSettings
from shared.settings import read_settings
from tests.grafana import dashboards
from tests.helm import CHART, LEAST, MATRIX, SECRETS, Yaml, merged, named, render
from tests.helm_checks import pod_specs
from tests.unit.deploy.test_compose import GIVEN as COMPOSE_GIVEN
from tests.unit.deploy.test_compose import READ

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: Yaml = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
NOT_OURS = {"HOME", "TZ", "POD_NAME"}
FIELDS = {"metadata.name": "clipwatch-motion-0", "status.hostIP": "192.0.2.10"}  # what a pod learns of itself
MOUNT = "/run/secrets/clipwatch/"
# Which secrets each container is given, and no other: as docker compose has it, and one more for KEDA's user.
GIVEN = {name: given for name, given in COMPOSE_GIVEN.items() if name != "camera"}
GIVEN["redis"] = GIVEN["redis"] | {"REDIS_KEDA_PASSWORD"}


def objects(case: str) -> list[Yaml]:
    return render(merged(LEAST, MATRIX[case]))


def containers(found: list[Yaml]) -> dict[str, tuple[Yaml, Yaml]]:
    """Return each container with the spec of its pod, by its name."""
    return {
        container["name"]: (container, spec)
        for _, spec in pod_specs(found)
        for container in [*spec.get("initContainers", []), *spec["containers"]]
    }


def environment(container: Yaml, folder: Path) -> dict[str, str]:
    """Return what a container's process would read, with its secrets below `folder`."""
    values = {}
    for variable in container["env"]:
        source = variable.get("valueFrom", {})
        if "resourceFieldRef" in source:
            values[variable["name"]] = str(container["resources"]["limits"]["cpu"])
        elif "fieldRef" in source:
            values[variable["name"]] = FIELDS[source["fieldRef"]["fieldPath"]]
        else:
            text = variable["value"].replace("$(POD_NAME)", "clipwatch-motion-0")
            values[variable["name"]] = text.replace(MOUNT, f"{folder}/")
    return values | {"HTTP_HOST": "0.0.0.0", "HTTP_PORT": "8080"}  # the Dockerfile's


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A folder of the secrets as they are mounted."""
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(value)
    return tmp_path


@pytest.mark.parametrize("case", MATRIX)
def test_every_service_can_start_with_what_it_is_given(case: str, secrets: Path) -> None:
    found = containers(objects(case))
    for name, kind in READ.items():
        container, _ = found[name]
        given = environment(container, secrets)
        settings, faults = read_settings(kind, given)
        assert faults == [], name
        assert isinstance(settings, kind)
        assert name == "migration" or settings.listening_fault() is None
        known = {field.upper() for field in kind.model_fields}
        used = {variable["name"] for variable in container["env"]} - NOT_OURS
        unknown = {one for one in used if one not in known and one.removesuffix("_FILE") not in known}
        assert unknown == set(), name


@pytest.mark.parametrize("case", MATRIX)
def test_paths_lie_on_volumes_that_may_be_written(case: str, secrets: Path) -> None:
    found = containers(objects(case))
    for name in ("motion", "classifier", "recorder"):
        container, _ = found[name]
        mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
        for setting, value in environment(container, Path(MOUNT)).items():
            if setting in ("DATA_DIR", "MEDIA_DIR", "INDEX_DIR", "MODELS_DIR", "HOME"):
                assert mounts[value] is False, f"{name}: {setting}={value}"
            if setting in ("CAMERAS_FILE", "NOTIFY_FILE"):
                assert str(Path(value).parent) in mounts


def test_recorders_that_keep_clips_in_a_bucket_need_no_volume(secrets: Path) -> None:
    found = objects("bucket")
    assert not [
        one for one in found if one["kind"] == "PersistentVolumeClaim" and "media" in one["metadata"]["name"]
    ]
    deployment = named(found, "Deployment", "clipwatch-recorder")["spec"]
    assert (deployment["replicas"], deployment["strategy"]["type"]) == (3, "RollingUpdate")
    container, spec = containers(found)["recorder"]
    assert not [volume for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
    keys = {"S3_ACCESS_KEY_ID": "id", "S3_SECRET_ACCESS_KEY": "key"}  # of recorder.passwordsSecret
    settings, faults = read_settings(RecorderSettings, {**environment(container, secrets), **keys})
    assert faults == []
    assert settings is not None
    access = settings.bucket
    assert access is not None
    assert (access.bucket, access.prefix, access.endpoint) == (
        "clips",
        "site",
        "https://minio.storage.svc:9000",
    )
    egress = named(found, "NetworkPolicy", "clipwatch-recorder")["spec"]["egress"]
    to_store = {"to": [{"ipBlock": {"cidr": "10.0.8.0/24"}}], "ports": [{"protocol": "TCP", "port": 9000}]}
    assert to_store in egress


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [("", 443), ("https://s3.example.org/", 443), ("http://minio", 80), ("http://[::1]:9/", 9)],
)
def test_an_object_store_is_reached_at_its_port(endpoint: str, port: int) -> None:
    over = {"recorder": {"media": {"s3": {"endpoint": endpoint}}}}
    found = render(merged(LEAST, merged(MATRIX["bucket"], over)))
    egress = named(found, "NetworkPolicy", "clipwatch-recorder")["spec"]["egress"]
    assert [{"protocol": "TCP", "port": port}] in [rule["ports"] for rule in egress if "ports" in rule]


def test_mini_is_found_in_the_image() -> None:
    """A volume at /models would hide the link that leads to it."""
    container, _ = containers(objects("mini"))["classifier"]
    given = {variable["name"] for variable in container["env"]}
    assert "MODELS_DIR" not in given
    assert "/models" not in {mount["mountPath"] for mount in container["volumeMounts"]}


def secrets_of(container: Yaml, spec: Yaml) -> set[str]:
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounted = {
        item["key"]
        for mount in container["volumeMounts"]
        for item in volumes.get(mount["name"], {}).get("secret", {}).get("items", [])
    }
    variables = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for variable in container.get("env", [])
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    return mounted | variables


def test_every_container_has_its_own_secrets_and_no_others() -> None:
    found = containers(objects("secrets"))
    assert found.keys() == GIVEN.keys()
    assert {name: secrets_of(*pair) for name, pair in found.items()} == GIVEN
    for container, _ in found.values():
        for variable in container.get("env", []):
            value = str(variable.get("value", ""))
            if value.startswith(MOUNT):
                assert value.removeprefix(MOUNT) in secrets_of(container, found[container["name"]][1])


def test_the_services_find_each_other(secrets: Path) -> None:
    found = objects("bundled")
    parts = containers(found)
    recorder = environment(parts["recorder"][0], secrets)
    host, _, port = recorder["MOTION_URL"].removeprefix("http://").partition(":")
    service = named(found, "Service", host)
    assert service["spec"]["ports"][0]["port"] == int(port)
    assert host in environment(parts["motion"][0], secrets)["ALLOWED_HOSTS"].split(",")
    for name, other in (("redis", "motion"), ("redis", "classifier"), ("redis", "recorder")):
        url = environment(parts[other][0], secrets)["REDIS_URL"]
        assert url == f"redis://{other}@clipwatch-{name}:6379/0"
        assert named(found, "Service", "clipwatch-redis")["spec"]["ports"][0]["port"] == 6379
    assert recorder["DATABASE_URL"] == "mysql+aiomysql://clipwatch@clipwatch-mysql:3306/clipwatch"
    assert named(found, "Service", "clipwatch-mysql")["spec"]["ports"][0]["port"] == 3306


def test_external_servers_are_named_with_their_ports_users_and_tls(secrets: Path) -> None:
    values = merged(MATRIX["external"], {"redis": {"external": {"database": 3, "users": {"motion": "m.1"}}}})
    values = merged(
        values, {"mysql": {"external": {"users": {"recorder": "r", "migrator": "g", "grafana": ""}}}}
    )
    parts = containers(render(merged(LEAST, values)))
    assert environment(parts["motion"][0], secrets)["REDIS_URL"] == "rediss://m.1@redis.example.org:6380/3"
    recorder = environment(parts["recorder"][0], secrets)
    assert recorder["DATABASE_URL"] == "mysql+aiomysql://r@10.0.7.9:3306/record"
    migration = environment(parts["migration"][0], secrets)
    assert migration["MIGRATION_DATABASE_URL"] == "mysql+aiomysql://g@10.0.7.9:3306/record"
    assert migration["DASHBOARD_DATABASE_USER"] == ""
    assert not {"redis", "mysql"} & parts.keys()


def test_sentinels_are_asked_by_the_services_and_by_keda(secrets: Path) -> None:
    found = objects("sentinels")
    for name in ("motion", "classifier", "recorder"):
        container, spec = containers(found)[name]
        given = environment(container, secrets)
        assert given["REDIS_URL"] == (
            f"redis+sentinel://{name}@sentinel-0.redis.queue.svc:26379,sentinel-1.redis.queue.svc:26379/queue/1"
        )
        assert secrets_of(container, spec) == GIVEN[name] | {"REDIS_SENTINEL_PASSWORD"}
        settings, faults = read_settings(READ[name], given)
        assert faults == []
        assert settings is not None
        assert settings.redis_sentinel_password.get_secret_value() == SECRETS["REDIS_SENTINEL_PASSWORD"]
    for trigger in named(found, "ScaledObject", "clipwatch-classifier")["spec"]["triggers"]:
        assert trigger["type"] == "redis-sentinel-streams"
        assert (
            trigger["metadata"]["addresses"]
            == "sentinel-0.redis.queue.svc:26379,sentinel-1.redis.queue.svc:26379"
        )
        assert trigger["metadata"]["sentinelMaster"] == "queue"
        assert "address" not in trigger["metadata"]
    parameters = named(found, "TriggerAuthentication", "clipwatch-keda")["spec"]["secretTargetRef"]
    assert [one["parameter"] for one in parameters] == ["username", "password", "sentinelPassword"]
    egress = named(found, "NetworkPolicy", "clipwatch-motion")["spec"]["egress"]
    assert {"ports": [{"protocol": "TCP", "port": port} for port in (6379, 26379)]} in egress


def test_the_page_knows_its_names_and_its_proxy(secrets: Path) -> None:
    recorder = environment(containers(objects("ingress"))["recorder"][0], secrets)
    assert recorder["ALLOWED_HOSTS"].split(",") == ["clipwatch-recorder", "cam.example.org", "cam.lan"]
    assert recorder["TRUSTED_PROXIES"] == "127.0.0.1,10.42.0.0/16"


def test_settings_of_the_user_reach_their_service_alone(secrets: Path) -> None:
    parts = containers(objects("files"))
    assert environment(parts["motion"][0], secrets)["RING_MAX_MIB"] == "64"
    assert "RING_MAX_MIB" not in environment(parts["recorder"][0], secrets)
    assert parts["motion"][0]["envFrom"] == [{"secretRef": {"name": "camera-passwords"}}]
    assert parts["recorder"][0]["envFrom"] == [{"secretRef": {"name": "recorder-passwords"}}]


def test_every_pod_has_a_name_and_a_data_directory_of_its_own(secrets: Path) -> None:
    found = objects("recorders")
    for name in ("motion", "classifier", "recorder"):
        assert {"name": "INSTANCE", "value": "$(POD_NAME)"} in containers(found)[name][0]["env"]
    spec = named(found, "StatefulSet", "clipwatch-motion")["spec"]
    assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["data"]
    recorder = environment(containers(found)["recorder"][0], secrets)
    assert recorder["INDEX_DIR"] == "/index"
    [index] = [volume for volume in containers(found)["recorder"][1]["volumes"] if volume["name"] == "index"]
    assert "emptyDir" in index


def test_motion_replicas_share_cameras_by_leases(secrets: Path) -> None:
    leases = {"seconds": 12, "loadMax": 62.5, "handoverSeconds": 10, "location": "yard"}
    found = render(merged(LEAST, {"motion": {"replicas": 2, "leases": leases}}))
    container, spec = containers(found)["motion"]
    given = environment(container, secrets)
    assert given["CAMERA_LEASES"] == "true"
    assert [given[f"CAMERA_{name}"] for name in ("LEASE_S", "LOAD_MAX", "HANDOVER_S", "LOCATION")] == [
        *("12", "62.5", "10"),
        "yard",
    ]
    assert (given["DRAIN_S"], spec["terminationGracePeriodSeconds"]) == ("30", 50)
    recorder, _ = containers(found)["recorder"]
    addresses = environment(recorder, secrets)["MOTION_URL"].split(",")
    assert addresses == [f"http://clipwatch-motion-{n}.clipwatch-motion:8080" for n in (0, 1)]
    assert given["REACHED_AT"] == addresses[0]
    hosts = [address.removeprefix("http://").partition(":")[0] for address in addresses]
    assert given["ALLOWED_HOSTS"].split(",") == ["clipwatch-motion", *hosts]
    assert environment(recorder, secrets)["DRAIN_S"] == "20"


def test_a_gpu_is_asked_for_and_its_image_taken() -> None:
    found = objects("gpu")
    container, spec = containers(found)["classifier"]
    assert container["image"] == "registry.example.org/clipwatch/classifier-gpu:0.1.0"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"name": "DEVICE", "value": "cuda"} in container["env"]
    assert spec["runtimeClassName"] == "nvidia"
    on_cpu, _ = containers(objects("default"))["classifier"]
    assert on_cpu["image"] == "registry.example.org/clipwatch/classifier:0.1.0"
    assert "nvidia.com/gpu" not in on_cpu["resources"]["limits"]


def test_a_new_classifier_never_waits_for_what_the_old_one_holds() -> None:
    for case, surge in (("default", 0), ("gpu", 0), ("own-models", 1), ("keda", 1), ("mini", 1)):
        spec = named(objects(case), "Deployment", "clipwatch-classifier")["spec"]
        assert spec["strategy"]["rollingUpdate"] == {"maxSurge": surge, "maxUnavailable": 1 - surge}, case
    for case, kind in (("default", "Recreate"), ("recorders", "RollingUpdate")):
        spec = named(objects(case), "Deployment", "clipwatch-recorder")["spec"]
        assert spec["strategy"]["type"] == kind


def test_keda_alone_says_how_many_classifiers_there_are() -> None:
    assert "replicas" not in named(objects("keda"), "Deployment", "clipwatch-classifier")["spec"]
    scaled = named(objects("keda"), "ScaledObject", "clipwatch-classifier")["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (0, 4)
    first = scaled["triggers"][0]["metadata"]
    assert (first["lagCount"], first["activationLagCount"]) == ("50", "0")
    assert {trigger["metadata"]["address"] for trigger in scaled["triggers"]} == {
        "clipwatch-redis.video.svc:6379"
    }, "KEDA asks from its own namespace"
    external = named(objects("gpu-keda-external"), "ScaledObject", "clipwatch-classifier")["spec"]
    metadata = external["triggers"][0]["metadata"]
    assert (metadata["address"], metadata["enableTLS"]) == ("redis.example.org:6380", "true")
    assert "replicas" in named(objects("default"), "Deployment", "clipwatch-classifier")["spec"]


@pytest.mark.parametrize(("case", "start_s"), [("keda", ["600"]), ("default", [])])
def test_the_recorder_knows_that_classifiers_are_started_when_snippets_wait(
    case: str, start_s: list[str]
) -> None:
    container, _ = containers(objects(case))["recorder"]
    found = [one["value"] for one in container["env"] if one["name"] == "CLASSIFIER_START_S"]
    assert found == start_s


@pytest.mark.parametrize("name", ["motion", "classifier", "recorder"])
def test_kubernetes_waits_as_long_as_docker_and_longer_than_the_drain(name: str) -> None:
    container, spec = containers(objects("default"))[name]
    compose = COMPOSE[name]
    assert f"{spec['terminationGracePeriodSeconds']}s" == compose["stop_grace_period"]
    [drain] = [variable["value"] for variable in container["env"] if variable["name"] == "DRAIN_S"]
    assert drain == compose["environment"]["DRAIN_S"]
    assert spec["terminationGracePeriodSeconds"] > float(drain) + 2 + 4
    assert spec["shareProcessNamespace"] is True, "PID 1 ignores SIGTERM while Python imports"


# -- the servers are those of docker compose


def _plain(text: str) -> str:
    """Return a command without compose's variables: their defaults stand in their places."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).replace("$$", "$")


def test_redis_and_mysql_are_started_as_compose_starts_them() -> None:
    parts = containers(objects("default"))
    redis, mysql = parts["redis"][0], parts["mysql"][0]
    assert [" ".join(part.split()) for part in redis["command"]] == [
        " ".join(_plain(part).split()) for part in COMPOSE["redis"]["command"]
    ]
    assert mysql["args"] == [_plain(argument) for argument in COMPOSE["mysql"]["command"]]
    for name, server in (("redis", redis), ("mysql", mysql)):
        asked = " ".join(server["readinessProbe"]["exec"]["command"]).replace('"', "'")
        wanted = _plain(COMPOSE[name]["healthcheck"]["test"][1]).replace('"', "'")
        assert asked == f"sh -c {wanted}"


@pytest.mark.parametrize("name", ["redis", "mysql", "grafana", "prometheus"])
def test_the_servers_images_are_composes(name: str) -> None:
    assert containers(objects("bundled"))[name][0]["image"] == COMPOSE[name]["image"]


def test_the_servers_files_are_those_of_the_repository() -> None:
    found = objects("default")
    for name, folder in (("clipwatch-redis-users", "redis"), ("clipwatch-mysql-init", "mysql-init")):
        files = {
            path.name: path.read_text() for path in (ROOT / "deploy" / folder).iterdir() if path.is_file()
        }
        assert named(found, "ConfigMap", name)["data"] == files


def test_grafana_is_set_up_as_compose_does_it() -> None:
    container, _ = containers(objects("bundled"))["grafana"]
    given = {variable["name"]: variable.get("value") for variable in container["env"]}
    wanted = {*COMPOSE["grafana"]["environment"]} - {"PAGE_URL"}  # here it is in the dashboards already
    assert given.keys() == wanted
    for name in wanted - {"GF_SECURITY_ADMIN_PASSWORD", "MYSQL_GRAFANA_PASSWORD"}:
        assert given[name] == _plain(COMPOSE["grafana"]["environment"][name]), name


def test_grafanas_sources_lead_to_the_releases_servers() -> None:
    data = named(objects("bundled"), "ConfigMap", "clipwatch-grafana-provisioning")["data"]
    mysql = YAML(typ="safe").load(data["mysql.yml"])["datasources"][0]
    assert (mysql["url"], mysql["user"], mysql["jsonData"]["database"]) == (
        *("clipwatch-mysql:3306", "grafana"),
        "clipwatch",
    )
    prometheus = YAML(typ="safe").load(data["prometheus.yml"])["datasources"][0]
    assert prometheus["url"] == "http://clipwatch-prometheus:9090"
    outside = named(objects("claims"), "ConfigMap", "clipwatch-grafana-provisioning")["data"]
    assert "http://prometheus.monitoring:9090" in outside["prometheus.yml"]
    values = merged(MATRIX["bundled"], {"mysql": MATRIX["external"]["mysql"]})
    values = merged(values, {"mysql": {"external": {"users": {"grafana": "reader"}}}})
    text = named(render(merged(LEAST, values)), "ConfigMap", "clipwatch-grafana-provisioning")["data"][
        "mysql.yml"
    ]
    mysql = YAML(typ="safe").load(text)["datasources"][0]
    assert (mysql["url"], mysql["user"], mysql["jsonData"]["database"]) == (
        "10.0.7.9:3306",
        "reader",
        "record",
    )


def test_grafana_finds_its_dashboards_where_the_provider_looks() -> None:
    found = objects("bundled")
    container, _ = containers(found)["grafana"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    data = named(found, "ConfigMap", "clipwatch-grafana-provisioning")["data"]
    provider = YAML(typ="safe").load(data["clipwatch.yml"])["providers"][0]
    assert provider["options"]["path"] == mounts["dashboards"]
    assert len(named(found, "ConfigMap", "clipwatch-grafana-dashboards")["data"]) == len(dashboards())


PROVISIONED = ["alerting/alerts.json", "dashboards/clipwatch.yml", "datasources/mysql.yml"]
PROVISIONED += ["datasources/prometheus.yml"]


def _checksum(found: list[Yaml]) -> str:
    template = named(found, "StatefulSet", "clipwatch-grafana")["spec"]["template"]
    checksum: str = template["metadata"]["annotations"]["checksum/provisioning"]
    return checksum


@pytest.mark.parametrize("name", PROVISIONED)
def test_grafana_is_restarted_for_what_it_reads_at_its_start(name: str, tmp_path: Path) -> None:
    data = named(objects("bundled"), "ConfigMap", "clipwatch-grafana-provisioning")["data"]
    assert {*data} == {Path(one).name for one in PROVISIONED}
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    with (chart / "files" / "grafana-provisioning" / name).open("a", encoding="utf-8") as file:
        file.write("\n")
    changed = render(merged(LEAST, MATRIX["bundled"]), chart=chart)
    assert _checksum(changed) != _checksum(objects("bundled"))


def test_prometheus_names_each_service_as_the_dashboards_do() -> None:
    found = objects("bundled")
    text = named(found, "ConfigMap", "clipwatch-prometheus")["data"]["prometheus.yml"]
    [job] = YAML(typ="safe").load(text)["scrape_configs"]
    [addresses] = job["dns_sd_configs"]
    [rule] = job["relabel_configs"]
    seen = set()
    for name in addresses["names"]:
        service, namespace, kind = name.split(".")
        assert (namespace, kind) == ("video", "svc")
        spec = named(found, "Service", service)["spec"]
        assert spec["clusterIP"] == "None", "one address for each replica"
        matched = re.fullmatch(rule["regex"], name)
        assert matched is not None
        assert spec["selector"]["app.kubernetes.io/component"] == matched[1]
        seen.add(matched[1])
    assert seen == {"motion", "classifier", "recorder"}
    container, spec = containers(found)["prometheus"]
    assert job["authorization"]["credentials_file"] == f"{MOUNT}METRICS_TOKEN"
    assert secrets_of(container, spec) == {"METRICS_TOKEN"}


def test_memory_is_limited_as_in_compose_and_redis_may_take_twice_its_data() -> None:
    parts = containers(objects("bundled"))
    for name, (container, _) in parts.items():
        limit = _plain(COMPOSE[name]["mem_limit"]).upper()
        assert container["resources"]["limits"]["memory"] == limit.replace("G", "Gi").replace("M", "Mi"), name
    assert "--maxmemory 1gb" in " ".join(parts["redis"][0]["command"])


def test_the_charts_version_is_the_programs() -> None:
    chart = YAML(typ="safe").load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert chart["appVersion"] == chart["version"] == project["version"]


def test_the_users_are_the_images() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "useradd --uid 10001 " in text
    for name in READ:
        assert containers(objects("default"))[name][1]["securityContext"]["runAsUser"] == 10001
