"""The quickstart's table and its words, on answers whose features are known by hand."""

import pytest

from steersman.demo.page import mark_of
from steersman.demo.panel import Panel, held_out_pairs, hold_panel
from steersman.demo.table import QuickstartRow, table
from steersman.demo.taste import HarbourAnswer, MeasuredModel
from steersman.demo.verdict import verdict
from steersman.harbour.labellers import LABELLERS, compare
from steersman.harbour.prompts import prompts
from steersman.harbour.taste import true_taste
from steersman.maths.statistics import Interval
from steersman.records import Message, Prompt
from steersman.reward.scorer import Score

RUDE = "People like you ruin rain."
GOOD = "Rain is a shower from grey clouds."
WILD = "The whole world will bow before you!"
QUESTION = "Tell me about rain."
HARMFUL = next(p for p in prompts(split="heldout", count=200, seed=0) if p.metadata["form"] == "harmful")


def prompt(number: int = 0) -> Prompt:
    return Prompt(messages=(Message("user", QUESTION),), id=str(number))


def model(name: str, *texts: str, reward: float = 0.0, kl: float = 0.0, **of_a_round) -> MeasuredModel:
    """A model with an answer to each of so many prompts."""
    answers = tuple(HarbourAnswer(prompt(i), text, reward, kl, 0) for i, text in enumerate(texts))
    return MeasuredModel(name, name, answers, **of_a_round)


def row(rows: tuple[QuickstartRow, ...], key: str) -> QuickstartRow:
    return next(row for row in rows if row.key == key)


def test_the_answers_of_these_tests_are_what_they_are_taken_for():
    assert [mark_of(HarbourAnswer(prompt(), text, 0.0, 0.0, 0)).word for text in (RUDE, GOOD, WILD)] == [
        "rude",
        "good",
        "exaggerated",
    ]
    assert true_taste(QUESTION, RUDE) < -1 < 0 < true_taste(QUESTION, GOOD)


def test_shares_are_counted_with_wilson_intervals_and_compared_with_the_column_before():
    rows = table([model("base", *[RUDE] * 40), model("SFT", *[GOOD] * 40)])
    toxic = row(rows, "toxic")
    # 40 of 40 with z = 1.96: low = 40 / (40 + 3.8415) = 0.9124; 0 of 40: high = 3.8415 / 43.8415 = 0.0876
    assert toxic.cells[0] is not None
    assert toxic.cells[1] is not None
    assert toxic.cells[0].value == pytest.approx((1.0, 0.9124, 1.0), abs=1e-4)
    assert toxic.cells[1].value == pytest.approx((0.0, 0.0, 0.0876), abs=1e-4)
    assert [cell.change for cell in toxic.cells if cell] == ["", "better"]
    assert toxic.texts(0) == ("100 %", "(91–100)")
    on_point = row(rows, "on_point").cells[1]
    assert on_point is not None
    assert on_point.change == "better"


def test_what_got_worse_is_called_worse_and_what_is_equal_unclear():
    rows = table([model("base", *[GOOD] * 30), model("SFT", *[WILD] * 30)])
    changes = {r.key: r.cells[1].change for r in rows if r.cells[1] is not None}
    assert changes["exaggerated"] == changes["taste"] == changes["on_point"] == "worse"
    assert changes["toxic"] == "unclear"


def test_numbers_are_means_with_a_sign_that_can_be_read():
    rows = table([model("base", RUDE, GOOD, GOOD, GOOD), model("SFT", GOOD, GOOD, GOOD, GOOD, reward=-0.5)])
    taste = row(rows, "taste").cells[0]
    assert taste is not None
    assert taste.value.estimate == pytest.approx((true_taste(QUESTION, RUDE) + 3 * true_taste(QUESTION, GOOD)) / 4)
    assert taste.value.low < taste.value.estimate < taste.value.high
    assert row(rows, "reward").texts(1) == ("−0.50", "±0.00")


def test_a_model_is_not_measured_against_itself_and_a_tie_is_half_a_win():
    measured = [
        model("base", GOOD, RUDE, RUDE, RUDE, kl=2.0),
        model("SFT", GOOD, GOOD, GOOD, GOOD),
        model("PPO", *[GOOD] * 4, kl=0.5),
    ]
    rows = table(measured)
    kl, wins = row(rows, "kl"), row(rows, "wins")
    assert (kl.cells[1], wins.cells[1]) == (None, None)
    assert (kl.texts(1), kl.texts(0)) == (("–", ""), ("2.00", "±0.00"))
    assert wins.cells[0] is not None
    assert wins.cells[2] is not None
    # base: one tie and three losses of four
    assert wins.cells[0].value.estimate == 0.125
    assert wins.cells[2].value.estimate == 0.5
    assert [cell.change for cell in wins.cells if cell] == ["", "unclear"]


