"""The queue of items that an annotator judges. Pure: the same answers, seed and name give the same queue.

The order comes from a hash of seed, annotator and item, so answers added later do not change the order of the others.
Screen positions are balanced exactly: in every block of K items with K answers each file position appears once in each
screen position.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from steersman.errors import DataError, UsageError
from steersman.records import Answers, Comparison, Completion, Demonstration, Prompt, Ranking, Record, digest_of

MODES = ("compare", "rank", "demonstrate")
PAIRINGS = ("all", "adjacent", "across", "random")
MOST_RANKED = 9  # one digit key per answer; InstructGPT ranked 4 to 9
REPEAT_GAP = 8  # a repeated item comes back 8 to 23 items later (sooner at the end of the queue)


@dataclass(frozen=True, slots=True)
class Item:
    """One item to judge. `completions` are in file order; `shown[place]` is the index of the answer at a screen
    place."""

    id: str
    prompt: Prompt
    completions: tuple[Completion, ...]
    shown: tuple[int, ...]
    repeats: str = ""

    def at(self, place: int) -> Completion:
        return self.completions[self.shown[place]]


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """The settings of a queue. `part` is (2, 3) for the second of three people; `overlap` is the share all of them
    get."""

    mode: str
    annotator: str
    seed: int = 0
    pairs: str = "all"
    per_prompt: int = 1
    part: tuple[int, int] = (1, 1)
    overlap: float = 0.0
    repeat: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UsageError(f"unknown mode {self.mode!r}; expected one of {', '.join(MODES)}")
        if self.pairs not in PAIRINGS:
            raise UsageError(
                f"unknown choice of pairs {self.pairs!r}; expected one of {', '.join(PAIRINGS)}, or random:N"
            )
        if self.per_prompt < 1:
            raise UsageError(f"random:{self.per_prompt} asks for no pairs; give random:1 or more")
        if not self.annotator.strip():
            raise UsageError("an annotator needs a name or pseudonym: --annotator NAME")
        if not 1 <= self.part[0] <= self.part[1]:
            raise UsageError(f"part {self.part[0]}/{self.part[1]} does not exist; expected for example --part 2/3")
        for name, share in (("overlap", self.overlap), ("repeat", self.repeat)):
            if not 0.0 <= share <= 1.0:
                raise UsageError(f"--{name} must be a share between 0 and 1; seen {share}")
        if self.overlap and self.part[1] == 1:
            raise UsageError("--overlap needs several annotators; give each a part too, such as --part 1/3")
        if self.repeat and self.mode == "demonstrate":
            raise UsageError("--repeat measures self-agreement of judgements; it does not work with --mode demonstrate")


@dataclass(frozen=True, slots=True)
class Queue:
    items: tuple[Item, ...]
    identical: int  # answers left out because they are duplicates
    alone: int  # prompts left out because they have no two different answers to compare


def prompt_key(prompt: Prompt) -> str:
    """A hash of the prompt's content, independent of its id in the file."""
    return digest_of([[m.role, m.content] for m in prompt.messages] or prompt.text)


def gather(records: Iterable[Record]) -> tuple[Answers, ...]:
    """The distinct answers to each prompt, from answers, comparisons, rankings, demonstrations or prompts."""
    prompts: dict[str, Prompt] = {}
    answers: dict[str, dict[tuple[str, str], Completion]] = {}
    for record in records:
        prompt, completions = _answers_in(record)
        key = prompt_key(prompt)
        prompts.setdefault(key, prompt)
        held = answers.setdefault(key, {})
        for completion in completions:
            held.setdefault((completion.text, completion.model), completion)
    return tuple(Answers(prompts[key], tuple(held.values()), key) for key, held in answers.items())


def _answers_in(record: Record) -> tuple[Prompt, tuple[Completion, ...]]:
    match record:
        case Answers() | Ranking():
            return record.prompt, record.completions
        case Comparison():
            return record.prompt, (record.first, record.second)
        case Demonstration():
            return record.prompt, (record.completion,)
        case Prompt():
            return record, ()
    raise DataError(f"a {type(record).__name__} cannot be judged; expected answers, comparisons, rankings or prompts")


def make_queue(answers: Sequence[Answers], plan: QueuePlan) -> Queue:
    """All items for this annotator, in the order in which they are shown."""
    if not answers:
        raise DataError("the sources have no answers; `steersman sample` writes them")
    items, identical, alone = _candidates(answers, plan)
    if not items:
        raise DataError(
            f"none of the {len(answers)} prompts has two different answers"
            f"{' by different models' if plan.pairs == 'across' else ''}, which --mode {plan.mode} needs; sample "
            "more with `steersman sample` (two or more answers per prompt), add the answers of a second model, or use "
            "--mode demonstrate to write answers"
        )
    mine = sorted((item for item in items if _is_mine(item, plan)), key=lambda item: _hash(plan, "order", item.id))
    return Queue(_with_repeats(_balanced(mine, plan), plan), identical, alone)


