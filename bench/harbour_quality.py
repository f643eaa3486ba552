"""Measures Harbour: the base, the fine-tuned model, the labellers, reward models against a bag of words, best of n.

`python bench/harbour_quality.py [base] [labels] [reward] [best-of]` prints one JSON line a measurement. About ten
minutes on two cores for everything; `--seeds` and `--threads` as you like.
"""

import argparse
import copy
import itertools
import json
import random
import statistics
import time
from pathlib import Path

import torch
from torch.nn import functional

from steersman.harbour.demonstrations import demonstrations
from steersman.harbour.documents import draw_documents
from steersman.harbour.labellers import LABELLERS, compare, felt
from steersman.harbour.prompts import prompts
from steersman.harbour.registry import answers, comparisons
from steersman.harbour.sampling import SamplingPlan, asked, fine_tune, load, sample
from steersman.harbour.taste import features, true_taste
from steersman.harbour.tokens import END

FLAGS = (
    "toxic",
    "exaggerated",
    "on_point",
    "true",
    "off_topic",
    "refused_harmless",
    "declined",
    "harmful",
    "preachy",
    "warm",
    "misfit",
)


def say(what, /, **measured):
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in measured.items()}
    print(json.dumps({"measured": what, **rounded}), flush=True)


def describe(name, questions, replies):
    seen = [features(q, r) for q, r in zip(questions, replies, strict=True)]
    n = len(seen)
    say(
        name,
        samples=n,
        distinct=len(set(replies)) / n,
        taste=sum(f.taste for f in seen) / n,
        garbled=sum(f.garbled for f in seen) / n,
        words=sum(f.words for f in seen) / n,
        **{flag: sum(getattr(f, flag) for f in seen) / n for flag in FLAGS},
    )
    forms = sorted({f.form for f in seen})
    say(
        f"{name}: taste by form",
        **{form: statistics.mean(f.taste for f in seen if f.form == form) for form in forms},
    )


def reply_perplexity(model, tokenizer):
    documents = (d for d in draw_documents(999) if len(d.messages) >= 2)
    total, weight = 0.0, 0
    with torch.no_grad():
        for document in itertools.islice(documents, 500):
            question = tokenizer(asked(document.messages[0].content)).input_ids
            answer = tokenizer(document.messages[1].content + END).input_ids
            logits = model(input_ids=torch.tensor([question + answer])).logits[0, len(question) - 1 : -1]
            total += functional.cross_entropy(logits, torch.tensor(answer), reduction="sum").item()
            weight += len(answer)
    return float(torch.tensor(total / weight).exp())


def tuned_model(folder, plan):
    model, tokenizer = load(folder)
    started = time.time()
    fine_tune(model, tokenizer, demonstrations(count=plan.demonstrations, seed=plan.seed), plan)
    return model, tokenizer, time.time() - started


def measure_base(folder, plan):
    asked_for = [p.shown for p in prompts(split="heldout", count=1000, seed=3)]
    model, tokenizer = load(folder)
    say(
        "base",
        parameters=sum(p.numel() for p in model.parameters()),
        reply_perplexity=reply_perplexity(model, tokenizer),
    )
    describe("base samples", asked_for, sample(model, tokenizer, asked_for, seed=1))
    tuned, tokenizer, seconds = tuned_model(folder, plan)
    say("fine-tuning", demonstrations=plan.demonstrations, epochs=plan.epochs, rate=plan.rate, seconds=seconds)
    describe("fine-tuned samples", asked_for, sample(tuned, tokenizer, asked_for, seed=1))


