"""Writes the dashboards and alert rules for Grafana from what stands in the modules beside it.

python grafana-provisioning/build.py           write the files
python grafana-provisioning/build.py --check   exit 1 when a file is not what this would write
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from event import event_dashboard
from events import events_dashboard
from pipeline import alerting, pipeline_dashboard

HERE = Path(__file__).resolve().parent


def files() -> dict[Path, str]:
    """Return what the generated files hold."""
    dashboards = HERE / "dashboards"
    contents = {
        dashboards / "events.json": events_dashboard(),
        dashboards / "event.json": event_dashboard(),
        dashboards / "pipeline" / "pipeline.json": pipeline_dashboard(),
        HERE / "alerting" / "alerts.json": alerting(),
    }
    return {
        path: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for path, content in contents.items()
    }


def main(arguments: Sequence[str]) -> int:
    """Write or check; return the exit code."""
    stale = {
        path: text
        for path, text in files().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    }
    for path, text in stale.items():
        if "--check" in arguments:
            print(f"{path.name} is not what build.py writes: run python grafana-provisioning/build.py")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(HERE)}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
