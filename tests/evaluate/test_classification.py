"""What is said of a classifier, against scikit-learn and worked by hand."""

import numpy as np
import pytest
from sklearn import metrics

from steersman.errors import DataError
from steersman.evaluate.classification import f1_score, lines_of_classifier, measure_classifier
from steersman.maths.statistics import bootstrap_interval


@pytest.mark.parametrize("seed", range(4))
def test_the_figures_are_those_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    labels = (random.random(300) < 0.3).astype(int)
    # rounded, so that some are equal
    said = np.round(np.clip(0.4 * labels + 0.7 * random.random(300), 0.01, 0.99), 2)
    found, called = measure_classifier(said.tolist(), labels.tolist()), said >= 0.5
    assert found.accuracy.estimate == pytest.approx(metrics.accuracy_score(labels, called))
    assert found.f1.estimate == pytest.approx(metrics.f1_score(labels, called))
    assert found.precision is not None
    assert found.recall is not None
    assert found.precision.estimate == pytest.approx(metrics.precision_score(labels, called))
    assert found.recall.estimate == pytest.approx(metrics.recall_score(labels, called))
    assert found.auc == pytest.approx(metrics.roc_auc_score(labels, said))
    assert found.loss == pytest.approx(metrics.log_loss(labels, said))
    assert found.f1.low < found.f1.estimate < found.f1.high
    assert found.largest == pytest.approx(1 - labels.mean())


def test_six_texts_by_hand():
    # called: 1 1 0 0 1 0; right: the first two, the fourth and the last, so 4 of 6; of 3 called 2 are toxic, of 3 toxic
    # 2 are called
    found = measure_classifier([0.9, 0.6, 0.2, 0.4, 0.7, 0.1], [1, 1, 1, 0, 0, 0])
    assert found.accuracy.estimate == pytest.approx(4 / 6)
    assert found.precision is not None
    assert found.recall is not None
    assert (found.precision.estimate, found.recall.estimate) == pytest.approx((2 / 3, 2 / 3))
    assert found.f1.estimate == pytest.approx(2 / 3)
    # pairs (toxic, not) in order: .9 beats all 3; .6 beats .4 and .1; .2 beats .1: 6 of 9
    assert found.auc == pytest.approx(6 / 9)
    assert any("F1 66.7%" in line for line in lines_of_classifier(found, "toxic"))


def test_one_class_alone_has_no_auc_and_nothing_called_has_no_precision():
    found = measure_classifier([0.1, 0.2, 0.3], [0, 0, 0])
    assert (found.auc, found.precision, found.recall, found.f1.estimate) == (None, None, None, 0.0)
    assert found.as_dict()["auc"] is None
    with pytest.raises(DataError, match="expected at least 2"):
        measure_classifier([0.5], [1])


@pytest.mark.slow
def test_the_f1_interval_covers_as_often_as_it_says():
    random, covered = np.random.default_rng(0), 0
    # toxic half the time; called with probability .8 if toxic and .2 if not: precision = recall = F1 = .8
    for _ in range(150):
        labels = (random.random(200) < 0.5).astype(int)
        said = np.where(random.random(200) < np.where(labels == 1, 0.8, 0.2), 0.9, 0.1)
        found = measure_classifier(said.tolist(), labels.tolist()).f1
        covered += found.low <= 0.8 <= found.high
    assert 0.89 <= covered / 150 <= 0.99


def test_probabilities_are_compared_with_frequencies_in_ten_bins():
    # two texts in each tenth, one of them of the second class: off by |0.05 - 0.5|, |0.15 - 0.5|, …: 0.25 on average
    said = [tenth / 10 + 0.05 for tenth in range(10) for _ in range(2)]
    found = measure_classifier(said, [0, 1] * 10)
    assert [(one.low, one.high, one.size, one.outcome) for one in found.curve] == [
        (tenth / 10, (tenth + 1) / 10, 2, 0.5) for tenth in range(10)
    ]
    assert found.calibration_error == pytest.approx(0.25)
    assert (found.texts, found.positive, found.largest) == (20, 10, 0.5)


def test_the_f1_interval_is_that_of_2000_resamples_every_time():
    labels = [0, 1, 1, 0, 1, 0, 0, 1, 1, 0]
    said = [0.1, 0.9, 0.4, 0.6, 0.7, 0.2, 0.5, 0.8, 0.3, 0.4]
    rows = np.stack([np.array(said) >= 0.5, np.array(labels)], axis=1).astype(np.float64)
    expected = bootstrap_interval(
        rows, confidence=0.95, resamples=2000, generator=np.random.default_rng(0), statistic=f1_score
    )
    assert measure_classifier(said, labels).f1 == expected
