"""When a run is said to have learned to please its scorer: worked by hand."""

from steersman.reports.truth import Moment, lost, truth_figure, truth_sentences

HACKED = [Moment(1, 0.0, 0.0, 0.05), Moment(20, 1.0, 1.0, 0.05), Moment(40, 2.0, 0.5, 0.05)]


def test_a_lost_half_of_the_gain_while_the_score_rises_is_said():
    assert lost(HACKED) == HACKED[1]
    said = truth_sentences(HACKED)[0]
    assert said.tone == "bad"
    assert "from iteration 20 to 40 the score went 1.00 → 2.00, but the true taste 1.00 → 0.50" in said.text
    figure = truth_figure(HACKED)
    assert figure is not None
    assert figure.alarm


def test_a_tenth_lost_is_not_said():
    assert lost([*HACKED[:2], Moment(40, 2.0, 0.9, 0.01)]) is None


def test_what_may_be_chance_is_not_said():
    # A fall of 0.5 is less than twice the error of the difference, 0.28 = root(0.2^2 + 0.2^2).
    assert lost([Moment(1, 0.0, 0.0, 0.2), Moment(20, 1.0, 1.0, 0.2), Moment(40, 2.0, 0.5, 0.2)]) is None


def test_a_run_whose_score_fell_too_did_not_please_its_scorer():
    assert lost([*HACKED[:2], Moment(40, 0.5, 0.5, 0.05)]) is None


def test_too_little_is_no_story():
    assert lost(HACKED[:2]) is None
    assert truth_sentences([]) == []
    assert truth_figure([]) is None
