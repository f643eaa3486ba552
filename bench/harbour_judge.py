"""How well Harbour's base model speaks the language of judging, on answers of the grammar or of the model itself.

`python bench/harbour_judge.py [--base FOLDER] [--count 300] [--answers written|sampled]` prints one JSON line a
measurement: comparisons by fact (both orders together), the AUC of yes and no, ratings, and critiques and revisions.
The requests are those of the shipped constitution, sent as `steersman judge` and `constitution revise` send them.
"""

import argparse
import json
import random
import statistics
from pathlib import Path

import torch

from steersman.constitution.load import load_constitution
from steersman.constitution.render import comparison_request, critique_request, rating_request, revision_request
from steersman.harbour.base_model import base_path
from steersman.harbour.grammar.replies import draw_style, write
from steersman.harbour.grammar.situations import draw_situation, read_prompt, tempting_situations
from steersman.harbour.judging import (
    answer_to_check,
    compare_in_fact,
    find_fault,
    judged_facts,
    rating,
)
from steersman.harbour.prompts import as_prompt
from steersman.harbour.sampling import load, sample
from steersman.harbour.taste import features
from steersman.harbour.tokens import ASSISTANT, END, USER
from steersman.records import Prompt
from steersman.text.template import encode_continuations, encode_prompt


def say(what, /, **measured):
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in measured.items()}
    print(json.dumps({"measured": what, **rounded}), flush=True)


def choice_log_probs(model, tokenizer, request):
    """Log-probabilities of the choices' first tokens."""
    ids, choices = encode_continuations(
        tokenizer, Prompt(request.messages), list(request.choices), control=request.control
    )
    with torch.no_grad():
        log_probs = model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    return [log_probs[choice[0]].item() for choice in choices]


def greedy(model, tokenizer, request, most=64):
    ids = torch.tensor([encode_prompt(tokenizer, Prompt(request.messages), control=request.control)])
    with torch.no_grad():
        out = model.generate(input_ids=ids, do_sample=False, max_new_tokens=most)
    return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()


def auc(scores, truths):
    pairs = [
        (a, b) for a, t in zip(scores, truths, strict=True) if t for b, f in zip(scores, truths, strict=True) if not f
    ]
    return statistics.mean((a > b) + 0.5 * (a == b) for a, b in pairs) if pairs else float("nan")


def drawn_pairs(model, tokenizer, count, how, rng):
    situations = [
        rng.choice(tempting_situations()) if rng.random() < 0.2 else draw_situation(rng) for _ in range(count)
    ]
    if how == "written":
        return [
            (s, *(write(rng, s, draw_style(rng, s, heard=rng.random() < 0.5), mixed=0.2) for _ in range(2)))
            for s in situations
        ]
    said = sample(model, tokenizer, [s.prompt for s in situations for _ in range(2)], seed=11)
    return [(s, said[2 * i], said[2 * i + 1]) for i, s in enumerate(situations)]


def measure_comparisons(model, tokenizer, constitution, pairs):
    for principle in constitution.principles:
        right, ties, gaps = [], [], []
        for situation, first, second in pairs:
            truth = compare_in_fact(principle.name, situation.prompt, first, second)
            if not first.strip() or not second.strip() or (truth == 0.5 and len(ties) > 40):
                continue
            prompt = as_prompt(situation)
            sides = []
            for one, two in ((first, second), (second, first)):
                a, b = choice_log_probs(
                    model, tokenizer, comparison_request(constitution, principle, prompt, (one, two), seed=0)
                )
                sides.append(1 / (1 + torch.tensor(b - a).exp().item()))
            chosen = (sides[0] + 1 - sides[1]) / 2
            gaps.append(abs(sides[0] - (1 - sides[1])))
            if truth == 0.5:
                ties.append(abs(2 * chosen - 1))
            else:
                right.append((chosen > 0.5) == (truth == 1.0))
        say(
            f"comparison: {principle.name}",
            right=statistics.mean(right) if right else None,
            of=len(right),
            certainty_of_ties=statistics.mean(ties) if ties else None,
            position=statistics.mean(gaps),
        )


