"""Numbers with their nouns."""

from shared.plurals import plural


def test_one_has_no_s() -> None:
    assert [plural(n, "event") for n in (0, 1, 2, 1200)] == [
        "0 events",
        "1 event",
        "2 events",
        "1,200 events",
    ]
    assert plural(1, "snippet waits", "snippets wait") == "1 snippet waits"