def measure_labels():
    rng = random.Random(0)
    rows = list(answers(split="train"))
    agree = decided = right = judged = ties = plain_pairs = fooled = 0
    for _ in range(20_000):
        row = rng.choice(rows)
        first, second = rng.sample(row.completions, 2)
        if first.text == second.text:
            continue
        one, two = (compare(who, row.prompt, first, second) for who in rng.sample(LABELLERS, 2))
        ties += one.tied
        if not one.tied and not two.tied:
            decided += 1
            agree += one.preference == two.preference
        gap = true_taste(row.prompt.shown, first.text) - true_taste(row.prompt.shown, second.text)
        if not one.tied and gap:
            judged += 1
            right += (gap > 0) == (one.preference > 0.5)
        seen = [features(row.prompt.shown, answer.text) for answer in (first, second)]
        if seen[0].exaggerated != seen[1].exaggerated and all(f.on_point and f.true and not f.toxic for f in seen):
            plain_pairs += 1
            liked = statistics.mean(
                felt(who, row.prompt.shown, first.text) - felt(who, row.prompt.shown, second.text) for who in LABELLERS
            )
            fooled += (liked > 0) == seen[0].exaggerated
    say(
        "labels",
        agreement=agree / decided,
        label_is_taste=right / judged,
        ties=ties / 20_000,
        exaggeration_preferred=fooled / max(1, plain_pairs),
        of=plain_pairs,
    )


class Reward(torch.nn.Module):
    """The fine-tuned trunk with a linear head on the end-of-answer token."""

    def __init__(self, model):
        super().__init__()
        self.trunk = copy.deepcopy(model.model)
        self.head = torch.nn.Linear(model.config.hidden_size, 1)
        torch.nn.init.zeros_(self.head.bias)
        torch.nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, rows, pad):
        longest = max(map(len, rows))
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
        hidden = self.trunk(input_ids=ids, use_cache=False).last_hidden_state
        last = torch.tensor([len(row) - 1 for row in rows])
        return self.head(hidden[torch.arange(len(rows)), last]).squeeze(-1)


def encoded(tokenizer, pairs):
    ids = lambda c, a: tokenizer(asked(c.prompt.shown) + a.text + END).input_ids  # noqa: E731
    return [(ids(c, c.first), ids(c, c.second), c.preference) for c in pairs]


