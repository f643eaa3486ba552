"""The base can be rebuilt: the same plan gives the same bytes, and the training loop trains."""

import dataclasses
import gzip
import json
import math

import pytest
import torch

from steersman.harbour.build import (
    AHEAD,
    BuildPlan,
    Cycle,
    batches,
    build,
    foretelling_loss,
    next_token_loss,
    padded,
    read,
    tokens_of,
)
from steersman.harbour.demonstrations import demonstrations
from steersman.harbour.documents import JUDGEMENT, LANGUAGE, TrainingConversation
from steersman.harbour.sampling import SamplingPlan, answer_loss, fine_tune, load, write_answers
from steersman.harbour.tokens import END, USER, train_tokenizer
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
    batch_tokens=1024,
    warmup=3,
)


def with_tokens(total: int, **changes) -> BuildPlan:
    return dataclasses.replace(TINY, cycles=(Cycle(total, 1.0, LANGUAGE),), **changes)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    said: list[str] = []
    return folder, build(TINY, folder, said.append), said


def test_the_same_plan_builds_the_same_bytes_and_another_seed_others(tiny, tmp_path):
    _, digest, _ = tiny
    assert build(TINY, tmp_path / "again", lambda _: None) == digest
    assert build(with_tokens(2000, seed=1), tmp_path / "other", lambda _: None) != digest


def test_building_leaves_the_threads_and_the_mode_of_torch_as_they_were(tiny, tmp_path):
    before = torch.get_num_threads()
    build(with_tokens(1000), tmp_path, lambda _: None)
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_few_steps_of_training_lower_the_loss(tiny):
    folder, _, said = tiny
    assert said[0].endswith("parameters")
    model, tokenizer = load(folder)
    group = next(iter(batches(with_tokens(1000, seed=77), 0, tokenizer)))
    loss = next_token_loss(model, *padded(group, tokenizer.pad_token_id))[0].item()
    assert loss < math.log(400) - 0.2  # where an untrained model stands


def test_padding_on_the_right_changes_no_loss(tiny):
    model, tokenizer = load(tiny[0])
    pad = tokenizer.pad_token_id
    group = next(iter(batches(with_tokens(1000), 0, tokenizer)))[:4]
    ids, learned = padded(group, pad)
    wider = torch.cat([ids, torch.full((len(group), 7), pad)], dim=1)  # pyright: ignore[reportCallIssue]
    none = torch.zeros(len(group), 7, dtype=torch.bool)
    one, two = (
        next_token_loss(model, *both)[0] for both in ((ids, learned), (wider, torch.cat([learned, none], dim=1)))
    )
    torch.testing.assert_close(one, two)


HEARD = TrainingConversation(
    (Message("user", "I like tea."), Message("assistant", "So what?"), Message("user", "That was cold.")), heard=2
)


def test_an_answer_that_is_only_heard_is_context_and_not_learned(tiny):
    _, tokenizer = load(tiny[0])
    (reading,) = read(tokenizer, [HEARD])
    assert tokenizer.decode(reading.ids[: reading.start]) == f"<|user|>I like tea.<|assistant|>So what?{END}"
    _, learned = padded([reading], tokenizer.pad_token_id)
    assert tokenizer.decode(torch.tensor(reading.ids)[learned[0]]) == "<|user|>That was cold."


def test_the_end_of_an_answer_foretells_the_first_words_of_the_user(tiny):
    model, tokenizer = load(tiny[0])
    pad, vocabulary = tokenizer.pad_token_id, tokenizer.get_vocab()
    marks = (vocabulary[END], vocabulary[USER], pad)
    ids, learned = padded(read(tokenizer, [HEARD]), pad)
    _, hidden = next_token_loss(model, ids, learned)
    heads = torch.nn.ModuleList(torch.nn.Linear(TINY.hidden, TINY.hidden, bias=False) for _ in AHEAD)
    place = ids[0].tolist().index(marks[0])
    slow = [
        -model.lm_head(head(hidden[0, place])).log_softmax(-1)[ids[0, place + ahead]]
        for ahead, head in zip(AHEAD, heads, strict=True)
    ]
    torch.testing.assert_close(foretelling_loss(model, heads, hidden, ids, marks), sum(slow) / len(slow))
    alone = ids[:, : place + 1]
    assert foretelling_loss(model, heads, hidden[:, :place], alone, marks) == 0.0


def test_batches_hold_about_their_budget_and_stop_at_the_total(tiny):
    _, tokenizer = load(tiny[0])
    found = list(batches(with_tokens(20_000), 0, tokenizer))
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
    assert all(
        "|>" not in token or token in ("<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>")
        for token in first
    )
