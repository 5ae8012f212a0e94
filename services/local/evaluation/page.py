"""The page of an evaluation: one HTML file without scripts or foreign addresses, and pictures beside it.

Colours, sizes and shapes are in STYLE; curves are SVG, drawn in a square of 100 units with (0, 0) at the lower left.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from services.local.evaluation.classification import ClassifiedClip
from services.local.evaluation.metrics import (
    ClipAnswer,
    ThresholdCounts,
    answer_of,
    confusion,
    counts_of,
    exact_share,
)
from services.local.evaluation.results import Evaluation, best_text, share_text, warnings_of
from shared.contract import LabelsMessage
from shared.errors import ConfigError

PAGE, PICTURES = "index.html", "pictures"
MOST_CARDS = 400  # pictures on the page; wrong answers first
STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#5b6672;--paper:#fbfbfa;--card:#fff;--line:#d9dde2;--good:#1a7f4b;
--bad:#b3261e;--blue:#2458c5;--amber:#9a6700;--heat:36,88,197}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--dim:#9aa4af;--paper:#14171a;--card:#1c2024;--line:#343a41;
--good:#5bc98f;--bad:#ff8a80;--blue:#8ab4ff;--amber:#e3b341;--heat:138,180,255}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1240px;margin:0 auto;padding:24px 16px 64px}h1{font-size:1.6rem;margin:0 0 4px}
h2{font-size:1.15rem;margin:36px 0 10px}p{margin:6px 0}.dim{color:var(--dim)}.note{color:var(--amber)}
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin:18px 0}.tile{background:var(--card);border:1px solid var(--line);
border-radius:10px;padding:10px 16px;min-width:130px}.tile b{display:block;font-size:1.5rem;
font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}caption{text-align:left}
th,td{padding:6px 9px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}thead th{color:var(--dim);font-weight:600}
td.right{outline:2px solid var(--good);outline-offset:-2px}td a{color:inherit}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(290px,1fr));gap:16px}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px}
figcaption{font-weight:600}figure svg{width:100%;height:auto;display:block;overflow:visible}
svg text{fill:var(--dim);font-size:5px}svg .axis{stroke:var(--line);stroke-width:.5;fill:none}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:14px;padding:0;list-style:none}
.cards li{background:var(--card);border:1px solid var(--line);border-radius:10px;overflow:hidden;scroll-margin-top:12px}
.cards li:target{outline:3px solid var(--blue)}.cards img,.blank{width:100%;aspect-ratio:16/9;object-fit:contain;
background:#0b0d0f;display:block}.blank{display:grid;place-items:center;color:#9aa4af}
.cards div.text{padding:10px 12px}.cards svg{width:100%;height:54px;display:block}
.ok{color:var(--good)}.no{color:var(--bad)}
.cards a{color:var(--blue);overflow-wrap:anywhere}.legend span{margin-right:12px;white-space:nowrap}
.swatch{display:inline-block;width:14px;height:3px;margin-right:5px;vertical-align:middle}
"""
COLOURS = ("#2f6fde", "#d1662c", "#1f9d66", "#b5469b", "#8a7a18", "#7257c7", "#c43c4b", "#2a95a8")


def write_page(folder: Path, evaluation: Evaluation, seen: Sequence[ClassifiedClip]) -> Path:
    """Write page and pictures into `folder`, and return the page's path; raise ConfigError when that fails."""
    pictures: dict[str, str] = {}
    messages = {one.clip.name: one.messages for one in seen}
    try:
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
        for number, one in enumerate(seen):
            if one.thumbnail:
                name = f"{PICTURES}/{number:05d}.jpg"
                (folder / name).write_bytes(one.thumbnail)
                pictures[one.clip.name] = name
        links = {one.clip.name: _link(folder, one.clip.path) for one in seen}
        page = folder / PAGE
        page.write_text(html_of(evaluation, pictures, links, messages), encoding="utf-8", errors="replace")
    except OSError as exc:
        raise ConfigError(f"--out {folder}: cannot be written: {exc.strerror}") from exc
    return page


def _link(folder: Path, clip: Path) -> str:
    return quote(os.fsencode(os.path.relpath(clip.resolve(), folder.resolve())))


