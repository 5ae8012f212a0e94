"""Attack: no text from outside, however long, costs more than its length. Ratios of time only, no clock's bound.

One anonymous address of 64,000 characters once held a service for seconds, in a pattern that was quadratic.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import re
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import services
import shared
from shared.cameras.sources import kind_of, stream_fault, whip_fault
from shared.errors import reason, redact
from shared.faults import near
from shared.urls import fill_in, scheme_of, shown_url, url_fault, with_password

SHORT, TIMES = 500, 16  # a quadratic text takes 256 times as long, a linear one 16 times
MOST_RATIO = 64
WORTH_A_LOOK_S = 0.003  # below, what is measured is the clock
UNITS = [
    *"aA0 @:/?&=#%'\"\\\n\r\t.-_+*|,;()[]{}<>$é",
    *(
        "a://",
        " a://",
        "a://@",
        " a://b@",
        "a://a",
        "@ 0x",
        "x://@ 0x",
        "?key=",
        "&key=a&",
        "pass=",
        " pass=a",
    ),
    *(
        "password",
        "authorization",
        "authorization: ",
        "authorization    ",
        "bearer ",
        "basic    ",
        "bearer a",
    ),
    *("${", "${A", "${A}", "a b", "a: b", "-a", "1-1", "1_", "a.b.", "\udc80", "hf-hub:", "hf-hub:a/"),
    *(
        "a=candidate:",
        "a 1 ",
        "1 ",
        "1 1",
        "00:00",
        "2026-01-01T",
        "0/0/",
        "a-b-",
        "vit_",
        "  *a",
        ": *",
        "an ",
    ),
]


def attacks(length: int) -> Iterator[str]:
    """Yield each unit repeated, alone and between what patterns look for at the beginning and at the end."""
    for unit in UNITS:
        text = unit * (length // len(unit))
        yield from (text, f"rtsp://{text}", f"{text}\n", f"{text}!", f"whip:?token={text}")


def took_s(work: Callable[[str], object], text: str) -> float:
    started_s = time.process_time()
    with contextlib.suppress(ValueError):
        work(text)
    return time.process_time() - started_s


def is_superlinear(work: Callable[[str], object], short: str, long: str) -> bool:
    if took_s(work, long) < WORTH_A_LOOK_S:
        return False
    few = statistics.median(took_s(work, short) for _ in range(7))
    many = statistics.median(took_s(work, long) for _ in range(3))
    return many > MOST_RATIO * few


def slow_text(work: Callable[[str], object]) -> str | None:
    """Return the beginning of the first text that costs more than its length."""
    pairs = zip(attacks(SHORT), attacks(SHORT * TIMES), strict=True)
    return next((short[:40] for short, long in pairs if is_superlinear(work, short, long)), None)


def patterns() -> Iterator[tuple[str, Callable[[str], object]]]:
    """Yield each pattern of a module as it is used: by search, fullmatch, …"""
    names = [
        module.name
        for root in (shared, services)
        for module in pkgutil.walk_packages(root.__path__, f"{root.__name__}.")
        if not module.name.endswith("__main__") and ".migrations." not in module.name
    ]
    modules = [importlib.import_module(name) for name in names]
    source = "\n".join(Path(str(module.__file__)).read_text("utf-8") for module in modules)
    seen: set[tuple[int, str]] = set()
    for module in modules:
        for name, value in vars(module).items():
            if not isinstance(value, re.Pattern) or not isinstance(value.pattern, str):
                continue
            used = set(
                re.findall(rf"\b{name}\.(search|match|fullmatch|findall|finditer|split|sub)\(", source)
            )
            for way in sorted(used or {"search"}):
                if (id(value), way) not in seen:
                    seen.add((id(value), way))
                    method = getattr(value, way)
                    yield (
                        f"{module.__name__}.{name}.{way}",
                        partial(method, "***") if way == "sub" else method,
                    )


@pytest.mark.parametrize(
    "work",
    [
        redact,
        lambda text: reason(ValueError(text)),
        shown_url,
        url_fault,
        stream_fault,
        whip_fault,
        kind_of,
        scheme_of,
        lambda text: fill_in(text, {"A": "b"}),
        lambda text: with_password(text, "b"),
        lambda text: near(text, ["url", "labels", "threshold"]),
    ],
)
def test_functions_that_read_what_comes_from_outside(work: Callable[[str], object]) -> None:
    assert slow_text(work) is None


def test_every_pattern_of_every_module() -> None:
    slow = {name: found for name, work in patterns() if (found := slow_text(work)) is not None}
    assert slow == {}


def test_the_attack_finds_a_quadratic_pattern() -> None:
    assert slow_text(re.compile(r"[a-z]+://[^@]*@").search) is not None
