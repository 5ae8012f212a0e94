"""Every dashboard through the models of grafana-foundation-sdk: a key that they do not know would be lost."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.grafana import UIDS, Json, dashboards

UNITS = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}

# Grafana 12.2 put it in the place of `hidden`; the SDK's model of tables (0.0.21) is older
NEWER_THAN_THE_SDK = {("table", ".custom.hideFrom")}


@pytest.fixture(scope="module", autouse=True)
def panel_types() -> None:
    register_default_plugins()  # or options and field settings of panels would be kept unread


def round_trip(dashboard: Json) -> Json:
    """Return what the models make of a dashboard."""
    said: Json = json.loads(JSONEncoder().encode(Dashboard.from_json(copy.deepcopy(dashboard))))
    return said


def lost(before: Any, after: Any, place: str = "") -> Iterator[str]:  # Any: JSON
    """Yield where `after` lacks a key of `before`, or holds another value; keys that it has beyond are defaults."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in after:
                yield from lost(value, after[key], f"{place}.{key}")
            else:
                yield f"{place}.{key}"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{place}[{index}]")
    elif before != after:
        yield place


def as_defaults(override: Json) -> Json:
    """Return an override's properties in the form of a panel's defaults, where the models know every key."""
    settings: Json = {}
    for item in override["properties"]:
        place = settings
        *path, last = item["id"].split(".")
        for key in path:
            place = place.setdefault(key, {})
        place[last] = item["value"]
    return settings


def check_models(dashboard: Json) -> None:
    """Fail when a key of the dashboard is none of Grafana's."""
    gone = list(lost(dashboard, round_trip(dashboard)))
    assert not gone, f"no such setting: {gone}"


def check_overrides(dashboard: Json) -> None:
    """Fail when an override sets what fields of the panel's type do not have."""
    for panel in dashboard["panels"]:
        for override in panel["fieldConfig"]["overrides"]:
            name, defaults = override["matcher"]["options"], as_defaults(override)
            alone = {**panel, "fieldConfig": {"defaults": defaults, "overrides": []}}
            said = round_trip({**dashboard, "panels": [alone]})["panels"][0]["fieldConfig"]["defaults"]
            gone = [key for key in lost(defaults, said) if (panel["type"], key) not in NEWER_THAN_THE_SDK]
            assert not gone, f"{panel['title']}, {name}: no such setting: {gone}"


def check_units(dashboard: Json) -> None:
    """Fail when a unit is none of Grafana's."""
    for panel in dashboard["panels"]:
        config = panel["fieldConfig"]
        for settings in (config["defaults"], *map(as_defaults, config["overrides"])):
            unit = settings.get("unit", "none")
            assert unit in UNITS, f"{panel['title']}: no unit {unit}"


CHECKS: list[Callable[[Json], None]] = [check_models, check_overrides, check_units]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("uid", UIDS.values())
def test_grafana_knows_every_setting(uid: str, check: Callable[[Json], None]) -> None:
    check(dashboards()[uid])


def test_every_number_has_a_unit() -> None:
    assert len(UNITS) > 100
    for dashboard in dashboards().values():
        for panel in dashboard["panels"]:
            if panel["type"] == "timeseries":
                assert "unit" in panel["fieldConfig"]["defaults"] or panel["title"].startswith(
                    "Events and"
                ), panel["title"]


# --- broken on purpose: docs/reference/dashboards.md lists these ------------------------------------------------------


def rename(old: str, new: str) -> Callable[[Json], Json]:
    """Return what renames a key or a value everywhere."""

    def do(dashboard: Json) -> Json:
        text = json.dumps(dashboard)
        assert f'"{old}"' in text
        changed: Json = json.loads(text.replace(f'"{old}"', f'"{new}"'))
        return changed

    return do


BROKEN = [
    (
        "a misspelt setting of a dashboard",
        "events",
        check_models,
        rename("graphTooltip", "graphTip"),
        ".graphTip",
    ),
    (
        "a misspelt setting of a panel",
        "event",
        check_models,
        rename("gridPos", "gridpos"),
        ".panels[0].gridpos",
    ),
    (
        "a misspelt option of a panel's type",
        "events",
        check_models,
        rename("showHeader", "showHead"),
        ".options.showHead",
    ),
    (
        "a misspelt setting of a variable",
        "events",
        check_models,
        rename("includeAll", "includeall"),
        ".templating.list[0].includeall",
    ),
    (
        "a misspelt setting of an annotation",
        "pipeline",
        check_models,
        rename("iconColor", "iconColour"),
        ".annotations.list[0].iconColour",
    ),
    (
        "a misspelt setting of a column",
        "events",
        check_overrides,
        rename("custom.cellOptions", "custom.cellOption"),
        "Events, picture: no such setting: ['.custom.cellOption']",
    ),
    (
        "a setting of another panel type",
        "event",
        check_overrides,
        rename("custom.width", "custom.lineWidth"),
        "What it was, started: no such setting: ['.custom.lineWidth']",
    ),
    (
        "a unit that does not exist",
        "events",
        check_units,
        rename("velocityms", "velocity"),
        "no unit velocity",
    ),
]


@pytest.mark.parametrize(("name", "file", "check", "do", "says"), BROKEN, ids=[row[0] for row in BROKEN])
def test_what_is_broken_is_found(
    name: str, file: str, check: Callable[[Json], None], do: Callable[[Json], Json], says: str
) -> None:
    dashboard = dashboards()[UIDS[file]]
    check(dashboard)
    with pytest.raises(AssertionError, match=re.escape(says)):
        check(do(dashboard))