def html_of(
    evaluation: Evaluation,
    pictures: Mapping[str, str],
    links: Mapping[str, str],
    messages: Mapping[str, Sequence[LabelsMessage]],
) -> str:
    """Return the page; `pictures` and `links` are addresses relative to it, by clip."""
    exact, total = exact_share(evaluation.clips) or 0.0, evaluation.total
    notes = "".join(f'<p class="note">{escape(text)}</p>' for text in warnings_of(evaluation))
    colours = {label: COLOURS[n % len(COLOURS)] for n, label in enumerate(evaluation.labels)}
    wrong_first = sorted(evaluation.clips, key=lambda clip: (set(clip.accepted) == clip.truth, clip.name))
    cards = "".join(
        _card(
            clip,
            pictures.get(clip.name),
            links.get(clip.name, ""),
            _curves(messages.get(clip.name, ()), colours),
        )
        for clip in wrong_first[:MOST_CARDS]
    )
    more = len(wrong_first) - MOST_CARDS
    legend = "".join(
        f'<span><i class="swatch" style="background:{colour}"></i>{escape(label)}</span>'
        for label, colour in colours.items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Evaluation: {escape(evaluation.model)}</title><style>{STYLE}</style></head><body><main>
<h1>How well clips were named</h1>
<p class="dim">model {escape(evaluation.model)}, temperature {evaluation.temperature:.2f}, threshold
{evaluation.threshold:g}, background {escape(", ".join(evaluation.background)) or "built-in"}</p>{notes}
<div class="tiles">{_tile(len(evaluation.clips), "clips")}{_tile(f"{exact:.2f}", "exactly right")}
{_tile(_number(total.precision), "precision")}{_tile(_number(total.recall), "recall")}
{_tile(f"{evaluation.reliability[1]:.3f}", "calibration error")}</div>
{_calibration(evaluation)}
<h2>Labels</h2><div class="scroll">{_label_table(evaluation)}</div>
<h2>Truth and answer</h2>
<p class="dim">Rows: what is true. Columns: what was said. A number leads to its first clip.</p>
<div class="scroll">{_confusion_table(evaluation)}</div>
<h2>Curves</h2><div class="plots">{_reliability_plot(evaluation)}{_threshold_plot(evaluation, "")}
{"".join(_threshold_plot(evaluation, label) for label in evaluation.labels)}</div>
<h2>Clips, wrong answers first</h2><p class="legend dim">{legend}</p>
<ul class="cards">{cards}</ul>{f'<p class="dim">{more} more clips are not shown.</p>' if more > 0 else ""}
</main></body></html>
"""


def _tile(value: object, name: str) -> str:
    return f'<div class="tile"><b>{escape(str(value))}</b>{escape(name)}</div>'


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _calibration(evaluation: Evaluation) -> str:
    found = evaluation.calibration
    if found is None:
        return ""
    before = (
        f", calibration error {evaluation.ece_before:.3f} before" if evaluation.ece_before is not None else ""
    )
    return (
        f"<p>Temperature fitted to {found.n_clips} clips: {found.before:.2f} → <b>{found.after:.2f}</b>, mean loss "
        f"{found.loss_before:.3f} → {found.loss_after:.3f}{before}.</p>"
    )


def _label_table(evaluation: Evaluation) -> str:
    head = "".join(
        f"<th>{escape(text)}</th>"
        for text in ("label", "true", "found", "false", "precision (95 %)", "recall (95 %)", "accuracy", "F1")
    )
    head += f"<th>best threshold</th><th>for precision {evaluation.wanted_precision:g}</th>"
    rows = ""
    for label in (*evaluation.labels, ""):
        counts = counts_of(label, evaluation.clips) if label else evaluation.total
        found = evaluation.suggestion(label)
        precise = (
            f"{found.precise.threshold:.2f} (recall {found.precise.counts.recall or 0:.2f})"
            if found.precise
            else "none"
        )
        cells = (
            escape(label) or "<b>all</b>",
            counts.hits + counts.misses,
            counts.hits,
            counts.false_alarms,
            share_text(counts.hits, counts.hits + counts.false_alarms),
            share_text(counts.hits, counts.hits + counts.misses),
            _number(counts.accuracy),
            _number(counts.f1),
            best_text(found),
            precise,
        )
        rows += "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _confusion_table(evaluation: Evaluation) -> str:
    table = confusion(evaluation.labels, evaluation.clips)
    columns = list(next(iter(table.values())))
    head = "<th></th>" + "".join(f"<th>{escape(column)}</th>" for column in columns)
    rows = ""
    for row, cells in table.items():
        whole = max(1, sum(cells.values()))
        rows += f"<tr><th>{escape(row)}</th>"
        for column, n in cells.items():
            first = next(
                (c for c in evaluation.clips if row in (c.truth or {row}) and _counts_in(c, row, column)),
                None,
            )
            text = f'<a href="#{_anchor(first)}">{n}</a>' if n and first else "·"
            style = f"background:rgba(var(--heat),{0.5 * n / whole:.2f})"
            rows += f'<td class="{"right" if row == column else ""}" style="{style}">{text}</td>'
        rows += "</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _counts_in(clip: ClipAnswer, row: str, column: str) -> bool:
    is_row = row in clip.truth if clip.truth else row.startswith("(")
    return is_row and answer_of(row, clip) == column


def _anchor(clip: ClipAnswer) -> str:
    return "clip-" + quote(clip.name, safe="").replace("%", "_")


def _frame(title: str, inside: str, below: str) -> str:
    ticks = "".join(
        f'<text x="{at}" y="108" text-anchor="middle">{at / 100:g}</text>'
        f'<text x="-2" y="{102 - at}" text-anchor="end">{at / 100:g}</text>'
        for at in (0, 50, 100)
    )
    return (
        f"<figure><figcaption>{title}</figcaption>"
        f'<svg viewBox="-12 -4 118 118" role="img" aria-label="{title}"><rect class="axis" width="100" height="100"/>'
        f'{ticks}{inside}</svg><p class="dim">{below}</p></figure>'
    )


def _reliability_plot(evaluation: Evaluation) -> str:
    bins, error = evaluation.reliability
    most = max((one.n for one in bins), default=1) or 1
    inside = '<path d="M0 100L100 0" class="axis" stroke-dasharray="2 2"/>'
    for one in bins:
        if one.n:
            bar = 12 * one.n / most
            inside += (
                f'<rect x="{100 * one.low:.1f}" y="{100 - bar:.2f}" width="10" height="{bar:.2f}" '
                f'fill="var(--dim)" opacity=".3"/>'
                f'<circle cx="{100 * one.mean_peak:.2f}" cy="{100 - 100 * one.share_true:.2f}" '
                f'r="{1.5 + 2 * (one.n / most) ** 0.5:.2f}" fill="var(--blue)"><title>{one.n} answers, '
                f"mean peak {one.mean_peak:.2f}, true {one.share_true:.2f}</title></circle>"
            )
    below = f"Share that is true against the averaged peak; bars: how many. On the line is right; error {error:.3f}."
    return _frame("Reliability", inside, below)


def _threshold_plot(evaluation: Evaluation, label: str) -> str:
    curve = evaluation.curves[label]
    lines = (
        ("precision", "var(--blue)", [(at.threshold, at.counts.precision) for at in curve]),
        ("recall", "#d1662c", [(at.threshold, at.counts.recall) for at in curve]),
        ("F1", "#1f9d66", [(at.threshold, at.counts.f1) for at in curve]),
    )
    inside = "".join(
        f'<polyline points="{_points(points)}" fill="none" stroke="{colour}" stroke-width="1.2"/>'
        for _, colour, points in lines
    )
    best: ThresholdCounts = evaluation.suggestion(label).best
    marks = [(best.threshold, "1 0")] if best.counts.f1 else []
    for at, dash in (*marks, (evaluation.threshold, "2 2")):
        way = f"M{100 * at:.1f} 0V100"
        inside += f'<path class="axis" d="{way}" stroke-dasharray="{dash}" style="stroke:var(--dim)"/>'
    legend = " ".join(
        f'<span><i class="swatch" style="background:{c}"></i>{name}</span>' for name, c, _ in lines
    )
    now = (
        f"best {best.threshold:.2f} (line), " * bool(best.counts.f1)
        + f"now {evaluation.threshold:g} (dashed)"
    )
    below = f'<span class="legend">{legend}</span> {now}'
    return _frame(f"Threshold: {escape(label) or 'all labels'}", inside, below)


def _points(points: Iterable[tuple[float, float | None]]) -> str:
    return " ".join(f"{100 * x:.1f},{100 - 100 * y:.2f}" for x, y in points if y is not None)


def _curves(messages: Sequence[LabelsMessage], colours: Mapping[str, str]) -> str:
    """Draw each label's probability over the clip's moments as recorded (with the temperature of the run)."""
    rows: list[tuple[float, dict[str, float]]] = []
    for message in messages:
        header = message.header
        table = np.frombuffer(message.probabilities, "<f2").reshape(len(header.moments), len(header.columns))
        for moment, shares in zip(header.moments, table.tolist(), strict=True):
            rows.append(
                (moment.timestamp(), {c.text: share for c, share in zip(header.columns, shares, strict=True)})
            )
    if len(rows) < 2:
        return ""
    start, length = rows[0][0], max(1e-3, rows[-1][0] - rows[0][0])
    lines = "".join(
        f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" vector-effect="non-scaling-stroke" points="'
        + " ".join(
            f"{100 * (at - start) / length:.1f},{29 - 28 * shares.get(label, 0):.2f}" for at, shares in rows
        )
        + '"/>'
        for label, colour in colours.items()
    )
    head = '<svg viewBox="0 0 100 30" preserveAspectRatio="none" role="img" aria-label="probabilities over time">'
    return f"{head}{lines}</svg>"


def _card(clip: ClipAnswer, picture: str | None, link: str, curves: str) -> str:
    is_right = set(clip.accepted) == clip.truth
    said = ", ".join(clip.accepted) or ("nothing" if clip.has_motion else "nothing: no motion found")
    best = sorted(clip.peaks.items(), key=lambda item: -item[1])[:4]
    image = (
        f'<img loading="lazy" src="{quote(picture)}" alt="best moment of {escape(clip.name)}">'
        if picture
        else '<span class="blank">no picture</span>'
    )
    peaks = ", ".join(f"{escape(text)} {peak:.2f}" for text, peak in best)
    return (
        f'<li id="{_anchor(clip)}">{image}{curves}<div class="text"><a href="{escape(link)}">{escape(clip.name)}</a>'
        f"<p>true: {escape(', '.join(sorted(clip.truth))) or 'nothing wanted'}</p>"
        f'<p class="{"ok" if is_right else "no"}">{"✓" if is_right else "✗"} said: {escape(said)}</p>'
        f'<p class="dim">{peaks}</p></div></li>'
    )