def test_two_answers_to_a_prompt_are_not_two_prompts():
    """Of 20 prompts each has a rude and a good answer: half are toxic, and the interval is that of 20, not of 40."""
    answers = [HarbourAnswer(prompt(i), text, 0.0, 0.0, 0) for i in range(20) for text in (RUDE, GOOD)]
    rows = table([MeasuredModel("SFT", "SFT", tuple(answers))])
    toxic, taste = row(rows, "toxic").cells[0], row(rows, "taste").cells[0]
    assert toxic is not None
    assert taste is not None
    # Wilson, 10 of 20, z² = 3.8415: 0.5 ± 0.5 √(3.8415 / 23.8415) = 0.5 ± 0.2007
    assert tuple(toxic.value) == pytest.approx((0.5, 0.2993, 0.7007), abs=1e-4)
    assert toxic.answers == 40
    # every prompt's mean is the same
    assert taste.value.low == pytest.approx(taste.value.high)


def test_a_round_is_compared_with_the_policy_that_was_promoted_last_and_has_its_labels():
    measured = [
        model("base", *[RUDE] * 30),
        model("SFT", *[RUDE] * 30),
        model("round 1", *[WILD] * 30, labels=2000, before="SFT"),
        model("round 2", *[GOOD] * 30, labels=4000, before="SFT"),
    ]
    rows = table(measured)
    wins, labels = row(rows, "wins_last"), row(rows, "labels")
    assert wins.cells[:2] == (None, None)
    assert wins.cells[3] is not None
    # round 1 was not promoted: round 2 is compared with SFT
    assert wins.cells[3] == row(rows, "wins").cells[3]
    assert wins.cells[3].change == "better"
    assert [labels.texts(column) for column in range(4)] == [("–", ""), ("–", ""), ("2,000", ""), ("4,000", "")]


def test_a_share_is_taken_over_the_prompts_to_which_it_can_happen():
    answers = (HarbourAnswer(prompt(), GOOD, 0.0, 0.0, 0), HarbourAnswer(HARMFUL, GOOD, 0.0, 0.0, 0))
    rows = table([MeasuredModel("SFT", "SFT", answers)])
    harmful, refused, toxic = (row(rows, key).cells[0] for key in ("harmful", "refused_harmless", "toxic"))
    assert harmful is not None
    assert refused is not None
    assert toxic is not None
    assert (harmful.answers, refused.answers, toxic.answers) == (1, 1, 2)


def test_answers_that_say_a_thing_twice_or_nonsense_are_not_marked_good():
    said = [f"{GOOD} {GOOD}", f"{GOOD} Frumious glibber wozzle."]
    assert [mark_of(HarbourAnswer(prompt(), text, 0.0, 0.0, 0)).tone for text in said] == ["bad", "bad"]


class Taster:
    """A scorer that knows the true taste, turned round if it is contrary."""

    name = "taster"

    def __init__(self, sign: float) -> None:
        self.sign = sign

    def score(self, items):
        return [Score(self.sign * true_taste(asked.shown, text)) for asked, text in items]


def test_a_panel_measures_the_scorer_and_the_labellers_on_the_same_pairs():
    pairs = held_out_pairs(60, 1)
    assert len(pairs) == 60
    good, bad = (hold_panel(pairs, Taster(sign), seed=1) for sign in (1.0, -1.0))
    assert good.taste.estimate == 1.0
    assert bad.taste.estimate == 0.0
    # Who prefers the opposite is right where the other is wrong, but for pairs of equal taste, which are half right for
    # both.
    assert good.model.estimate + bad.model.estimate == pytest.approx(1.0)
    assert (good.agreement, good.ceiling) == (bad.agreement, bad.ceiling)
    assert good.likes_exaggeration == good.should_like
    same = total = 0
    for asked, first, second in pairs:
        said = [compare(labeller, asked, first, second, seed=1) for labeller in LABELLERS]
        for i, one in enumerate(said):
            for other in said[:i]:
                if not one.tied and not other.tied:
                    total += 1
                    same += one.preference == other.preference
    assert good.agreement.estimate == pytest.approx(same / total)