def pending(items: Sequence[Item], judged: Collection[str], skipped: Collection[str]) -> list[Item]:
    """The items that are left, the next one first. A skipped item is not repeated."""
    gone = set(judged) | set(skipped)
    return [item for item in items if item.id not in gone and item.repeats not in skipped]


def _candidates(answers: Sequence[Answers], plan: QueuePlan) -> tuple[list[Item], int, int]:
    items: dict[str, Item] = {}
    identical = alone = 0
    for entry in answers:
        by_text = {completion.text: completion for completion in reversed(entry.completions)}
        different = tuple(completion for completion in entry.completions if by_text[completion.text] is completion)
        identical += len(entry.completions) - len(different)
        if plan.mode == "demonstrate":
            items[entry.id] = _item(entry.prompt, different, (entry.id, "demonstrate"))
        elif len(different) < 2:
            alone += 1
        elif plan.mode == "rank":
            if len(different) > MOST_RANKED:
                raise UsageError(
                    f"a prompt has {len(different)} answers, but at most {MOST_RANKED} can be ranked at once; "
                    "use --mode compare with --pairs random:N"
                )
            found = _item(entry.prompt, different, (entry.id, *sorted(c.text for c in different)))
            items[found.id] = found
        else:
            pairs = _pairs(different, entry.id, plan)
            alone += not pairs
            for pair in pairs:
                found = _item(entry.prompt, pair, (entry.id, *sorted(c.text for c in pair)))
                items.setdefault(found.id, found)
    return list(items.values()), identical, alone


def _item(prompt: Prompt, completions: tuple[Completion, ...], key: tuple[str, ...]) -> Item:
    return Item(digest_of(key), prompt, completions, tuple(range(len(completions))))


def _pairs(completions: tuple[Completion, ...], key: str, plan: QueuePlan) -> list[tuple[Completion, Completion]]:
    if plan.pairs == "adjacent":
        return list(pairwise(completions))
    pairs = list(combinations(completions, 2))
    if plan.pairs == "across":
        return [(a, b) for a, b in pairs if a.model != b.model]
    if plan.pairs == "random":
        # Independent of the annotator: people who share a prompt must get the same pairs.
        pairs.sort(key=lambda pair: _draw(plan.seed, "pair", key, pair[0].text, pair[1].text))
        return pairs[: plan.per_prompt]
    return pairs


def _draw(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256("\x00".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()[:8])


def _hash(plan: QueuePlan, purpose: str, key: str) -> int:
    return _draw(plan.seed, plan.annotator, purpose, key)


def _is_mine(item: Item, plan: QueuePlan) -> bool:
    number, of = plan.part
    if of == 1 or _draw(plan.seed, "overlap", item.id) < plan.overlap * 2**64:
        return True
    return _draw(plan.seed, "part", item.id) % of == number - 1


def _balanced(items: list[Item], plan: QueuePlan) -> list[Item]:
    """The items with balanced screen positions: each block of K items with K answers has all K rotations of one
    shuffled order."""
    seen: dict[int, int] = {}
    out = []
    for item in items:
        count = len(item.completions)
        number = seen.get(count, 0)
        seen[count] = number + 1
        if count < 2:
            out.append(item)
            continue
        block, turn = divmod(number, count)
        order = _shuffled(count, f"place {count} {block}", plan)
        out.append(replace(item, shown=tuple(order[turn:] + order[:turn])))
    return out


def _shuffled(count: int, purpose: str, plan: QueuePlan) -> list[int]:
    return sorted(range(count), key=lambda index: _hash(plan, purpose, str(index)))


def _with_repeats(items: list[Item], plan: QueuePlan) -> tuple[Item, ...]:
    placed = [(float(index), item) for index, item in enumerate(items)]
    for index, item in enumerate(items):
        chosen = _hash(plan, "repeat", item.id) < plan.repeat * 2**64
        later = min(index + REPEAT_GAP + _hash(plan, "gap", item.id) % (2 * REPEAT_GAP), len(items) - 1)
        if chosen and later - index >= min(REPEAT_GAP, 3):  # no repeat if the first judgement is still remembered
            again = replace(item, id=f"{item.id}r", shown=item.shown[::-1], repeats=item.id)
            placed.append((later + 0.5, again))
    placed.sort(key=lambda pair: pair[0])
    return tuple(item for _, item in placed)
