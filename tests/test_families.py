"""Each feature meets two families of models in `make test`, and over all features every family is met."""

from collections import Counter

from families import PER_TEST, chosen_families

from steersman.models.tiny import FAMILIES


def test_a_feature_meets_the_same_two_families_everywhere():
    chosen = chosen_families("tests/models/test_heads.py::test_values []", FAMILIES)
    assert len(chosen) == PER_TEST
    assert chosen == chosen_families("tests/models/test_heads.py::test_values []", reversed(FAMILIES))
    assert chosen_families("test", ["llama", "gpt2"]) == {"llama", "gpt2"}


def test_many_features_meet_every_family_about_equally_often():
    met = Counter(family for n in range(900) for family in chosen_families(f"feature {n}", FAMILIES))
    assert all(150 < met[family] < 250 for family in FAMILIES)


def test_these_tests_meet_every_family(request):
    parameters = [callspec.params for item in request.session.items if (callspec := getattr(item, "callspec", None))]
    met = Counter(values.get("family") for values in parameters)
    # not when only some folders' tests are run, or only the quick ones
    if len(request.session.items) > 2000 and any(item.get_closest_marker("slow") for item in request.session.items):
        assert all(met[family] >= 4 for family in FAMILIES), met
