"""The class that means toxic, as published classifiers and our own name it."""

import pytest

from steersman.errors import ModelError
from steersman.models.toxic_class import toxic_class


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("not toxic", "toxic"), ("toxic", False)),
        (("neutral", "TOXIC"), ("TOXIC", False)),
        (("nothate", "hate"), ("hate", False)),
        (("toxic", "severe_toxic", "obscene"), ("toxic", False)),
        (("bad", "not_toxic"), ("not_toxic", True)),
    ],
)
def test_the_class_is_told_from_its_name(classes, expected):
    assert toxic_class(classes, None, "m") == expected


def test_a_class_may_be_named_and_must_be_where_no_name_tells():
    assert toxic_class(("LABEL_0", "LABEL_1"), "label_1", "m") == ("LABEL_1", False)
    with pytest.raises(ModelError, match=r"no class whose name means toxic; its classes are neg, pos.*toxicity\.label"):
        toxic_class(("neg", "pos"), None, "m")
    with pytest.raises(ModelError, match="no class 'rude'; its classes are neg, pos"):
        toxic_class(("neg", "pos"), "rude", "m")
