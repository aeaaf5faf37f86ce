"""One rule over many values as one test, which names every value that breaks it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest

Test = Callable[..., None]


def for_each(names: str | tuple[str, ...], values: Iterable[Any]) -> Callable[[Test], Test]:
    """Calls a test for each value, and fails in the end with all those for which it failed.

    Written like `pytest.mark.parametrize`, for cases that need no name of their own: each costs
    next to nothing, and they share the test's fixtures.

    Args:
        names: The argument that takes the value, or the arguments that take its parts.
    """
    named = (names,) if isinstance(names, str) else names
    cases = [(value,) if isinstance(names, str) else tuple(value) for value in values]

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def test_all(**fixtures: Any) -> None:
            assert cases, "no values"
            broken = [line for case in cases for line in failure(test, named, case, fixtures)]
            if broken:
                pytest.fail(f"{len(broken)} of {len(cases)} fail:\n" + "\n".join(broken), False)

        signature = inspect.signature(test)
        kept = [p for name, p in signature.parameters.items() if name not in named]
        test_all.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
        return test_all

    return decorate


def failure(
    test: Test, names: tuple[str, ...], case: Iterable[Any], fixtures: dict[str, Any]
) -> Iterable[str]:
    """What is said of a case where the test fails; nothing where it passes."""
    arguments = dict(zip(names, case, strict=True))
    try:
        test(**arguments, **fixtures)
    except (Exception, pytest.fail.Exception) as error:
        case = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        said = f"{type(error).__name__}: {error}".replace("\n", "\n    ")
        yield f"{case}: {said}"
