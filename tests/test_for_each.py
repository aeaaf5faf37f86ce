"""A folded test fails with every value that breaks its rule, and asks for its fixtures alone."""

from __future__ import annotations

import inspect

import pytest

from tests.for_each import for_each


def test_all_offenders_are_named() -> None:
    @for_each("value", [1, -2, 3, 0])
    def positive(value: int) -> None:
        if value == 0:
            raise ZeroDivisionError("by it")
        assert value > 0, "too small"

    with pytest.raises(pytest.fail.Exception) as failed:
        positive()
    title, *lines = str(failed.value).splitlines()
    assert title == "2 of 4 fail:"
    assert [line for line in lines if not line.startswith("    ")] == [
        "value=-2: AssertionError: too small",
        "value=0: ZeroDivisionError: by it",
    ]


def test_a_refusal_that_does_not_come_is_an_offence_too() -> None:
    @for_each("value", [1])
    def refused(value: int) -> None:
        with pytest.raises(ValueError, match="1"):
            pass

    with pytest.raises(pytest.fail.Exception, match="value=1"):
        refused()


def test_every_value_is_tried_with_the_fixtures(tmp_path) -> None:
    @for_each(("name", "text"), ((name, name.upper()) for name in "ab"))
    def write(tmp_path, name: str, text: str) -> None:
        (tmp_path / name).write_text(text)

    assert list(inspect.signature(write).parameters) == ["tmp_path"]
    for _ in range(2):
        write(tmp_path=tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "A", "b": "B"}


def test_no_values_are_no_test() -> None:
    @for_each("value", [])
    def never(value: int) -> None: ...

    with pytest.raises(AssertionError, match="no values"):
        never()
