"""What a bench printed is kept whole, and the page of figures is what was kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import report, run_all
from bench.run_all import BENCHES, Bench, documents

ROOT = Path(__file__).resolve().parents[3]


def told_by(name: str, *results: object) -> dict[str, object]:
    machine = {
        "processor": "a CPU",
        "cores": 2,
        "memory_gib": 24.0,
        "system": "Linux x86_64",
        "python": "3.11.7",
    }
    about = {
        "command": "python -m bench.it",
        "at": "2026-01-02T03:04:05+00:00",
        "commit": "0123456789",
        "seconds": 9,
    }
    return {"bench": name, "machine": machine, "load_before": 0.1, "results": list(results), **about}


def test_every_object_is_found_among_tables_and_words() -> None:
    text = 'words {not json}\n{"a": 1}\n| a table {} |\n{\n "b": {"c": [2]}\n}\n{"d": "}"} {"half":'
    assert list(documents(text)) == [{"a": 1}, {}, {"b": {"c": [2]}}, {"d": "}"}]


def test_a_bench_is_kept_with_its_machine_and_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, kept = run_all.ROOT / "build" / tmp_path.name, run_all.ROOT / "build" / f"{tmp_path.name}-kept"
    monkeypatch.setattr(run_all, "MADE", made)
    monkeypatch.setattr(run_all, "KEPT", kept)
    bench = Bench("one", ("-c", "print('told'); print('{\"figure\": 0.5}')"), 1)
    assert run_all.run(bench, keep=False)
    assert not kept.exists()
    told = json.loads((made / "one.json").read_text())
    assert told["results"] == [{"figure": 0.5}]
    assert told["machine"]["cores"] >= 1
    assert told["commit"]
    (made / "one.json").unlink()
    made.rmdir()


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "print('no figures')"])
def test_a_bench_without_figures_failed(code: str) -> None:
    assert not run_all.run(Bench("one", ("-c", code), 1), keep=True)
    assert not (run_all.MADE / "one.json").exists()


def test_each_bench_is_there() -> None:
    for bench in BENCHES:
        name = bench.command[-1]
        path = name if bench.command[0] != "-m" else f"{name.replace('.', '/')}.py"
        assert (ROOT / path).is_file(), bench


def test_each_bar_is_of_a_bench_that_runs_with_all() -> None:
    assert {bar.bench for bar in report.BARS} <= {bench.name for bench in BENCHES}


def test_bars_are_held_against_what_was_found() -> None:
    bar = report.Bar("delay", "it", "results.0.p95_s", 0.25, "s")
    assert bar.line(told_by("it", {"p95_s": 0.2})).endswith("| <= 0.25 s | 0.2 s | met |")
    assert bar.line(told_by("it", {"p95_s": 0.3})).endswith("| 0.3 s | **not met** |")
    assert bar.line(told_by("it", {})).endswith("| nothing | **not met** |")
    assert bar.line(told_by("it", {"p95_s": [0.1, 0.3]})).endswith("| 0.3 s | **not met** |")
    assert bar.line(told_by("it", {"p95_s": []})).endswith("| nothing | **not met** |")
    least = report.Bar("rate", "it", "results.1.rate", 100, "", is_least=True)
    assert least.line(told_by("it", {}, {"rate": 99.5})).endswith("| >= 100 | 99.5 | **not met** |")


def test_equal_results_are_a_table_and_others_a_list() -> None:
    page = report.report(
        [told_by("rows", {"n": 1, "ms": 2.34567}, {"n": 2, "ms": None}), told_by("deep", {"a": {"b": [1]}})]
    )
    assert "| n | ms |\n|---|---|\n| 1 | 2.346 |\n| 2 | - |" in page
    assert "| a.b | [1] |" in page


def test_the_page_is_what_was_kept() -> None:
    assert report.PAGE.read_text(encoding="utf-8") == report.report(report.kept_results()), (
        "docs/reference/performance.md is made: python -m bench.report"
    )
