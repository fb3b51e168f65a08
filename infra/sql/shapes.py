"""Which nodes a parsed statement may have, and which parts of each; a part that is not named here is refused."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from sqlglot import exp

from infra.sql.vocabulary import HIGHER_ORDER, INTERVALS
from schemas.errors import QueryRefused

_BINARY: Final = (
    exp.Add, exp.And, exp.DPipe, exp.Div, exp.EQ, exp.GT, exp.GTE, exp.Is, exp.LT, exp.LTE, exp.Mod, exp.Mul, exp.NEQ,
    exp.Or, exp.Sub,
)  # fmt: skip
_WITH_THIS: Final = (exp.Final, exp.From, exp.Having, exp.Neg, exp.Not, exp.Paren, exp.PreWhere, exp.Qualify, exp.Where)
_LISTS: Final = (exp.Array, exp.Distinct, exp.Order, exp.Tuple, exp.With)
_SETS: Final = (exp.Except, exp.Intersect, exp.Union)
_CALLS: Final = (exp.Anonymous, exp.AnonymousAggFunc, exp.CombinedAggFunc)
_CALLS_WITH_PARAMETERS: Final = (exp.CombinedParameterizedAgg, exp.ParameterizedAgg)
CALLS: Final = (*_CALLS, *_CALLS_WITH_PARAMETERS)

PARTS: Final[Mapping[type[exp.Expr], frozenset[str]]] = {
    **dict.fromkeys(_BINARY, frozenset({"this", "expression", "typed", "safe"})),
    **dict.fromkeys(_WITH_THIS, frozenset({"this"})),
    **dict.fromkeys(_LISTS, frozenset({"expressions"})),
    **dict.fromkeys(_SETS, frozenset({"this", "expression", "distinct", "with_", "order", "limit", "offset"})),
    **dict.fromkeys(_CALLS, frozenset({"this", "expressions"})),
    **dict.fromkeys(_CALLS_WITH_PARAMETERS, frozenset({"this", "expressions", "params"})),
    exp.Alias: frozenset({"this", "alias"}),
    exp.Between: frozenset({"this", "low", "high"}),
    exp.Boolean: frozenset({"this"}),
    exp.Bracket: frozenset({"this", "expressions", "offset"}),
    exp.CTE: frozenset({"this", "alias", "scalar"}),
    exp.Case: frozenset({"this", "ifs", "default"}),
    exp.Cast: frozenset({"this", "to"}),
    exp.Column: frozenset({"this", "table"}),
    exp.DataType: frozenset({"this", "expressions", "nested", "nullable"}),
    exp.DataTypeParam: frozenset({"this"}),
    exp.Group: frozenset({"expressions", "all"}),
    exp.Identifier: frozenset({"this", "quoted"}),
    exp.If: frozenset({"this", "true", "false"}),
    exp.In: frozenset({"this", "expressions", "query"}),
    exp.Interval: frozenset({"this", "unit"}),
    exp.Join: frozenset({"this", "on", "using", "side", "kind"}),
    exp.Lambda: frozenset({"this", "expressions"}),
    **dict.fromkeys((exp.ILike, exp.Like), frozenset({"this", "expression", "negate"})),
    exp.Limit: frozenset({"expression", "expressions"}),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Null: frozenset(),
    exp.Offset: frozenset({"expression"}),
    exp.Ordered: frozenset({"this", "desc", "nulls_first"}),
    exp.Select: frozenset(
        {
            "with_", "distinct", "expressions", "from_", "joins", "prewhere", "where", "group", "having", "qualify", "order",
            "limit", "offset",
        }
    ),
    exp.Star: frozenset({"except_"}),
    exp.Subquery: frozenset({"this", "alias"}),
    exp.Table: frozenset({"this", "db", "alias"}),
    exp.TableAlias: frozenset({"this"}),
    exp.Var: frozenset({"this"}),
    exp.Window: frozenset({"this", "partition_by", "order", "spec", "over"}),
    exp.WindowSpec: frozenset({"kind", "start", "start_side", "end", "end_side"}),
}  # fmt: skip
_NUMBER: Final = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FRAME: Final = frozenset({"ROWS", "RANGE", "UNBOUNDED", "CURRENT ROW", "PRECEDING", "FOLLOWING"})
_JOINS: Final = frozenset({"", "INNER", "OUTER", "CROSS", "ASOF", "ANY", "ALL", "SEMI", "ANTI"})
_SIDES: Final = frozenset({"", "LEFT", "RIGHT", "FULL"})


def refuse_foreign(node: exp.Expr) -> None:
    """QueryRefused where a node, or a part of it, is none that we know."""
    parts = PARTS.get(type(node))
    if parts is None:
        raise QueryRefused(f"{_called(node)} is not allowed here: {_shown(node)}")
    for name, value in node.args.items():
        if name not in parts and value not in (None, False, [], ""):
            raise QueryRefused(f"{name.strip('_').upper()} in {_called(node)} is not allowed here: {_shown(node)}")
    further = _FURTHER.get(type(node))
    if further is not None:
        further(node)


def _select(node: exp.Expr) -> None:
    if not node.expressions:
        raise QueryRefused("expected columns behind SELECT")


def _join(node: exp.Expr) -> None:
    """A join says how; ClickHouse's ARRAY, PASTE and GLOBAL joins are none of ours."""
    kind, side = str(node.args.get("kind") or "").upper(), str(node.args.get("side") or "").upper()
    if kind not in _JOINS or side not in _SIDES:
        raise QueryRefused(f"{kind or side} JOIN is not allowed; join by INNER, LEFT, RIGHT, FULL, CROSS or ASOF")
    if not (node.args.get("on") or node.args.get("using") or kind == "CROSS"):
        raise QueryRefused("tables after a comma are not allowed; say JOIN … ON, or CROSS JOIN")


