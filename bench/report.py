"""Makes docs/reference/performance.md of what benches printed: `python -m bench.report`.

docs/reference/benches has one file a bench, as bench/run_all.py writes it. At the top of the page are the bars that the
figures are held against; then each bench's figures as they are, with the machine, the commit and the load.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "reference" / "benches"
PAGE = ROOT / "docs" / "reference" / "performance.md"
_COLUMNS_MAX = 9  # of a table whose rows are the results; more are listed one below the other
Told = Mapping[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure of a bench by its path (`results.0.some.key`), and what it should be; of several, the worst counts."""

    what: str
    bench: str
    path: str
    wanted: float
    unit: str = ""
    is_least: bool = False  # `wanted` is the least, else the most

    def line(self, told: Told) -> str:
        """Return its row."""
        found = at_path(told, self.path)
        if isinstance(found, list):
            found = (min if self.is_least else max)(found, default=None)
        sign = ">=" if self.is_least else "<="
        unit = f" {self.unit}" if self.unit else ""
        is_met = found is not None and (found >= self.wanted if self.is_least else found <= self.wanted)
        shown = "nothing" if found is None else f"{found:g}{unit}"
        cells = (
            self.what,
            self.bench,
            f"{sign} {self.wanted:g}{unit}",
            shown,
            "met" if is_met else "**not met**",
        )
        return f"| {' | '.join(cells)} |"


BARS = (
    Bar(
        "of 64 quiet cameras in real time on two cores",
        "cameras",
        "results.0.most_in_real_time",
        64,
        "",
        True,
    ),
    Bar(
        "memory of each camera more, 64 at once",
        "cameras",
        "results.0.cameras.64.rss_mb_per_camera",
        75,
        "MiB",
    ),
    Bar("memory of each camera more, busy", "capture", "results.0.rss_mb_per_camera", 75, "MiB"),
    Bar("end of the first snippet to row, 95 %", "growing", "results.0.first_snippet_to_row.p95_s", 0.5, "s"),
    Bar("snippets a second, three services", "streams", "results.0.most_per_s", 100, "/s", is_least=True),
    Bar("latency at half of that, 95 %", "streams", "results.0.latency_ms.p95", 250, "ms"),
    Bar("rows again after Redis' master was killed", "failover", "results.0.back_s", 20, "s"),
    Bar("snippets lost then", "failover", "results.0.n_lost", 0),
    Bar("snippets doubled then", "failover", "results.0.n_doubled", 0),
    Bar(
        "all cameras read again after a motion process was killed",
        "takeover",
        "results.0.seconds_until_all_are_read",
        15,
        "s",
    ),
)


def at_path(told: Any, path: str) -> Any:  # Any: JSON
    """Return what is at a path of keys and indices, None when nothing is."""
    for part in path.split("."):
        if isinstance(told, list):
            told = told[int(part)] if int(part) < len(told) else None
        else:
            told = told.get(part) if isinstance(told, dict) else None
    return told


def report(kept: Sequence[Told]) -> str:
    """Return the page."""
    by_name = {told["bench"]: told for told in kept}
    lines = [
        "# Performance",
        "Made by `make bench ARGS=--keep` of the files in docs/reference/benches; do not edit. Each bench says at the",
        "top of its file what its keys mean. More, by part: [classifier](classifier-performance.md),",
        "[capture](capture-performance.md), [motion](motion-performance.md), [record](record-performance.md).",
        "",
        "| what | bench | wanted | found | |",
        "|---|---|---|---|---|",
        *(bar.line(by_name[bar.bench]) for bar in BARS if bar.bench in by_name),
    ]
    for name in sorted(by_name):
        lines += ["", *_section(by_name[name])]
    return "\n".join(lines) + "\n"


def _section(told: Told) -> Iterator[str]:
    machine = told["machine"]
    yield f"## {told['bench']}"
    measured = f"{told['at'][:10]}, commit {told['commit']}, {told['seconds']} s, load {told['load_before']:g} before"
    yield f"`{told['command']}`, {measured};"
    where = f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gib']:g} GiB"
    yield f"{where}, {machine['system']}, Python {machine['python']}."
    yield ""
    results = told["results"]
    rows = [result for result in results if _is_row(result)]
    if len(rows) == len(results) > 1:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        yield f"| {' | '.join(columns)} |"
        yield f"|{'---|' * len(columns)}"
        for row in rows:
            yield f"| {' | '.join(_shown(row.get(column)) for column in columns)} |"
        return
    yield "| key | value |"
    yield "|---|---|"
    for number, result in enumerate(results):
        prefix = f"{number + 1}." if len(results) > 1 else ""
        for key, value in _leaves(result, prefix):
            yield f"| {key} | {_shown(value)} |"


def _is_row(result: Any) -> bool:  # Any: JSON
    flat = isinstance(result, dict) and len(result) <= _COLUMNS_MAX
    return flat and not any(isinstance(value, dict | list) for value in result.values())


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:  # Any: JSON
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key and not key.endswith(".") else f"{key}{name}")
    else:
        yield key, value


def _shown(value: Any) -> str:  # Any: JSON
    if isinstance(value, float):
        return f"{value:.4g}"
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("|", "\\|").replace("\n", " ")


def kept_results(folder: Path = KEPT) -> list[Told]:
    """Return what is kept, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def write_report() -> None:
    """Write the page."""
    PAGE.write_text(report(kept_results()), encoding="utf-8")


if __name__ == "__main__":
    write_report()
    print(PAGE.relative_to(ROOT), file=sys.stderr)
