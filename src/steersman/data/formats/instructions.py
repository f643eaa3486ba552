"""Instructions and their answers: Alpaca, AlpacaFarm and AlpacaEval, LLMBar, Self-Instruct, MT-bench's questions, and
questions with their right answer (GSM8K, MATH)."""

from steersman.data.formats.fields import RIGHT_ANSWERS, asked, chosen_keys, has, listed, need, number, text, text_or
from steersman.data.formats.format import Format, Outcome, Row
from steersman.errors import DataError
from steersman.records import Comparison, Completion, Demonstration, Message, Prompt


def joined(instruction: str, more: str) -> str:
    """An instruction and its input, as one message."""
    return f"{instruction}\n\n{more}" if more.strip() else instruction


def _read_alpaca(row: Row) -> list[Outcome]:
    """A demonstration. The optional `history` has earlier turns as [question, answer] pairs."""
    turns: list[Message] = [Message("system", text(row, "system"))] if row.get("system") else []
    for pair in row.get("history") or []:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(one, str) for one in pair):
            raise DataError("'history' should hold pairs of question and answer, both texts")
        turns += [Message("user", pair[0]), Message("assistant", pair[1])]
    turns.append(Message("user", joined(text(row, "instruction"), text_or(row, "input"))))
    return [Demonstration(Prompt(tuple(turns)), Completion(text(row, "output")))]


def _read_alpaca_farm(row: Row) -> list[Outcome]:
    """A comparison. Preference 1 means that the first is better, 2 the second. AlpacaEval also has numbers between, and
    0 for a tie."""
    preference = number(row, "preference")
    if preference != 0 and not 1 <= preference <= 2:
        raise DataError(f"'preference' should be 1, 2, between them, or 0 for a tie: seen {preference:g}")
    prompt = asked(joined(text(row, "instruction"), text_or(row, "input")))
    first = Completion(text(row, "output_1"), model=text_or(row, "generator_1"))
    second = Completion(text(row, "output_2"), model=text_or(row, "generator_2"))
    better = 0.5 if preference == 0 else 2.0 - preference
    annotator = text_or(row, "annotator")
    return [
        Comparison(
            prompt, first, second, better, annotator=annotator, metadata=chosen_keys(row, "dataset", "datasplit")
        )
    ]


def _read_llmbar(row: Row) -> list[Outcome]:
    label = number(row, "label")
    if label not in (1.0, 2.0):
        raise DataError(f"'label' should be 1 or 2: seen {label:g}")
    first, second = Completion(text(row, "output_1")), Completion(text(row, "output_2"))
    return [Comparison(asked(text(row, "input")), first, second, 2.0 - label)]


def _read_self_instruct(row: Row) -> list[Outcome]:
    outcomes: list[Outcome] = []
    metadata = chosen_keys(row, "name", "motivation_app", "is_classification")
    for i, instance in enumerate(listed(row, "instances")):
        if not isinstance(instance, dict):
            raise DataError("an instance should be an object with 'input' and 'output'")
        content = joined(text(row, "instruction"), text_or(instance, "input"))
        id = f"{row['id']}.{i}" if row.get("id") else ""
        outcomes.append(Demonstration(asked(content, metadata=metadata), Completion(text(instance, "output")), id=id))
    if not outcomes:
        raise DataError("'instances' is empty")
    return outcomes


def _read_questions(row: Row) -> list[Outcome]:
    """The first turn as a prompt. Later turns follow the model's own answer, so they are kept in the metadata."""
    turns = listed(row, "turns")
    if not turns or not all(isinstance(turn, str) for turn in turns):
        raise DataError("'turns' should be a list of texts")
    metadata = {**chosen_keys(row, "category", "reference"), **({"later_turns": turns[1:]} if turns[1:] else {})}
    return [asked(turns[0], id=text_or(row, "question_id"), metadata=metadata)]


def _read_judge_prompt(row: Row) -> list[Outcome]:
    metadata = chosen_keys(row, "type", "description", "category", "output_format")
    return [
        asked(
            text(row, "prompt_template"),
            system=text_or(row, "system_prompt"),
            id=text_or(row, "name"),
            metadata=metadata,
        )
    ]


def _read_instruction(row: Row) -> list[Outcome]:
    return [
        asked(
            joined(text(row, "instruction"), text_or(row, "input")),
            metadata=chosen_keys(row, "dataset", *RIGHT_ANSWERS),
        )
    ]


def _read_question(row: Row) -> list[Outcome]:
    """A demonstration with the worked solution, or else the answer. The right answer is kept in the metadata, for
    verifiable rewards."""
    question = text(row, "question" if "question" in row else "problem")
    worked = text(row, "solution" if "solution" in row else "answer")
    return [Demonstration(asked(question, metadata=chosen_keys(row, *RIGHT_ANSWERS)), Completion(worked))]


def _is_question(row: Row) -> bool:
    answered = isinstance(row.get("solution", row.get("answer")), str)
    return (has(row, "question") or has(row, "problem")) and answered and not has(row, "choices")


FORMATS = (
    Format(
        "alpaca-farm",
        "AlpacaFarm and AlpacaEval preferences",
        ("instruction", "output_1", "output_2", "preference"),
        lambda row: has(row, "instruction", "output_1", "output_2", "preference"),
        _read_alpaca_farm,
    ),
    Format(
        "llmbar",
        "LLMBar",
        ("input", "output_1", "output_2", "label"),
        lambda row: has(row, "input", "output_1", "output_2", "label"),
        _read_llmbar,
    ),
    Format(
        "self-instruct",
        "Self-Instruct tasks",
        ("instruction", "instances"),
        lambda row: has(row, "instruction", "instances"),
        _read_self_instruct,
    ),
    Format(
        "alpaca",
        "Alpaca instructions",
        ("instruction", "input", "output"),
        lambda row: has(row, "instruction", "output") and isinstance(row["output"], str),
        _read_alpaca,
    ),
    Format(
        "mt-bench",
        "MT-bench questions",
        ("question_id", "category", "turns"),
        lambda row: has(row, "question_id", "turns") and bool(need(row, "turns")),
        _read_questions,
    ),
    Format(
        "judge-prompts",
        "MT-bench judge prompts",
        ("name", "system_prompt", "prompt_template"),
        lambda row: has(row, "name", "prompt_template"),
        _read_judge_prompt,
    ),
    Format(
        "instructions",
        "instructions without answers",
        ("instruction",),
        lambda row: has(row, "instruction") and not has(row, "output"),
        _read_instruction,
    ),
    Format(
        "questions",
        "questions and their right answers (GSM8K, MATH)",
        ("question", "answer"),
        _is_question,
        _read_question,
    ),
)
