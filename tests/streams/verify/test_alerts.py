"""Alerts are verified like any row; where a model is gone or scores apart, those of rules that look at scores cannot be."""

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


def test_alerts_of_scores_are_not_compared_where_the_provider_may_score_a_little_apart() -> None:
    live = {"m1": ConstantModel(0.6, "m1"), "m2": ConstantModel(0.500_005, "m2")}
    history = History(log_of(), models=dict(live), scored_by=((0, "m1"), (700, "m2"))).serve()
    of_scores = sum(row["rule"] == "s" for row in history.served.tables["alerts"])
    history.models |= {"m1": ConstantModel(0.600_004, "m1"), "m2": ConstantModel(0.500_001, "m2")}
    assert history.verify(newest=None).wrong > 0
    verdict = history.verify(newest=None, tolerance=1e-5)
    assert verdict.clean
    assert [(key[:2], count) for key, count in verdict.not_compared.items()] == [(("alerts", "id"), of_scores)]
    history.served.tables["alerts"] = [row for row in history.served.tables["alerts"] if row["rule"] != "r"]
    assert history.verify(newest=None, tolerance=1e-5).lost > 1
