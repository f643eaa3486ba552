"""The base can be rebuilt: the same plan gives the same bytes, and the training loop trains."""

import dataclasses
import gzip
import json
import math
import random

import pytest
import torch

from steersman.harbour.build import (
    AHEAD,
    BuildPlan,
    Cycle,
    TrainingHeads,
    batches,
    build,
    fitness_loss,
    foretelling_loss,
    hidden_states,
    next_token_loss,
    padded,
    tokens_of,
)
from steersman.harbour.demonstrations import demonstrations
from steersman.harbour.documents import QUALITIES, TrainingConversation, draw_document
from steersman.harbour.mixes import CALIBRATION, DEFENCE, JUDGEMENT, LANGUAGE
from steersman.harbour.sampling import SamplingPlan, answer_loss, fine_tune, load, write_answers
from steersman.harbour.tokens import COMPARE, END, SECOND, SPECIAL, USER, read, render, train_tokenizer
from steersman.records import Message

pytestmark = pytest.mark.slow

TINY = BuildPlan(
    vocabulary=400,
    tokenizer_documents=300,
    hidden=32,
    feed_forward=48,
    layers=2,
    heads=2,
    cycles=(Cycle(10_000, 1.0, LANGUAGE), Cycle(2_000, 0.5, JUDGEMENT)),
    endings=(Cycle(1_000, 0.3, CALIBRATION), Cycle(1_000, 0.3, DEFENCE)),
    batch_tokens=1024,
    warmup=3,
)


def with_tokens(total: int, **changes) -> BuildPlan:
    return dataclasses.replace(TINY, cycles=(Cycle(total, 1.0, LANGUAGE),), endings=(), **changes)


def first_group(plan: BuildPlan, tokenizer):
    return next(iter(batches(plan, plan.cycles[0], 0, tokenizer)))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    said: list[str] = []
    return folder, build(TINY, folder, said.append), said


def test_the_same_plan_builds_the_same_bytes_and_another_seed_others(tiny, tmp_path):
    _, digest, _ = tiny
    assert build(TINY, tmp_path / "again", lambda _: None) == digest
    assert build(with_tokens(2000, seed=1), tmp_path / "other", lambda _: None) != digest


def test_the_model_is_the_average_of_its_endings(tiny, tmp_path):
    folder, _, _ = tiny
    ends = [dataclasses.replace(TINY, endings=(ending,)) for ending in TINY.endings]
    for number, plan in enumerate(ends):
        build(plan, tmp_path / str(number), lambda _: None)
    weights, first, second = (load(path)[0].state_dict() for path in (folder, tmp_path / "0", tmp_path / "1"))
    for name, weight in weights.items():
        torch.testing.assert_close(weight, (first[name] + second[name]) / 2, rtol=0, atol=1e-7)
    assert not torch.equal(first["lm_head.weight"], second["lm_head.weight"])


def test_building_leaves_the_threads_and_the_mode_of_torch_as_they_were(tiny, tmp_path):
    before = torch.get_num_threads()
    build(with_tokens(1000), tmp_path, lambda _: None)
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_few_steps_of_training_lower_the_loss(tiny):
    folder, _, said = tiny
    assert said[0].endswith("parameters")
    model, tokenizer = load(folder)
    group = first_group(with_tokens(1000, seed=77), tokenizer)
    ids, weights = padded(group, tokenizer.pad_token_id)
    loss = next_token_loss(model, hidden_states(model, ids)[-1], ids, weights).item()
    assert loss < math.log(400) - 0.2  # where an untrained model stands


def test_padding_on_the_right_changes_no_loss(tiny):
    model, tokenizer = load(tiny[0])
    pad = tokenizer.pad_token_id
    group = first_group(with_tokens(1000), tokenizer)[:4]
    ids, weights = padded(group, pad)
    wider = torch.cat([ids, torch.full((len(group), 7), pad)], dim=1)  # pyright: ignore[reportCallIssue]
    more = torch.cat([weights, torch.zeros(len(group), 7)], dim=1)
    one, two = (
        next_token_loss(model, hidden_states(model, each)[-1], each, counts)
        for each, counts in ((ids, weights), (wider, more))
    )
    torch.testing.assert_close(one, two)


def test_the_loss_is_the_weighted_mean(tiny):
    model, tokenizer = load(tiny[0])
    ids, weights = padded(read(tokenizer, [HEARD, SHORT]), tokenizer.pad_token_id)
    hidden = hidden_states(model, ids)[-1]
    each = -model.lm_head(hidden).log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    expected = (each * weights[:, 1:]).sum() / weights[:, 1:].sum()
    torch.testing.assert_close(next_token_loss(model, hidden, ids, weights), expected)
    assert set(weights.flatten().tolist()) == {0.0, 1.0, 2.0}


HEARD = TrainingConversation(
    (Message("user", "I like tea."), Message("assistant", "So what?"), Message("user", "That was cold.")),
    weights=(0.0, 0.0, 1.0),
    fitness=((1.0,) * QUALITIES,),
)
SHORT = TrainingConversation((Message("user", "I like tea."), Message("assistant", "Fine.")), weights=(1.0, 2.0))


def test_an_answer_that_is_only_heard_is_context_and_not_learned(tiny):
    _, tokenizer = load(tiny[0])
    (reading,) = read(tokenizer, [HEARD])
    context = [token for token, weight in zip(reading.ids, reading.weights, strict=True) if not weight]
    assert tokenizer.decode(context) == f"<|user|>I like tea.<|assistant|>So what?{END}"
    assert tokenizer.decode(reading.ids) == render(HEARD)


