"""Which item a person is shown next. Pure: the same answers, seed and name give the same queue, so nothing is stored.

The order comes from a hash of seed, annotator and item, so answers added later do not move the ones already there.
The places on the screen are balanced exactly: in every block of K items each answer stands once in each place.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from steersman.errors import DataError, UsageError
from steersman.records import Answers, Comparison, Completion, Demonstration, Prompt, Ranking, Record, digest_of

MODES = ("compare", "rank", "demonstrate")
PAIRINGS = ("all", "adjacent", "across", "random")
MOST_RANKED = 9  # one digit key an answer; InstructGPT ranked 4 to 9
REPEAT_GAP = 8  # a repeated pair comes back this many items later at the earliest, twice as many and more at the latest


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to judge: `completions` in the order of the file, `shown[place]` is the index of what stands there."""

    id: str
    prompt: Prompt
    completions: tuple[Completion, ...]
    shown: tuple[int, ...]
    repeats: str = ""

    def at(self, place: int) -> Completion:
        return self.completions[self.shown[place]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a queue is made. `part` is (2, 3) for the second of three people; `overlap` is the share that all of them get."""

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
            raise UsageError(f"random:{self.per_prompt} pairs a prompt cannot be asked; give 1 or more")
        if not self.annotator.strip():
            raise UsageError("an annotator needs a name (a pseudonym will do): --annotator NAME")
        if not 1 <= self.part[0] <= self.part[1]:
            raise UsageError(f"part {self.part[0]}/{self.part[1]} does not exist; expected for example --part 2/3")
        for name, share in (("overlap", self.overlap), ("repeat", self.repeat)):
            if not 0.0 <= share <= 1.0:
                raise UsageError(f"--{name} is a share between 0 and 1; seen {share}")
        if self.overlap and self.part[1] == 1:
            raise UsageError("--overlap says what several people share; give each their part as well, as in --part 1/3")
        if self.repeat and self.mode == "demonstrate":
            raise UsageError("--repeat measures how steady judgements are; demonstrations are not asked twice")


@dataclass(frozen=True, slots=True)
class Queue:
    items: tuple[Item, ...]
    identical: int  # pairs or answers left out because they say the same as another
    alone: int  # prompts left out because they have no two different answers to set side by side


def prompt_key(prompt: Prompt) -> str:
    """Names a prompt by what it says, whatever id a file gave it."""
    return digest_of([[m.role, m.content] for m in prompt.messages] or prompt.text)


def gather(records: Iterable[Record]) -> tuple[Answers, ...]:
    """Answers by prompt, from answers, comparisons, rankings, demonstrations or bare prompts, of one file or several."""
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


def make_queue(answers: Sequence[Answers], plan: Plan) -> Queue:
    """Every item that this person is to judge, in the order in which they come."""
    if not answers:
        raise DataError("no answers were found in what was given; `steersman sample` writes them")
    items, identical, alone = _candidates(answers, plan)
    if not items:
        raise DataError(
            f"none of the {len(answers)} prompts has two different answers"
            f"{' by different models' if plan.pairs == 'across' else ''}, and to {plan.mode} needs two; draw more with "
            "`steersman sample` (two or more answers a prompt), give the answers of a second model as well, or use "
            "--mode demonstrate to write answers"
        )
    mine = sorted((item for item in items if _is_mine(item, plan)), key=lambda item: _hash(plan, "order", item.id))
    return Queue(_with_repeats(_balanced(mine, plan), plan), identical, alone)


def pending(items: Sequence[Item], judged: Collection[str], skipped: Collection[str]) -> list[Item]:
    """What is left to judge, next first. A pair that was skipped is not asked again as a repeat."""
    gone = set(judged) | set(skipped)
    return [item for item in items if item.id not in gone and item.repeats not in skipped]


def _candidates(answers: Sequence[Answers], plan: Plan) -> tuple[list[Item], int, int]:
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
                    f"a prompt has {len(different)} answers, and at most {MOST_RANKED} can be ranked at once; "
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


def _pairs(completions: tuple[Completion, ...], key: str, plan: Plan) -> list[tuple[Completion, Completion]]:
    if plan.pairs == "adjacent":
        return list(pairwise(completions))
    pairs = list(combinations(completions, 2))
    if plan.pairs == "across":
        return [(a, b) for a, b in pairs if a.model != b.model]
    if plan.pairs == "random":
        # The seed alone decides, not the annotator: people who share a prompt must be asked the same pairs.
        pairs.sort(key=lambda pair: _draw(plan.seed, "pair", key, pair[0].text, pair[1].text))
        return pairs[: plan.per_prompt]
    return pairs


def _draw(*words: object) -> int:
    return int.from_bytes(hashlib.sha256("\x00".join(map(str, words)).encode("utf-8", "surrogatepass")).digest()[:8])


def _hash(plan: Plan, purpose: str, key: str) -> int:
    return _draw(plan.seed, plan.annotator, purpose, key)


def _is_mine(item: Item, plan: Plan) -> bool:
    number, of = plan.part
    if of == 1 or _draw(plan.seed, "overlap", item.id) < plan.overlap * 2**64:
        return True
    return _draw(plan.seed, "part", item.id) % of == number - 1


def _balanced(items: list[Item], plan: Plan) -> list[Item]:
    """Shuffled places: each block of K items with K answers holds all K turns of one shuffled order."""
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


def _shuffled(count: int, purpose: str, plan: Plan) -> list[int]:
    return sorted(range(count), key=lambda index: _hash(plan, purpose, str(index)))


def _with_repeats(items: list[Item], plan: Plan) -> tuple[Item, ...]:
    placed = [(float(index), item) for index, item in enumerate(items)]
    for index, item in enumerate(items):
        chosen = _hash(plan, "repeat", item.id) < plan.repeat * 2**64
        later = min(index + REPEAT_GAP + _hash(plan, "gap", item.id) % (2 * REPEAT_GAP), len(items) - 1)
        if chosen and later - index >= min(REPEAT_GAP, 3):  # so near that the first answer is still in mind: not asked
            again = replace(item, id=f"{item.id}r", shown=item.shown[::-1], repeats=item.id)
            placed.append((later + 0.5, again))
    placed.sort(key=lambda pair: pair[0])
    return tuple(item for _, item in placed)