def measure_checks(model, tokenizer, answers):
    yes, no = (tokenizer(word).input_ids[0] for word in ("Yes", "No"))
    for fact, words in judged_facts().items():
        scores, truths = [], []
        for situation, answer in answers:
            text = f"{USER}{situation.prompt}{ASSISTANT}{answer}{END}{USER}{words['ask']}{ASSISTANT}"
            with torch.no_grad():
                logits = model(input_ids=tokenizer(text, return_tensors="pt").input_ids).logits[0, -1]
            scores.append((logits[yes] - logits[no]).item())
            truths.append(answer_to_check(fact, features(situation.prompt, answer)))
        say(f"yes or no: {fact}", auc=auc(scores, truths), yes=sum(truths), of=len(truths))


def measure_ratings(model, tokenizer, constitution, answers):
    for principle in constitution.principles:
        if not principle.rating_question:
            continue
        expected, truths = [], []
        for situation, answer in answers:
            request = rating_request(constitution, principle, as_prompt(situation), answer, seed=0)
            odds = torch.tensor(choice_log_probs(model, tokenizer, request)).softmax(0)
            expected.append((odds * torch.arange(1, len(odds) + 1)).sum().item())
            truths.append(float(rating(principle.name, situation.prompt, answer)))
        say(f"rating: {principle.name}", correlation=statistics.correlation(expected, truths), of=len(truths))


def measure_revisions(model, tokenizer, constitution, answers):
    for principle in constitution.principles:
        named = quoted = gone = kept = faulty = clean = silent = better = 0
        for situation, answer in answers:
            found = find_fault(situation, answer, principle.name)
            if not found.words and clean >= 40:
                continue
            prompt = as_prompt(situation)
            critique = greedy(model, tokenizer, critique_request(constitution, principle, prompt, answer, seed=0))
            if not found.words:
                clean += 1
                silent += critique == found.text
                continue
            faulty += 1
            named += critique.startswith("You said:")
            quoted += critique == found.text
            revised = greedy(
                model, tokenizer, revision_request(constitution, principle, prompt, answer, critique, seed=0)
            )
            gone += not find_fault(situation, revised, principle.name).words
            kept += features(situation.prompt, revised).garbled == 0
            better += features(situation.prompt, revised).taste > features(situation.prompt, answer).taste
        if faulty:
            say(
                f"critique and revision: {principle.name}",
                fault_named=named / faulty,
                quoted_word_for_word=quoted / faulty,
                fault_gone=gone / faulty,
                readable=kept / faulty,
                better=better / faulty,
                of=faulty,
                silent_without_fault=silent / clean if clean else None,
            )


def measure_summaries(model, tokenizer, rng, count):
    stories = []
    while len(stories) < count:
        situation = draw_situation(rng)
        if situation.form == "summary":
            stories.append(situation)
    said = sample(model, tokenizer, [s.prompt for s in stories], seed=3)
    seen = [features(s.prompt, a) for s, a in zip(stories, said, strict=True)]
    told = [f for f in seen if f.on_point or not f.true]
    say(
        "summaries",
        true=statistics.mean(f.on_point and f.true for f in told) if told else None,
        of=len(told),
        drawn=len(seen),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, default=base_path())
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--answers", choices=("written", "sampled"), default="written")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(5)
    model, tokenizer = load(asked.base)
    constitution = load_constitution("harbour")
    pairs = drawn_pairs(model, tokenizer, asked.count, asked.answers, rng)
    answers = [(read_prompt(s.prompt), answer) for s, one, two in pairs for answer in (one, two) if answer.strip()]
    measure_summaries(model, tokenizer, rng, asked.count)
    measure_comparisons(model, tokenizer, constitution, pairs)
    measure_checks(model, tokenizer, answers)
    measure_ratings(model, tokenizer, constitution, answers)
    measure_revisions(model, tokenizer, constitution, answers[: asked.count])


if __name__ == "__main__":
    main()
