"""What a critic, a reviser and a judge are sent. Model text is data: it stands between nonces that do not occur in it,
and its control characters are visible symbols.

A nonce is a function of the seed and the record, so that a continued run sends the same requests.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from steersman.constitution.document import RATING_QUESTION, Constitution
from steersman.inert import inert
from steersman.records import Message, Messages, Principle, PrincipleExample, Prompt

Examples = Sequence[tuple[Principle, PrincipleExample]]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a model is sent. `opening` is how its reply begins: the model continues it.

    `choices` are the replies whose probabilities are compared; empty where the reply is generated. `control` are
    strings in the messages that are encoded as control tokens; the texts of models have none of them.
    """

    messages: Messages
    opening: str = ""
    choices: tuple[str, ...] = ()
    control: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The request as one text for display."""
        shown = "\n\n".join(f"[{message.role}]\n{message.content}" for message in self.messages)
        return f"{shown}\n\n[assistant]\n{self.opening}".rstrip() if self.opening else shown


def make_nonce(seed: int, *ids: object, absent_from: Sequence[str] = ()) -> str:
    """Sixteen hex digits that depend on the seed and the ids, and occur in none of the texts."""
    texts = [text.casefold() for text in absent_from]
    for attempt in range(1_000_000):
        digest = hashlib.sha256(repr((seed, *map(str, ids), attempt)).encode()).hexdigest()[:16]
        if not any(digest in text for text in texts):
            return digest
    raise AssertionError("a text cannot contain a million nonces of 64 bits")  # pragma: no cover


def comparison_request(
    constitution: Constitution,
    principle: Principle,
    prompt: Prompt,
    answers: tuple[str, str],
    *,
    seed: int,
    reasoning: bool = False,
) -> ModelRequest:
    """Which of two answers is better by this principle. The reverse order is the same call with the answers swapped.

    With `reasoning` the judge gives reasons first; `verdict_request` then asks for the choice.
    """
    judge = constitution.judge
    template = judge.reasoning if reasoning else judge.comparison
    content = _fill(
        template,
        {"first": answers[0], "second": answers[1]},
        {
            "question": principle.comparison_question,
            "choice_1": judge.choices[0].strip(),
            "choice_2": judge.choices[1].strip(),
        },
        prompt,
        (seed, principle.name),
        judge.control_tokens,
    )
    opening = judge.reasoning_opening if reasoning else judge.opening
    return ModelRequest((Message("user", content),), opening, () if reasoning else judge.choices, judge.control_tokens)


def verdict_request(constitution: Constitution, reasoned: ModelRequest, reasons: str) -> ModelRequest:
    """The choice after the judge's reasons: the same messages; the reply opens with the reasons and `verdict`."""
    judge = constitution.judge
    said = " ".join(part for part in (reasoned.opening, inert(reasons).strip()) if part)
    return ModelRequest(reasoned.messages, f"{said}\n{judge.verdict}", judge.choices, reasoned.control)


def rating_request(
    constitution: Constitution, principle: Principle, prompt: Prompt, answer: str, *, seed: int
) -> ModelRequest:
    """How good an answer is by this principle, from 1 to `judge.highest`."""
    judge = constitution.judge
    question = principle.rating_question or f"{principle.text} {RATING_QUESTION}".strip()
    choices = tuple(str(number) for number in range(1, judge.highest + 1))
    if judge.rating_form == "turns":
        turns = (*_turns(prompt), Message("assistant", inert(answer)), Message("user", question))
        return ModelRequest(turns, judge.rating_opening, choices)
    content = _fill(
        judge.rating,
        {"answer": answer},
        {"question": question, "highest": str(judge.highest)},
        prompt,
        (seed, principle.name),
    )
    return ModelRequest((Message("user", content),), judge.rating_opening, choices)