def _in(node: exp.Expr) -> None:
    """A bare name behind IN would be the name of a table, of any database."""
    for value in node.args.get("expressions") or ():
        if value.find(exp.Column, exp.Table):
            raise QueryRefused(f"IN takes constants or a subquery, found {_shown(value)}")


def _call(node: exp.Expr) -> None:
    """A bare name as a function's function would be any function of the engine."""
    if str(node.this).lower() in _HIGHER_ORDER and len(node.expressions) > 1:
        if not isinstance(node.expressions[0], exp.Lambda):
            raise QueryRefused(f"the first of several arguments of {node.this} is a lambda such as x -> x + 1")
    elif any(isinstance(argument, exp.Lambda) for argument in node.expressions):
        raise QueryRefused(f"{node.this} takes no lambda")


def _type(node: exp.Expr) -> None:
    if isinstance(node.this, exp.Expr) or any(isinstance(one, exp.Column) for one in node.expressions):
        raise QueryRefused(f"{_shown(node)} is no type that we know")


def _var(node: exp.Expr) -> None:
    if str(node.this).upper() not in INTERVALS:
        raise QueryRefused(f"{_shown(node)} is not allowed here; intervals are in {', '.join(sorted(INTERVALS))}")


def _frame(node: exp.Expr) -> None:
    for value in node.args.values():
        if value is not None and not (isinstance(value, exp.Literal) or str(value).upper() in _FRAME):
            raise QueryRefused(f"a window's frame is of numbers, UNBOUNDED and CURRENT ROW, found {value}")


def _over(node: exp.Expr) -> None:
    if str(node.args.get("over") or "OVER").upper() != "OVER":
        raise QueryRefused("a window is said with OVER (…)")


def _name(node: exp.Expr) -> None:
    """Names of letters, digits and underscores need no escapes, in no dialect."""
    text = str(node.this)
    if not (text.isascii() and text.isidentifier() and len(text) <= 64):
        raise QueryRefused(
            f"the name {text[:70]!r} is not allowed; names are letters, digits and underscores, 64 at most"
        )


def _literal(node: exp.Expr) -> None:
    if not node.args["is_string"] and _NUMBER.fullmatch(str(node.this)) is None:
        raise QueryRefused(f"expected a number such as 1, 0.5 or 1e-3, found {str(node.this)[:80]}")


def _limit(node: exp.Expr) -> None:
    if not all(isinstance(part, exp.Literal) for name, part in node.args.items() if name == "expression" and part):
        raise QueryRefused(f"LIMIT and OFFSET take a number, found {_shown(node)}")


_HIGHER_ORDER: Final = frozenset(name.lower() for name in HIGHER_ORDER)
_FURTHER: Final[Mapping[type[exp.Expr], Callable[[exp.Expr], None]]] = {
    exp.Select: _select, exp.Join: _join, exp.In: _in, exp.Var: _var, exp.WindowSpec: _frame, exp.Window: _over,
    exp.Identifier: _name, exp.Literal: _literal, exp.Limit: _limit, exp.Offset: _limit, exp.DataType: _type,
    **dict.fromkeys(CALLS, _call),
}  # fmt: skip


def _called(node: exp.Expr) -> str:
    return type(node).__name__.upper()


def _shown(node: exp.Expr) -> str:
    text = node.sql(dialect="clickhouse", comments=False)
    return text if len(text) <= 80 else text[:77] + "…"
