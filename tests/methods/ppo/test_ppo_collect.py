"""Stage 1: which prompts, which seeds, and who is told of an answer as soon as it is done."""

from collections import Counter

import pytest
import torch
from byhand import experience
from hypothesis import given
from hypothesis import strategies as st
from toy import ToyLanguage

from steersman.batches import TokenRow
from steersman.methods.ppo.collect import Asking, collect, prompts_of_iteration
from steersman.methods.ppo.records import collate
from steersman.records import Prompt
from steersman.rollout.batch import Rollout, RolloutBatch
from steersman.rollout.engine import Sampling, sample_seed

CPU = torch.device("cpu")


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 6))
def test_over_whole_epochs_every_prompt_is_asked_as_often_as_the_others(count: int, size: int, epochs: int):
    iterations = count * epochs
    asked = Counter(i for n in range(iterations) for i in prompts_of_iteration(count, size, seed=3, iteration=n))
    assert asked == dict.fromkeys(range(count), size * epochs)


def test_an_epoch_is_cut_into_iterations_without_a_prompt_twice():
    parts = [prompts_of_iteration(6, 2, seed=1, iteration=n) for n in range(6)]
    assert sorted(i for part in parts[:3] for i in part) == list(range(6))
    assert parts[:3] != parts[3:], "the next epoch has another order"
    assert parts == [prompts_of_iteration(6, 2, seed=1, iteration=n) for n in range(6)]
    assert parts != [prompts_of_iteration(6, 2, seed=2, iteration=n) for n in range(6)]
    # an iteration across two epochs takes the rest of the one and the beginning of the other
    assert prompts_of_iteration(6, 4, seed=1, iteration=1) == [*parts[2], *parts[3]]


class Engine:
    """Answers every prompt with its seed, one after the other."""

    version = 0

    def __init__(self) -> None:
        self.on_answer = None
        self.asked: list[tuple] = []

    def generate(self, prompts, sampling, *, samples=1, seeds, on_token=None):
        self.asked.append((prompts, samples, list(seeds)))
        found, said = [], torch.tensor([-1.0, -1.0])
        for i, prompt in enumerate(prompts):
            for number in range(samples):
                one = Rollout(i, number, tuple(prompt), (i, number), said, said, "end", 0, 0)
                found.append(one)
                if self.on_answer is not None:
                    self.on_answer(one)
        return RolloutBatch.of(found)

    def load_weights(self, state, version) -> None: ...


PROMPTS = [Prompt(text="a"), Prompt(text="b")]


def asking(purpose: str = "train", samples: int = 2) -> Asking:
    return Asking(Sampling(4, 1.0), samples, 7, purpose)


def test_an_answer_s_seed_follows_from_the_run_its_iteration_its_place_and_its_purpose():
    engine = Engine()
    samples = collect(PROMPTS, engine, ToyLanguage(), asking(), iteration=5)
    (_, count, seeds) = engine.asked[0]
    assert count == 2
    assert seeds == [
        sample_seed(7, 5, f"train/{place}/{prompt.id}", number)
        for place, prompt in enumerate(PROMPTS)
        for number in (0, 1)
    ]
    assert len(set(seeds)) == 4
    assert [(one.turns, one.given_score, one.offsets) for one in samples] == [(1, None, None)] * 4
    assert [(one.prompt.text, one.text) for one in samples] == [("a", "00"), ("a", "01"), ("b", "10"), ("b", "11")]
    collect(PROMPTS, engine, ToyLanguage(), asking("held-out"), iteration=5)
    assert not set(seeds) & set(engine.asked[1][2])


def test_an_answer_is_told_on_as_soon_as_it_is_done_and_not_after():
    engine, heard = Engine(), []
    collect(PROMPTS, engine, ToyLanguage(), asking(), iteration=0, ahead=heard.append)
    assert [(item[0].text, item[1]) for (item,) in heard] == [("a", "00"), ("a", "01"), ("b", "10"), ("b", "11")]
    assert engine.on_answer is None
    collect(PROMPTS, engine, ToyLanguage(), asking(), iteration=0)
    assert len(heard) == 4


def test_who_is_told_is_forgotten_even_if_the_engine_fails():
    engine = Engine()

    def failing(item) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        collect(PROMPTS, engine, ToyLanguage(), asking(), iteration=0, ahead=failing)
    assert engine.on_answer is None


def answer(*advantages: float):
    count = len(advantages)
    return experience(advantages=list(advantages), returns=[1.0] * count, values=[0.5] * count, old=[-1.0] * count)


def batched(units, *, both_kinds: bool = False):
    return collate(units, pad_id=9, device=CPU, pad_multiple=1, both_kinds=both_kinds)


TEXT = TokenRow(torch.tensor([1, 2, 3]), torch.tensor([False, True, True]))


def test_answers_and_texts_go_into_a_batch_of_their_own_kind():
    batch = batched([answer(1.0, 2.0), TEXT, answer(3.0)])
    assert batch.advantages.tolist() == [1.0, 2.0, 3.0]
    assert batch.old_values.tolist() == [0.5] * 3
    assert batch.answers.ids.shape[0] == 2
    assert batch.pretraining.ids.tolist() == [[1, 2, 3]]
    assert (batch.answers_count, batch.texts_count) == (1.0, 1.0)
    assert batch.positions == batch.answers.positions + 3


def test_a_kind_that_is_missing_is_none_and_counts_nothing():
    texts, answers = batched([TEXT]), batched([answer(1.0)])
    assert (texts.answers, texts.answers_count, texts.texts_count, texts.positions) == (None, 0.0, 1.0, 3)
    assert texts.advantages.tolist() == []
    assert (answers.pretraining, answers.answers_count, answers.texts_count) == (None, 1.0, 0.0)


def test_where_both_kinds_are_asked_for_an_idle_row_stands_for_the_missing_one():
    texts, answers = batched([TEXT], both_kinds=True), batched([answer(1.0, 2.0)], both_kinds=True)
    assert texts.answers.ids.tolist() == answers.pretraining.ids.tolist() == [[9, 9]]
    assert texts.answers.loss_mask.tolist() == answers.pretraining.loss_mask.tolist() == [[False, True]]
    assert (texts.answers_count, texts.texts_count) == (0.0, 1.0)
    assert texts.advantages.tolist() == texts.returns.tolist() == texts.old_log_probs.tolist() == [0.0]
    assert (answers.answers_count, answers.texts_count) == (1.0, 0.0)
    assert answers.advantages.tolist() == [1.0, 2.0]


def test_values_are_there_for_all_answers_or_for_none():
    without = experience(advantages=[1.0], returns=[1.0], values=None, old=[-1.0])
    assert batched([without]).old_values is None
    assert batched([answer(1.0), without]).old_values is None
