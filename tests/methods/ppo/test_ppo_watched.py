"""What the watch is shown of an iteration, and what is done about its report."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from byhand import sample, scored

from steersman.methods.ppo.memory import Memory
from steersman.methods.ppo.watched import act, facts_to_restore, finding_rows, numbers, seen, sentence, stops
from steersman.reward.conservative import BEFORE
from steersman.watch.records import Action, Finding, WatchMemory, WatchReport


class Doubling:
    restores = True

    def look(self, answers: Any, memory: Any, *, iteration: int) -> Any: ...

    def paying(self, scorer: Any, memory: Any) -> Any:
        return scorer

    def raised(self, coefficient: float) -> float:
        return 2 * coefficient


def report(*actions: Action, findings: Sequence[Finding] = (), **measured: float) -> WatchReport:
    return WatchReport(measured, findings, actions, best=False)


def found(action: Action) -> Finding:
    return Finding(3, "kl", 6.25, 5.0, "the policy is far", action, ())


def test_an_answer_is_shown_with_its_own_score_and_its_distance():
    one = scored(kl=[0.5, -0.25], values=None, score=9.0)
    one = replace(one, raw_score=2.0, parts={"a": 1.0}, entropies=torch.tensor([1.0, 2.0]))
    (shown,) = seen([one])
    assert (shown.prompt.text, shown.text, shown.tokens, shown.ended) == ("?", "answer", 2, True)
    assert (shown.score, shown.parts, shown.kl, shown.entropy) == (2.0, {"a": 1.0}, 0.25, 1.5)


def test_a_score_that_is_paid_conservatively_is_shown_as_it_was_before():
    one = replace(scored(kl=[0.0], values=None, score=9.0), raw_score=2.0, parts={BEFORE: 5.0})
    assert seen([one])[0].score == 5.0


def test_an_answer_that_was_cut_off_or_has_no_tokens_is_shown_as_such():
    one = scored(kl=[0.0], values=None, score=0.0)
    cut = replace(one, sample=sample(1, finish="length"))
    assert not seen([cut])[0].ended
    none = torch.zeros(0)
    empty = replace(one, token_rewards=none, kl=none, entropies=none, old_log_probs=none, reference_log_probs=none)
    (shown,) = seen([empty])
    assert (shown.tokens, shown.kl, shown.entropy) == (0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("actions", "coefficient", "conservative", "restored", "ends"),
    [
        ((), 0.5, False, False, False),
        (("warn",), 0.5, False, False, False),
        (("raise-kl",), 1.0, False, False, False),
        (("conservative",), 0.5, True, False, False),
        (("stop",), 0.5, False, False, True),
        (("restore",), 0.5, False, True, True),
        (("conservative", "raise-kl"), 1.0, True, False, False),
    ],
)
def test_each_action_does_what_it_says(actions, coefficient, conservative, restored, ends):
    memory = WatchMemory()
    assert act(report(*actions), Doubling(), memory, 0.5) == coefficient
    assert (memory.conservative, memory.restored, stops(report(*actions))) == (conservative, restored, ends)


def test_without_a_watch_nothing_is_kept_counted_or_ended():
    assert (facts_to_restore(None, Memory(0.5)), numbers(None), stops(None)) == ({}, {}, False)
    silent = Doubling()
    silent.restores = False
    assert facts_to_restore(silent, Memory(0.5)) == {}
    assert facts_to_restore(Doubling(), Memory(0.5)) == Memory(0.5).facts()
    assert numbers(report(gap=0.5)) == {"watch gap": 0.5}


def test_a_finding_is_a_sentence_and_a_row():
    begin = "watch, kl 6.25 (limit 5): the policy is far"
    assert sentence(found("warn")) == begin
    assert sentence(found("raise-kl")) == begin + ". The KL coefficient is raised"
    assert sentence(found("stop")) == begin + ". The run ends here"
    (row,) = finding_rows(report("stop", findings=[found("stop")]))
    assert (row["step"], row["detector"], row["value"], row["action"]) == (3, "kl", 6.25, "stop")
