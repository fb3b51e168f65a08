"""Alerts are verified like any row; where a model is gone, those of rules that look at scores cannot be."""

from tests.fakes import ConstantModel
from tests.streams.verify.history import History, log_of


def test_alerts_of_scores_are_compared_as_long_as_their_model_is_there_and_the_others_always() -> None:
    models = {"m1": ConstantModel(0.6, "m1"), "m2": ConstantModel(0.7, "m2")}
    history = History(log_of(), models=dict(models), scored_by=((0, "m1"), (700, "m2"))).serve()
    said = history.served.tables["alerts"]
    assert {row["rule"] for row in said} == {"r", "s"}
    assert history.verify(newest=None).clean
    history.served.tables["alerts"] = [row for row in said if row["rule"] != "s"]
    lost = history.verify(newest=None).lost
    assert lost == sum(row["rule"] == "s" for row in said) > 1
    del history.models["m1"]
    assert history.verify(newest=None).clean
    history.served.tables["alerts"] = [row for row in said if row["rule"] != "r"]
    assert history.verify(newest=None).lost == sum(row["rule"] == "r" for row in said) > 1
