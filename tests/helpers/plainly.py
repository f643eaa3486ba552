"""Fine-tuning as one would write it on a board, with transformers alone: one row at a time, no padding, no batches."""

import json
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

WORDS = ["dog", "game", "heart", "mind", "friend", "story", "answer", "summary", "cricket", "exercise"]

OTHERS = [word for word in WORDS if word != "friend"]


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def demonstration(question: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def demonstrations(count: int, seed: int) -> list[dict]:
    draw = random.Random(seed)
    return [
        demonstration(f"Tell me {seed}.{i}.", " ".join(draw.choices(WORDS, k=draw.randint(2, 12))))
        for i in range(count)
    ]


def rows_of(tokeniser: Any, path: Path) -> list[tuple[Tensor, int]]:
    """Ids of each demonstration, and where its answer begins: the answer and the token that ends it are to be
    learned."""
    found: list[tuple[Tensor, int]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        *conversation, answer = json.loads(line)["messages"]
        prompt = tokeniser.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        before = tokeniser(prompt, add_special_tokens=False)["input_ids"]
        after = tokeniser(answer["content"] + tokeniser.eos_token, add_special_tokens=False)["input_ids"]
        found.append((torch.tensor(before + after), len(before)))
    return found


def loss_of(model: Any, rows: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Mean over all target tokens of all rows; a row is its ids and the mask of its targets."""
    total, count = torch.zeros(()), 0
    for ids, targets in rows:
        logits = model(input_ids=ids[None]).logits[0]
        wanted = targets[1:]
        total = total + cross_entropy(logits[:-1][wanted].float(), ids[1:][wanted], reduction="sum")
        count += int(wanted.sum())
    return total / count


def held_out_loss(folder: Path, path: Path) -> float:
    """What plain transformers says about the demonstrations in `path` with the model in `folder`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    rows = [
        (ids, torch.arange(len(ids)) >= start) for ids, start in rows_of(AutoTokenizer.from_pretrained(folder), path)
    ]
    with torch.no_grad():
        return float(loss_of(model, rows))


def logits_of(model: Any) -> Tensor:
    """Logits for fixed ids that go over the whole vocabulary."""
    ids = (torch.arange(60).reshape(2, 30) * 5 + 3) % 300
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def judged(count: int, seed: int, *, noise: float = 0.15, people: int = 1) -> list[dict]:
    """Answers of random words, of which those with "friend" are preferred; `noise` of the labels are turned round."""
    draw = random.Random(seed)
    rows: list[dict] = []
    for i in range(count):
        plain, liked = (draw.choices(OTHERS, k=draw.randint(2, 8)) for _ in range(2))
        liked.insert(draw.randint(0, len(liked)), "friend")
        answers = [{"text": " ".join(liked)}, {"text": " ".join(plain)}]
        turned = draw.random() < 0.5
        for person in range(people):
            right = (draw.random() >= noise) != turned
            rows.append(
                {"kind": "comparison", "prompt": {"messages": [{"role": "user", "content": f"Tell me {seed}.{i}."}]}}
                | {"first": answers[turned], "second": answers[not turned], "preference": float(right)}
                | {"annotator": f"person-{person + 1}", "shown": draw.choice(["first", "second"])}
            )
    return rows