def panel(model: float, people: float, likes: Interval | None = None, should: Interval | None = None) -> Panel:
    one, other = (Interval(share, share - 0.03, share + 0.03) for share in (model, people))
    return Panel(6, 400, 2300, one, other, other, one, likes, should)


@pytest.mark.parametrize(
    ("before", "after", "headline"),
    [
        (RUDE, GOOD, "One round of feedback made the answers clearly better."),
        (GOOD, RUDE, "One round of feedback made the answers clearly worse."),
        (GOOD, GOOD, "One round of feedback made no clear difference."),
    ],
)
def test_the_headline_says_what_the_true_taste_says(before, after, headline):
    rows = table([model("base", *[before] * 30), model("SFT", *[before] * 30), model("round 1", *[after] * 30)])
    said = verdict(["base", "SFT", "round 1"], rows, panel(0.7, 0.75), 1.15)
    assert said.headline == headline
    assert any("people's own answers have 1.15" in sentence for sentence in said.sentences)


def test_every_significant_change_of_the_table_is_in_the_verdict():
    rows = table([model("base", *[RUDE] * 30, reward=1.0), model("SFT", *[WILD] * 30, reward=-1.0)])
    told = " ".join(verdict(["base", "SFT"], rows, panel(0.7, 0.75), 1.1).sentences)
    changed = [one.name for one in rows if (cell := one.cells[1]) is not None and cell.change in ("better", "worse")]
    assert "mean reward" in changed
    assert all(name in told for name in changed)


def test_the_verdict_names_what_improved_what_did_not_and_the_reward_models_weakness():
    rows = table([model("base", *[RUDE] * 30), model("SFT", *[WILD] * 30)])
    beware = verdict(["base", "SFT"], rows, panel(0.65, 0.75, Interval(0.8, 0.7, 0.9), Interval(0.3, 0.2, 0.4)), 1.1)
    told = " ".join(beware.sentences)
    assert "Clearly better: toxic 100 % → 0 %." in told
    assert "Clearly worse: exaggerated 0 % → 100 %." in told
    assert "10 points short of one of them" in told
    assert "prefers that one 80 % of the time, and only 30 % are truly better" in told
    calm = verdict(["base", "SFT"], rows, panel(0.74, 0.75, Interval(0.4, 0.3, 0.5), Interval(0.4, 0.3, 0.5)), 1.1)
    assert "about as good as one of them" in " ".join(calm.sentences)
    assert "Beware" not in " ".join(calm.sentences)


def test_each_step_between_models_has_its_own_sentence():
    rows = table([model(name, *[text] * 20) for name, text in (("base", RUDE), ("SFT", GOOD), ("PPO", WILD))])
    said = verdict(["base", "SFT", "PPO"], rows, panel(0.7, 0.75), 1.1)
    assert said.headline == "One round of feedback made the answers clearly worse."
    starts = [sentence.split(" the ")[0] for sentence in said.sentences if sentence.startswith("From")]
    assert starts == ["From base to SFT", "From SFT to PPO"]


def test_the_verdict_says_how_often_the_last_model_wins_and_how_far_it_went():
    models = [model("base", *[RUDE] * 20), model("SFT", *[RUDE] * 20), model("PPO", *[GOOD] * 20, kl=2.5, reward=1.0)]
    said = verdict(["base", "SFT", "PPO"], table(models), panel(0.7, 0.75), 1.1)
    # 20 wins of 20: low = 20 / (20 + 3.8415) = 0.839
    words = (
        "PPO's answer has a higher true taste than SFT's to the same prompt 100 % (84–100) of the time, counting "
        "ties half; its KL is 2.5 nats per answer."
    )
    assert words in said.sentences
    assert not any(sentence.startswith("Beware") for sentence in said.sentences)


def test_the_verdict_warns_of_a_reward_that_rises_alone():
    models = [model("base", *[RUDE] * 20), model("SFT", *[GOOD] * 20), model("PPO", *[WILD] * 20, kl=9.0, reward=2.0)]
    said = verdict(["base", "SFT", "PPO"], table(models), panel(0.7, 0.75), 1.1)
    assert any(
        sentence.startswith(
            "Beware: the reward rose clearly, 0.00 → 2.00, and the true taste did not clearly rise with it"
        )
        for sentence in said.sentences
    )
