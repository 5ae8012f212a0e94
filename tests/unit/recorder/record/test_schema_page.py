"""The reference page is in step with the tables, and says something of every column."""

from services.recorder.record.schema import metadata
from services.recorder.record.schema_page import TARGET, schema_page


def test_page_is_in_step_with_the_schema() -> None:
    assert TARGET.read_text(encoding="utf-8") == schema_page(), (
        "run python -m services.recorder.record.schema_page"
    )


def test_every_table_and_column_has_a_comment() -> None:
    for table in metadata.sorted_tables:
        assert table.comment
        assert all(column.comment for column in table.columns), table.name
        assert f"## {table.name}" in schema_page()
