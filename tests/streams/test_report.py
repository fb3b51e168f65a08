"""What a scoring process says of itself."""

from processors.roster import LineUp
from streams.report import Report
from tests.fakes import NoMeter
from tests.streams.writers import StepClock


def test_the_newest_challenger_is_the_last_whichever_place_it_took() -> None:
    report = Report("0", "log", [0], {"online": "o", "onnx": "A"}, "", "f", NoMeter(), StepClock(0))
    told = []
    for places in (("B", "", "", ""), ("B", "C", "", ""), ("", "C", "", ""), ("D", "C", "", ""), ("", "", "", "")):
        report._name(LineUp("onnx", "A", places))
        told.append(report.challengers)
    assert told == [["B"], ["B", "C"], ["C"], ["C", "D"], []]
