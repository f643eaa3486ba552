"""What each kind of record is good for: which command, or which setting, learns from it. For messages."""

from collections.abc import Mapping

_WANTED: Mapping[str, tuple[str, str, str]] = {
    "document": ("text", "texts", "`steersman sft` learns from them"),
    "prompt": (
        "prompt",
        "prompts",
        "`steersman sample` answers them; ppo, rloo, online-dpo and best-of-n learn on them",
    ),
    "demonstration": ("demonstration", "demonstrations", "`steersman sft` learns from them"),
    "answers": (
        "prompt with answers that nobody judged",
        "prompts with answers that nobody judged",
        "`steersman label` and `steersman score` take them; ilql learns from them once they are scored",
    ),
    "comparison": (
        "comparison",
        "comparisons",
        "`steersman reward` and `steersman dpo` learn from them; sft learns from the preferred answers with "
        "take_chosen=true",
    ),
    "ranking": ("ranking", "rankings", "`steersman reward` and `steersman dpo` learn from them"),
    "label": (
        "answer judged by itself",
        "answers judged by themselves",
        "`steersman dpo` with loss=kto and `steersman reward` learn from thumbs up and down; ilql from ratings",
    ),
    "steps": ("answer judged by steps", "answers judged by steps", "`steersman ilql` learns from them"),
    "classified": ("text with a class", "texts with a class", "`steersman classifier` learns from them"),
    "principle": ("principle", "principles", "no command learns from them; `steersman constitution` applies them"),
    "critique": (
        "critique",
        "critiques",
        "`steersman sft` learns the final revisions; dpo and reward learn that a revision is better than its answer",
    ),
}


def who_wants(seen: Mapping[str, int]) -> str:
    """A sentence for each kind of record that was seen: how many, and what learns from them."""
    found: list[str] = []
    for kind, count in seen.items():
        one, many, use = _WANTED[kind]
        found.append(f"There {'is' if count == 1 else 'are'} {count:,} {one if count == 1 else many}: {use}.")
    return " ".join(found)
