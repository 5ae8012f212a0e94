"""The parts of Grafana's dashboard model that these dashboards use. Knows neither tables nor metrics.

The classic model (schemaVersion 42), which Grafana 13 reads. Every key that is written here survives a round trip
through the models of grafana-foundation-sdk (tests/unit/deploy/test_grafana_models.py); why the SDK's builders do not
write the files: docs/design/dashboards.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]  # Any: Grafana's model is JSON
Place = tuple[int, int, int, int]  # x, y, width, height in a grid of 24 columns

RECORD = {"type": "mysql", "uid": "clipwatch-mysql"}
METRICS = {"type": "prometheus", "uid": "clipwatch-prometheus"}
SCHEMA_VERSION = 42  # of Grafana 13's classic dashboard model
TAG = "clipwatch"


def query(sql: str, form: str, letter: str = "A") -> Json:
    """Return a target of the record; `form` is table or time_series."""
    return {
        "refId": letter,
        "datasource": RECORD,
        "editorMode": "code",
        "format": form,
        "rawQuery": True,
        "rawSql": sql.strip(),
    }


def promql(expr: str, legend: str, letter: str) -> Json:
    """Return a target of Prometheus over the whole time range."""
    return {
        "refId": letter,
        "datasource": METRICS,
        "expr": expr,
        "legendFormat": legend,
        "editorMode": "code",
        "range": True,
    }


def override(name: str, **properties: Any) -> Json:  # Any: each property has its own type
    """Return settings for the field `name`; in a property's name `__` stands for a dot."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()],
    }


def hidden(*names: str) -> list[Json]:
    """Return settings of columns that only links use."""
    return [override(name, custom__hideFrom__viz=True) for name in names]


def panel(
    kind: str, title: str, place: Place, targets: Sequence[Json], **more: Any
) -> Json:  # Any: see above
    """Return a panel; all its targets ask the same source."""
    x, y, w, h = place
    base: Json = {
        "type": kind,
        "title": title,
        "gridPos": {"x": x, "y": y, "w": w, "h": h},
        "targets": list(targets),
        "fieldConfig": {"defaults": more.pop("defaults", {}), "overrides": more.pop("overrides", [])},
        "options": more.pop("options", {}),
    }
    if targets:
        base["datasource"] = targets[0]["datasource"]
    else:
        del base["targets"]
    return base | more


def variable_query(name: str, label: str, sql: str, **more: Any) -> Json:  # Any: see above
    """Return a variable whose values come from the database, anew whenever the time range changes."""
    base: Json = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": RECORD,
        "query": sql.strip(),
        "refresh": 2,
        "sort": 0,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "options": [],
    }
    return base | more


def several(name: str, label: str, sql: str) -> Json:
    """Return a variable that takes several values, or all."""
    return variable_query(
        name,
        label,
        sql,
        multi=True,
        includeAll=True,
        allValue="'__all'",
        current={"text": ["All"], "value": ["$__all"]},
    )


def constant(name: str, label: str, value: str, description: str) -> Json:
    """Return a variable that neither a viewer nor an address (`?var-…`) sets; it is not shown."""
    return {
        "type": "constant",
        "name": name,
        "label": label,
        "description": description,
        "query": value,
        "current": {"text": value, "value": value},
        "options": [{"text": value, "value": value, "selected": True}],
        "hide": 2,
        "skipUrlSync": True,
    }


def annotation(name: str, color: str, sql: str) -> Json:
    """Return marks on all graphs of a dashboard: columns time, timeend, text and tags (words with commas between)."""
    return {
        "name": name,
        "datasource": RECORD,
        "enable": True,
        "hide": False,
        "iconColor": color,
        "target": {
            "refId": "Anno",
            "editorMode": "code",
            "format": "table",
            "rawQuery": True,
            "rawSql": sql.strip(),
        },
    }


def link(title: str, url: str, is_new_tab: bool = True) -> list[Json]:
    """Return the one link of a field or panel."""
    return [{"title": title, "url": url, "targetBlank": is_new_tab}]


def to_dashboards() -> Json:
    """Return a dashboard's links to the others, with the values of variables that they share."""
    return {
        "type": "dashboards",
        "title": "clipwatch",
        "tags": [TAG],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": False,
        "targetBlank": False,
        "icon": "dashboard",
    }


def to_page(url: str) -> Json:
    """Return a dashboard's link to a page."""
    return {
        "type": "link",
        "title": "clipwatch's page",
        "url": url,
        "targetBlank": True,
        "icon": "external link",
    }


def dashboard(
    uid: str, title: str, description: str, panels: Sequence[Json], **more: Any
) -> Json:  # Any: see above
    """Return a dashboard; `more` holds its links, annotations and variables."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": more.pop("since", "now-6h"), "to": "now"},
        "timepicker": {},
        "refresh": "30s",
        "links": more.pop("links", []),
        "annotations": {"list": more.pop("annotations", [])},
        "templating": {"list": more.pop("variables", [])},
        "panels": [{"id": number} | content for number, content in enumerate(panels, start=1)],
    }
