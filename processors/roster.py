"""Which models score, from the log alone: every change is in force from the record behind the one that says it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from processors.scores import CHALLENGERS, NO_MODEL, ONLINE, LineUp, Model
from schemas.control import REMOTE, ModelChange

KEPT: Final = 16
"""So many changes of the serving model can be taken back."""
ONLY_CHALLENGES: Final = "{} is scored by a server, which clients cannot wait for; it may only challenge"
Load: TypeAlias = Callable[[str], Model | None]
"""A model by its id; None where it cannot be used."""


def no_models(_: str) -> None:
    """Nothing but the model that the fold was given."""


class Served(msgspec.Struct, frozen=True, array_like=True):
    """What clients see. champion: `online` or `onnx`; onnx: id of that model, empty for the one that the fold was given as
    long as the log names none."""

    champion: str
    onnx: str = ""


class Roster(msgspec.Struct, frozen=True, array_like=True):
    """What the changes so far come to; `out`: models that are never used again."""

    served: Served
    before: tuple[Served, ...] = ()
    challengers: tuple[str, ...] = ()
    """By place, which they keep; empty for a free one."""
    out: tuple[str, ...] = ()

    @classmethod
    def start(cls, champion: str) -> "Roster":
        """Before any change."""
        return cls(Served(champion), (), ("",) * CHALLENGERS, ())


@dataclass(frozen=True, slots=True)
class Turn:
    """One change and what came of it: `refused` says why it changed nothing."""

    change: ModelChange
    roster: Roster
    refused: str = ""


def turned(roster: Roster, change: ModelChange, load: Load, given: str) -> Turn:
    """The roster after a change. given: id of the model that the fold was given."""
    model = change.model
    if change.action in ("promote", "challenge"):
        if model in roster.out:
            return Turn(change, roster, f"{model} is quarantined")
        if change.action == "promote" and model.startswith(REMOTE):
            return Turn(change, roster, ONLY_CHALLENGES.format(model))
        if model not in (ONLINE, given) and load(model) is None:
            return Turn(change, roster, f"{model} is not among the models here, or cannot be used")
    if change.action == "promote":
        return Turn(change, _promoted(roster, model, given))
    if change.action == "challenge":
        return _challenged(roster, change, given)
    if change.action == "retire":
        if model not in roster.challengers:
            return Turn(change, roster, f"{model} is no challenger")
        return Turn(change, _without(roster, model))
    if change.action == "rollback":
        serves = _serving(roster.served, given)
        if serves != model:
            return Turn(change, roster, f"{model} does not serve, {serves} does")
        if not roster.before:
            return Turn(change, roster, f"nothing served before {model}")
        fallen = _fallen_back(roster, given)
        before = _serving(fallen.served, given)
        if before not in (ONLINE, given) and load(before) is None:
            return Turn(
                change, roster, f"{before}, which served before {model}, is gone or cannot be used; promote another"
            )
        return Turn(change, fallen)
    return Turn(change, quarantined(roster, model, given))


def quarantined(roster: Roster, model: str, given: str) -> Roster:
    """Never to be used again; where it serves, what served before it does."""
    roster = msgspec.structs.replace(_without(roster, model), out=(*roster.out, model))
    roster = msgspec.structs.replace(
        roster, before=tuple(each for each in roster.before if _serving(each, given) not in roster.out)
    )
    return _fallen_back(roster, given) if _serving(roster.served, given) == model and roster.before else roster


def line_up(roster: Roster, given: str) -> LineUp:
    """Who scores, by name."""
    onnx = roster.served.onnx or given
    return LineUp(
        roster.served.champion,
        onnx if onnx and onnx not in roster.out else NO_MODEL,
        tuple(each if each not in roster.out else "" for each in roster.challengers),
    )


def _serving(served: Served, given: str) -> str:
    return ONLINE if served.champion == ONLINE else served.onnx or given


def _promoted(roster: Roster, model: str, given: str) -> Roster:
    now = Served(ONLINE, roster.served.onnx) if model == ONLINE else Served("onnx", model)
    if _serving(roster.served, given) == model:
        return msgspec.structs.replace(roster, served=now)  # by its name from now on, whatever the fold is given later
    kept = () if _serving(roster.served, given) in roster.out else (roster.served,)
    return msgspec.structs.replace(_without(roster, model), served=now, before=(*roster.before, *kept)[-KEPT:])


def _challenged(roster: Roster, change: ModelChange, given: str) -> Turn:
    model = change.model
    if model in (ONLINE, roster.served.onnx or given, *roster.challengers):
        return Turn(change, roster, f"{model} scores already")
    if "" not in roster.challengers:
        return Turn(change, roster, f"{CHALLENGERS} challengers score already; retire one")
    places = list(roster.challengers)
    places[places.index("")] = model
    return Turn(change, msgspec.structs.replace(roster, challengers=tuple(places)))


def _without(roster: Roster, model: str) -> Roster:
    places = tuple("" if each == model else each for each in roster.challengers)
    return msgspec.structs.replace(roster, challengers=places)


def _fallen_back(roster: Roster, given: str) -> Roster:
    """What served before serves again; where it had been challenging meanwhile, its place is free."""
    roster = msgspec.structs.replace(roster, served=roster.before[-1], before=roster.before[:-1])
    return _without(roster, roster.served.onnx or given)