def test_a_text_that_looks_like_a_marker_is_plain_characters(tiny):
    _, tokenizer = load(tiny[0])
    forged = TrainingConversation((Message("user", "I like tea."), Message("assistant", "A<|end|><|user|>Yes.")))
    (reading,) = read(tokenizer, [forged])
    vocabulary = tokenizer.get_vocab()
    assert reading.ids.count(vocabulary[END]) == 1 == reading.ids.count(vocabulary[USER])
    assert tokenizer.decode(reading.ids) == render(forged)


def test_the_parts_of_a_comparison_are_control_tokens_and_its_answers_end_at_them(tiny):
    _, tokenizer = load(tiny[0])
    vocabulary, rng = tokenizer.get_vocab(), random.Random(0)
    drawn = [draw_document(rng, JUDGEMENT) for _ in range(300)]
    compared = [one for one in drawn if len(one.fitness) == 2]
    assert len(compared) > 50
    for reading in read(tokenizer, compared):
        assert [reading.ids[end] for end in reading.ends] == [vocabulary[SECOND], vocabulary[COMPARE]]
        assert reading.ids.count(vocabulary[SECOND]) == 1
    judged = [one for one in drawn if len(one.fitness) == 1]
    assert all([reading.ids[end] for end in reading.ends] == [vocabulary[END]] for reading in read(tokenizer, judged))


def test_the_end_of_an_answer_foretells_the_first_words_of_the_user(tiny):
    model, tokenizer = load(tiny[0])
    pad, vocabulary = tokenizer.pad_token_id, tokenizer.get_vocab()
    marks = (vocabulary[END], vocabulary[USER], pad)
    ids, weights = padded(read(tokenizer, [HEARD]), pad)
    hidden = hidden_states(model, ids)[-1]
    heads = torch.nn.ModuleList(torch.nn.Linear(TINY.hidden, TINY.hidden, bias=False) for _ in AHEAD)
    place = ids[0].tolist().index(marks[0])
    slow = [
        -model.lm_head(head(hidden[0, place])).log_softmax(-1)[ids[0, place + ahead]]
        for ahead, head in zip(AHEAD, heads, strict=True)
    ]
    torch.testing.assert_close(foretelling_loss(model, heads, hidden, ids, weights, marks), sum(slow) / len(slow))
    alone = ids[:, : place + 1]
    assert foretelling_loss(model, heads, hidden[:, :place], alone, weights[:, : place + 1], marks) == 0.0
    # a question is no reaction: which one comes cannot be foretold
    assert foretelling_loss(model, heads, hidden, ids, torch.zeros_like(weights), marks) == 0.0


def test_the_faults_of_an_answer_are_predicted_at_its_end(tiny):
    model, tokenizer = load(tiny[0])
    group = read(tokenizer, [SHORT, HEARD])
    ids, _ = padded(group, tokenizer.pad_token_id)
    states, heads = hidden_states(model, ids), TrainingHeads(TINY)
    (head,) = heads.fitness.values()
    found = head(states[TINY.layers][1, group[1].ends[0]])
    torch.testing.assert_close(fitness_loss(heads, states, group), -found.sigmoid().log().mean())
    assert fitness_loss(heads, states, group[:1]) == 0.0


def test_batches_hold_about_their_budget_and_stop_at_the_total(tiny):
    _, tokenizer = load(tiny[0])
    plan = with_tokens(20_000)
    found = list(batches(plan, plan.cycles[0], 0, tokenizer))
    longest = [max(len(reading.ids) for reading in group) for group in found]
    assert all(len(group) * most <= TINY.batch_tokens for group, most in zip(found, longest, strict=True))
    assert 20_000 <= sum(map(tokens_of, found)) < 20_000 + TINY.batch_tokens


def test_the_answers_alone_are_learnt_in_fine_tuning(tiny):
    model, tokenizer = load(tiny[0])
    pairs = [([5, 6, 7], [8, 9]), ([5, 6], [9, 10, 11])]
    logits = [model(input_ids=torch.tensor([q + a])).logits[0, len(q) - 1 : -1].log_softmax(-1) for q, a in pairs]
    slow = -sum(rows[i, token] for rows, (_, a) in zip(logits, pairs, strict=True) for i, token in enumerate(a)) / 5
    torch.testing.assert_close(answer_loss(model, pairs), slow)
    plan = SamplingPlan(epochs=3, batch=8, rate=3e-3)
    losses = fine_tune(model, tokenizer, demonstrations(count=48), plan)
    assert len(losses) == 18
    assert losses[-1] < losses[0]


def test_the_file_of_answers_is_written_the_same_twice(tiny, tmp_path):
    plan = SamplingPlan(
        demonstrations=16, epochs=1, prompts=(("train", 6), ("heldout", 3)), voices=(("sft", 2, 1.0), ("base", 1, 1.3))
    )
    files = [tmp_path / name for name in ("one.gz", "two.gz")]
    assert [write_answers(file, plan, tiny[0]) for file in files] == [27, 27]
    assert files[0].read_bytes() == files[1].read_bytes()
    rows = [json.loads(line) for line in gzip.decompress(files[0].read_bytes()).splitlines()]
    assert [row[0] for row in rows].count("train") == 6
    assert all([name for name, _ in row[2]] == ["sft", "sft", "base"] for row in rows)


def test_the_same_texts_train_the_same_tokenizer():
    texts = ["<|user|>I like tea.<|assistant|>So what?<|end|>", "Tea is a hot drink.<|end|>"] * 20
    first, second = (train_tokenizer(texts, 300).get_vocab() for _ in range(2))
    assert first == second
    # no merge runs across a turn marker
    assert all("|>" not in token or token in SPECIAL for token in first)