def critique_request(
    constitution: Constitution,
    principle: Principle,
    prompt: Prompt,
    answer: str,
    *,
    seed: int,
    examples: Examples = (),
) -> ModelRequest:
    """A critique of an answer by this principle. `examples` come before, as earlier turns."""
    earlier = _shown(constitution, examples, "critique")
    if constitution.critic.form == "turns":
        turns = (*_turns(prompt), Message("assistant", inert(answer)), Message("user", principle.critique_request))
        return ModelRequest(_after(earlier, turns))
    content = _fill(
        constitution.critic.critique,
        {"answer": answer},
        {"request": principle.critique_request},
        prompt,
        (seed, principle.name),
    )
    return ModelRequest((*earlier, Message("user", content)))


def revision_request(
    constitution: Constitution,
    principle: Principle,
    prompt: Prompt,
    answer: str,
    critique: str,
    *,
    seed: int,
    examples: Examples = (),
) -> ModelRequest:
    """The answer revised by this principle and this critique. `examples` come before, as earlier turns."""
    earlier = _shown(constitution, examples, "revision")
    if constitution.critic.form == "turns":
        turns = (
            *_turns(prompt),
            Message("assistant", inert(answer)),
            Message("user", principle.critique_request),
            Message("assistant", inert(critique)),
            Message("user", principle.revision_request),
        )
        return ModelRequest(_after(earlier, turns))
    content = _fill(
        constitution.critic.revision,
        {"answer": answer, "critique": critique},
        {"request": principle.revision_request},
        prompt,
        (seed, principle.name),
    )
    return ModelRequest((*earlier, Message("user", content)))


def _shown(constitution: Constitution, examples: Examples, what: str) -> Messages:
    """Worked examples as earlier turns, each in the form of the request itself."""
    found: list[Message] = []
    for principle, example in examples:
        prompt = Prompt((Message("user", example.prompt),))
        if what == "critique":
            asked = critique_request(constitution, principle, prompt, example.answer, seed=0)
            reply = example.critique
        else:
            asked = revision_request(constitution, principle, prompt, example.answer, example.critique, seed=0)
            reply = example.revision
        found += [*asked.messages, Message("assistant", reply)]
    return tuple(found)


def _turns(prompt: Prompt) -> Messages:
    """A prompt's messages, inert; a plain text is a user's message."""
    if prompt.text is not None:
        return (Message("user", inert(prompt.text)),)
    return tuple(Message(message.role, inert(message.content)) for message in prompt.messages)


def _after(earlier: Messages, turns: Messages) -> Messages:
    """Turns after earlier ones. A system message stays first: chat templates take it nowhere else."""
    system = tuple(turn for turn in turns[:1] if turn.role == "system")
    return (*system, *earlier, *turns[len(system) :])


def _fill(
    template: str,
    data: Mapping[str, str],
    own: Mapping[str, str],
    prompt: Prompt,
    seeded: tuple[int, str],
    control: tuple[str, ...] = (),
) -> str:
    """The template with its fields filled, each once: braces in a text stay as they are.

    `data` are texts of models, `own` the constitution's words. The nonce depends on `seeded` and the prompt. `control`
    tokens in a text become other characters.
    """
    turns = tuple(Message(turn.role, _without(control, turn.content)) for turn in _turns(prompt))
    safe = {key: _without(control, inert(text)) for key, text in data.items()}
    nonce = make_nonce(*seeded, prompt.id, absent_from=[*(turn.content for turn in turns), *safe.values()])
    marked = any(name == "nonce" for _, name, _, _ in Formatter().parse(template))
    filled = {**own, **safe, "conversation": _conversation(turns, nonce if marked else ""), "nonce": nonce}
    return "".join(text + (filled[name] if name else "") for text, name, _, _ in Formatter().parse(template))


def _without(control: tuple[str, ...], text: str) -> str:
    """The text with the first character of each control token replaced by its code, as `inert` writes one."""
    for token in control:
        text = text.replace(token, f"⟨U+{ord(token[0]):04X}⟩{token[1:]}")
    return text


def _conversation(turns: Messages, nonce: str) -> str:
    """A conversation as one text: a single user's message as it is, several turns each after a line with its role."""
    if len(turns) == 1 and turns[0].role == "user":
        return turns[0].content
    mark = f" {nonce}" if nonce else ""
    return "\n".join(f"--- {turn.role}{mark} ---\n{turn.content}" for turn in turns)