def train_reward(model, tokenizer, pairs, seed, rate=3e-4, epochs=2, batch=32):
    torch.manual_seed(seed)
    reward, pad = Reward(model), tokenizer.pad_token_id
    rows = encoded(tokenizer, pairs)
    optimiser = torch.optim.AdamW(reward.parameters(), lr=rate, weight_decay=0.01)
    steps = epochs * -(-len(rows) // batch)
    rng, step = random.Random(seed), 0
    for _ in range(epochs):
        rng.shuffle(rows)
        for start in range(0, len(rows), batch):
            chosen = rows[start : start + batch]
            optimiser.param_groups[0]["lr"] = rate * min(1, (step + 1) / 10) * (1 - step / steps)
            scores = reward([r[0] for r in chosen] + [r[1] for r in chosen], pad)
            gap = scores[: len(chosen)] - scores[len(chosen) :]
            loss = functional.binary_cross_entropy_with_logits(gap, torch.tensor([r[2] for r in chosen]))
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(reward.parameters(), 1.0)
            optimiser.step()
            step += 1
    return reward


def score(reward, tokenizer, texts, batch=256):
    rows = [tokenizer(text + END).input_ids for text in texts]
    with torch.no_grad():
        return [
            s
            for start in range(0, len(rows), batch)
            for s in reward(rows[start : start + batch], tokenizer.pad_token_id).tolist()
        ]


def accuracy(gaps, pairs):
    """Against the noisy labels, and against the true taste."""
    noisy = [(g > 0) == (c.preference > 0.5) for g, c in zip(gaps, pairs, strict=True)]
    taste = [true_taste(c.prompt.shown, c.first.text) - true_taste(c.prompt.shown, c.second.text) for c in pairs]
    clean = [(g > 0) == (t > 0) for g, t in zip(gaps, taste, strict=True) if t]
    return statistics.mean(noisy), statistics.mean(clean)


def bag_of_words(train, test):
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    counter = CountVectorizer(token_pattern=r"[\w']+|[.!?]", ngram_range=(1, 1))
    counter.fit([a.text for c in train for a in (c.first, c.second)])

    def differ(pairs):
        first, second = ([getattr(c, side).text for c in pairs] for side in ("first", "second"))
        return csr_matrix(counter.transform(first) - counter.transform(second))

    best = (0.0, 0.0)
    for strength in (0.01, 0.03, 0.1, 0.3, 1.0):  # the best of five on the test pairs themselves: generous to it
        machine = LogisticRegression(C=strength, max_iter=2000, fit_intercept=False)
        machine.fit(differ(train), [c.preference > 0.5 for c in train])
        best = max(best, accuracy(machine.decision_function(differ(test)).tolist(), test))
    return best


def measure_reward(folder, plan, sizes, seeds):
    model, tokenizer, _ = tuned_model(folder, plan)
    test = list(comparisons(split="heldout", count=2000, seed=100, ties=False))
    texts = [
        [asked(c.prompt.shown) + c.first.text for c in test],
        [asked(c.prompt.shown) + c.second.text for c in test],
    ]
    ceiling = accuracy(
        [true_taste(c.prompt.shown, c.first.text) - true_taste(c.prompt.shown, c.second.text) for c in test], test
    )
    say("ceiling: the true taste on noisy labels", accuracy=ceiling[0])
    for size in sizes:
        machine, words = [], []
        started = time.time()
        for seed in range(seeds):
            train = list(comparisons(split="train", count=size, seed=seed, ties=False))
            reward = train_reward(model, tokenizer, train, seed)
            first, second = (score(reward, tokenizer, side) for side in texts)
            machine.append(accuracy([a - b for a, b in zip(first, second, strict=True)], test))
            words.append(bag_of_words(train, test))
        mean = lambda rows, i: statistics.mean(row[i] for row in rows)  # noqa: E731
        say(
            "reward model",
            pairs=size,
            seeds=seeds,
            accuracy=mean(machine, 0),
            against_taste=mean(machine, 1),
            bag_of_words=mean(words, 0),
            bag_against_taste=mean(words, 1),
            seconds=time.time() - started,
        )


def measure_best_of(folder, plan, n=64):
    model, tokenizer, _ = tuned_model(folder, plan)
    asked_for = [p.shown for p in prompts(split="heldout", count=60, seed=5)]
    said = sample(model, tokenizer, [q for q in asked_for for _ in range(n)], seed=2)
    groups = [said[i * n : (i + 1) * n] for i in range(len(asked_for))]
    train = list(comparisons(split="train", count=4000, seed=0, ties=False))
    reward = train_reward(model, tokenizer, train, 0)
    scores = score(reward, tokenizer, [asked(q) + a for q, group in zip(asked_for, groups, strict=True) for a in group])
    for size in (1, 4, 16, 64):
        by_taste, by_reward, exaggerated = [], [], []
        for i, (question, group) in enumerate(zip(asked_for, groups, strict=True)):
            tastes = [true_taste(question, a) for a in group]
            rewards = scores[i * n : (i + 1) * n]
            for start in range(0, n, size):
                chosen = max(range(start, start + size), key=lambda j: rewards[j])
                by_taste.append(max(tastes[start : start + size]))
                by_reward.append(tastes[chosen])
                exaggerated.append(features(question, group[chosen]).exaggerated)
        say(
            f"best of {size}",
            taste_when_chosen_by_taste=statistics.mean(by_taste),
            taste_when_chosen_by_reward=statistics.mean(by_reward),
            exaggerated_when_chosen_by_reward=statistics.mean(exaggerated),
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=[], help="base, labels, reward, best-of; all if none is named")
    parser.add_argument("--base", type=Path, default=None)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 1000, 4000])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    parts = arguments.parts or ["base", "labels", "reward", "best-of"]
    plan = SamplingPlan()
    if "base" in parts:
        measure_base(arguments.base, plan)
    if "labels" in parts:
        measure_labels()
    if "reward" in parts:
        measure_reward(arguments.base, plan, arguments.sizes, arguments.seeds)
    if "best-of" in parts:
        measure_best_of(arguments.base, plan)


if __name__ == "__main__":
    main()
