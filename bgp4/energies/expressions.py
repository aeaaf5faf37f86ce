"""Energy expressions of OpenMM's custom forces, read as what they are or refused.

An expression is `main; name = definition; ...`. Spaces do not matter. A definition may use those
that come after it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Harmonic", "UnknownExpression", "harmonic", "powers", "split"]

Array = NDArray[np.float64]
Series = dict[int, Any]
"""{n: coefficient of xⁿ}; coefficients are numbers or arrays."""

NUMBER = r"\d+\.?\d*(?:[eE][+-]?\d+)?"
OPERAND = rf"[A-Za-z_]\w*|{NUMBER}"


class UnknownExpression(ValueError):
    """An expression of another form than those that are understood."""


class Harmonic(NamedTuple):
    """An energy factor · stiffness · d², d = x - centre, or the lesser of |d| and period - |d|.

    Stiffness and centre are a parameter's name or a number.
    """

    factor: float
    stiffness: str
    centre: str
    period: float


def split(expression: str) -> tuple[str, dict[str, str]]:
    """The main expression and its definitions, without spaces."""
    main, *rest = (part for part in re.sub(r"\s", "", expression).split(";") if part)
    return main, dict(part.split("=", 1) for part in rest)


def powers(expression: str, x: str, known: Mapping[str, Any]) -> Series:
    """An expression as a sum of powers of x.

    Args:
        expression: Of x, names in `known`, numbers, + - * / ^, sqrt and tables.
        x: Name of the variable.
        known: Numbers or arrays of one shape, and tables (functions of arrays), by their names.

    Returns:
        {n: coefficient of xⁿ}, without powers whose coefficients are all zero.

    Raises:
        UnknownExpression: If it is no such sum.
    """
    main, definitions = split(expression)
    series = _Powers(x, known, definitions).of(main)
    return {n: value for n, value in series.items() if np.any(value)}


class _Powers:
    def __init__(self, x: str, known: Mapping[str, Any], definitions: Mapping[str, str]) -> None:
        self.x, self.known, self.definitions = x, known, definitions

    def of(self, expression: str) -> Series:
        try:
            tree = ast.parse(expression.replace("^", "**"), mode="eval")
        except SyntaxError as error:
            raise UnknownExpression(expression) from error
        return self._of(tree.body)

    def _of(self, node: ast.expr) -> Series:
        match node:
            case ast.Constant(value=int() | float() as number):
                return {0: float(number)}
            case ast.Name(id=name) if name in self.definitions:
                later = list(self.definitions)[list(self.definitions).index(name) + 1 :]
                rest = {k: self.definitions[k] for k in later}
                return _Powers(self.x, self.known, rest).of(self.definitions[name])
            case ast.Name(id=name) if name == self.x:
                return {1: 1.0}
            case ast.Name(id=name) if name in self.known:
                return {0: self.known[name]}
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return {n: -value for n, value in self._of(operand).items()}
            case ast.BinOp(left=left, op=operator, right=right):
                return self._operation(operator, self._of(left), self._of(right))
            case ast.Call(func=ast.Name(id="sqrt"), args=[argument]):
                return {0: np.sqrt(_number(self._of(argument)))}
            case ast.Call(func=ast.Name(id=name), args=arguments) if callable(self.known.get(name)):
                return {0: self.known[name](*(_number(self._of(a)) for a in arguments))}
        raise UnknownExpression(ast.unparse(node))

    @staticmethod
    def _operation(operator: ast.operator, left: Series, right: Series) -> Series:
        match operator:
            case ast.Add():
                return _sum(left, right)
            case ast.Sub():
                return _sum(left, {n: -value for n, value in right.items()})
            case ast.Mult():
                return _product(left, right)
            case ast.Div():
                return _product(left, _power(right, -1))
            case ast.Pow():
                exponent = _number(right)
                if np.ndim(exponent) == 0 and exponent == int(exponent):
                    return _power(left, int(exponent))
        raise UnknownExpression(type(operator).__name__)


def _number(series: Series) -> Any:
    if set(series) != {0}:
        raise UnknownExpression("a function of the variable")
    return series[0]


def _sum(left: Series, right: Series) -> Series:
    total = dict(left)
    for n, value in right.items():
        total[n] = total[n] + value if n in total else value
    return total


def _product(left: Series, right: Series) -> Series:
    total: Series = {}
    for n, value in left.items():
        total = _sum(total, {n + m: value * other for m, other in right.items()})
    return total


def _power(series: Series, exponent: int) -> Series:
    if len(series) == 1:
        ((n, value),) = series.items()
        return {n * exponent: value**exponent if exponent > 0 else 1 / value**-exponent}
    if exponent < 1:
        raise UnknownExpression("one over a sum")
    return series if exponent == 1 else _product(series, _power(series, exponent - 1))


def harmonic(expression: str, x: str) -> Harmonic:
    """An expression as a harmonic energy of x, with or without a period.

    Raises:
        UnknownExpression: If it is none.
    """
    distance = rf"{x}-(?P<centre>{OPERAND})"
    again, pi = re.escape(x) + "-(?P=centre)", f"(?P<pi>{NUMBER})"
    forms = (
        rf"\({distance}\)",
        rf"min\(\(abs\({distance}\)\),2\*{pi}-\(abs\({again}\)\)\)",
        rf"\(\(step\(-\({distance}\+{pi}\)\)\*2\*(?P=pi)\+{x}"
        rf"\+step\({again}-(?P=pi)\)\*\(-2\*(?P=pi)\)\)-(?P=centre)\)",
    )
    start = rf"(?:(?P<factor>{NUMBER})\*)?(?P<stiffness>{OPERAND})\*"
    plain = _without_definitions(expression)
    for form in forms:
        if found := re.fullmatch(rf"{start}{form}\^2", plain):
            parts = found.groupdict()
            period = 2 * float(parts.get("pi", "inf"))
            return Harmonic(
                float(parts["factor"] or 1), parts["stiffness"], parts["centre"], period
            )
    raise UnknownExpression(expression)


def _without_definitions(expression: str) -> str:
    """The main expression with what is defined in the place of its name."""
    main, definitions = split(expression)
    for name, definition in definitions.items():
        whole = definition if re.fullmatch(OPERAND, definition) else f"({definition})"
        main = re.sub(rf"\b{name}\b", whole, main)
    return main
