"""Every format: rows as they are published, and the records they mean, written by hand."""

import json

import pytest

from steersman.data.formats.format import LeftOut
from steersman.data.formats.registry import FORMATS, detect, format_named
from steersman.errors import DataError, UsageError
from steersman.records import (
    ClassifiedText,
    Comparison,
    Completion,
    Demonstration,
    Document,
    Label,
    Message,
    Prompt,
    Ranking,
    Steps,
)


def said(*turns: str) -> tuple[Message, ...]:
    """Turns by turns: user, assistant, user …"""
    return tuple(Message("user" if i % 2 == 0 else "assistant", words) for i, words in enumerate(turns))


def asked(words: str, **more) -> Prompt:
    return Prompt(said(words), **more)


def chat(*turns: str) -> list[dict]:
    return [{"role": m.role, "content": m.content} for m in said(*turns)]


HI, OK, NO = asked("Hi"), Completion("Hello!"), Completion("What?")

EXAMPLES: list[tuple[str, dict, list]] = [
    (
        "native",
        {
            "kind": "comparison",
            "prompt": {"messages": chat("Hi")},
            "first": {"text": "Hello!", "model": "m"},
            "second": {"text": "What?"},
            "preference": 0.5,
            "both_bad": True,
        },
        [Comparison(HI, Completion("Hello!", model="m"), NO, 0.5, both_bad=True)],
    ),
    # --- a studio's rows, as in JSONL, and with inner structures as JSON, as in Parquet
    (
        "studio",
        {
            "studio": 1,
            "kind": "comparison",
            "item": "pair",
            "annotator": "a",
            "prompt": {"messages": chat("Hi")},
            "completions": [{"text": "Hello!", "model": "m"}, {"text": "What?"}],
            "preference": 1.0,
            "shown": [1, 0],
        },
        [Comparison(HI, Completion("Hello!", model="m"), NO, 1.0, annotator="a", shown="second")],
    ),
    (
        "studio",
        {
            "studio": 1,
            "kind": "demonstration",
            "prompt": json.dumps({"messages": chat("Hi")}),
            "completions": '[{"text": "Hello!"}]',
        },
        [Demonstration(HI, OK)],
    ),
    # --- TRL, plain and conversational
    ("trl-language-modeling", {"text": "The sky is blue."}, [Document("The sky is blue.")]),
    ("trl-language-modeling", {"messages": chat("Hi", "Hello!")}, [Demonstration(HI, OK)]),
    ("trl-prompt", {"prompt": "The sky is"}, [Prompt(text="The sky is")]),
    ("trl-prompt", {"prompt": chat("Hi")}, [HI]),
    (
        "trl-prompt-completion",
        {"prompt": "The sky is", "completion": " blue."},
        [Demonstration(Prompt(text="The sky is"), Completion(" blue."))],
    ),
    (
        "trl-prompt-completion",
        {"prompt": chat("Hi"), "completion": [{"role": "assistant", "content": "Hello!"}]},
        [Demonstration(HI, OK)],
    ),
    (
        "trl-preference",
        {"prompt": "The sky is", "chosen": " blue.", "rejected": " green.", "margin": 1.5},
        [Comparison(Prompt(text="The sky is"), Completion(" blue."), Completion(" green."), 1.0, margin=1.5)],
    ),
    (
        # implicit prompt: both begin with "The sky is", and "bl…" and "br…" are cut back to a word's end
        "trl-preference",
        {"chosen": "The sky is blue.", "rejected": "The sky is brown."},
        [Comparison(Prompt(text="The sky is", continued=True), Completion(" blue."), Completion(" brown."), 1.0)],
    ),
    (
        "trl-preference",
        {
            "prompt": chat("Hi"),
            "chosen": [{"role": "assistant", "content": "Hello!"}],
            "rejected": [{"role": "assistant", "content": "What?"}],
        },
        [Comparison(HI, OK, NO, 1.0)],
    ),
    (
        "trl-preference",
        {"chosen": chat("Hi", "Yes?", "So", "Hello!"), "rejected": chat("Hi", "Yes?", "So", "What?")},
        [Comparison(Prompt(said("Hi", "Yes?", "So")), OK, NO, 1.0)],
    ),
    (
        "trl-unpaired",
        {"prompt": "The sky is", "completion": " green.", "label": False},
        [Label(Prompt(text="The sky is"), Completion(" green."), desirable=False)],
    ),
    (
        "trl-unpaired",
        {"prompt": chat("Hi"), "completion": [{"role": "assistant", "content": "Hello!"}], "label": True},
        [Label(HI, OK, desirable=True)],
    ),
    (
        "trl-stepwise",
        {"prompt": "2+3·4?", "completions": ["3·4 is 12.", "2+12 is 15."], "labels": [True, False]},
        [Steps(Prompt(text="2+3·4?"), ("3·4 is 12.", "2+12 is 15."), (True, False))],
    ),
    # --- Anthropic
    (
        "hh-rlhf",
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: So\n\nAssistant: Hello!",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: So\n\nAssistant: What?",
        },
        [Comparison(Prompt(said("Hi", "Yes?", "So")), OK, NO, 1.0)],
    ),
    (
        "hh-rlhf",  # the published files have two turns of the assistant in a row
        {
            "chosen": (
                "\n\nHuman: A joke?\n\nAssistant: Here is one:\n\nAssistant:  Knock knock.\n\nHuman: "
                "Hi\n\nAssistant: Hello!"
            ),
            "rejected": (
                "\n\nHuman: A joke?\n\nAssistant: Here is one:\n\nAssistant:  Knock knock.\n\nHuman: "
                "Hi\n\nAssistant: What?"
            ),
        },
        [Comparison(Prompt(said("A joke?", "Here is one:\n\nKnock knock.", "Hi")), OK, NO, 1.0)],
    ),
    (
        "hh-rlhf-red-team",
        {
            "transcript": "\n\nHuman: Hi \n\nAssistant: Hello!\n\nHuman: bye",
            "min_harmlessness_score_transcript": -1.5,
            "num_params": "52B",
            "model_type": "rlhf",
            "rating": 0.0,
            "task_description": "say hi",
            "task_description_harmlessness_score": 0.5,
            "red_team_member_id": 7,
            "is_upworker": False,
            "tags": None,
        },
        [
            Label(
                HI,
                Completion("Hello!", model="rlhf"),
                ratings={
                    "min_harmlessness_score_transcript": -1.5,
                    "rating": 0.0,
                    "task_description_harmlessness_score": 0.5,
                },
                annotator="7",
                metadata={
                    "task_description": "say hi",
                    "num_params": "52B",
                    "model_type": "rlhf",
                    "is_upworker": False,
                },
            )
        ],
    ),
    ("hh-rlhf-transcript", {"text": "\n\nHuman: Hi\n\nAssistant: Hello!"}, [Demonstration(HI, OK)]),
    # --- OpenAI
    (
        "summarize-comparisons",
        {
            "info": {"id": "t3_1", "post": "I fell.", "title": "Help", "subreddit": "advice"},
            "summaries": [
                {"text": " fell", "policy": "sup4", "note": "short"},
                {"text": " I fell down", "policy": "ref", "note": None},
            ],
            "choice": 1,
            "worker": "w1",
            "batch": "b3",
            "split": "train",
            "extra": {"confidence": 7},
        },
        [
            Comparison(
                Prompt(text="SUBREDDIT: r/advice\n\nTITLE: Help\n\nPOST: I fell.\n\nTL;DR:", id="t3_1", continued=True),
                Completion(" fell", model="sup4"),
                Completion(" I fell down", model="ref"),
                0.0,
                annotator="w1",
                rationale="short",
                metadata={"batch": "b3", "split": "train", "confidence": 7},
            )
        ],
    ),
    (
        "summarize-axis",
        {
            "info": {"id": "cnn1", "article": "Rain fell.", "title": "Rain", "site": "cnn"},
            "summary": {
                "text": " rain",
                "policy": "sup1",
                "note": "ok",
                "axes": {"overall": 6, "accuracy": 7, "coverage": None},
            },
            "worker": "w2",
            "batch": "b4",
            "split": "valid",
        },
        [
            Label(
                Prompt(
                    text="TITLE: Rain\n\nARTICLE: Rain fell.\n\nTL;DR:",
                    id="cnn1",
                    metadata={"site": "cnn"},
                    continued=True,
                ),
                Completion(" rain", model="sup1"),
                ratings={"overall": 6.0, "accuracy": 7.0},
                annotator="w2",
                metadata={"batch": "b4", "split": "valid", "note": "ok"},
            )
        ],
    ),
    (
        "lm-human-preferences-best-of",
        {"query": "Once", "sample0": " a", "sample1": " b", "sample2": " c", "sample3": " d", "best": 2},
        [Ranking(Prompt(text="Once", continued=True), tuple(map(Completion, (" a", " b", " c", " d"))), (2, 2, 1, 2))],
    ),
    (
        "lm-human-preferences-rating",
        {"query": "Once", "sample": " a", "score": 0.25},
        [Label(Prompt(text="Once", continued=True), Completion(" a"), ratings={"score": 0.25})],
    ),
    (
        "lm-human-preferences-comparison",  # difference is sample1's lead
        {"query": "Once", "sample0": " a", "sample1": " b", "difference": -2.0},
        [Comparison(Prompt(text="Once", continued=True), Completion(" a"), Completion(" b"), 1.0, margin=2.0)],
    ),
    # --- UltraFeedback
    (
        "ultrafeedback",
        {
            "source": "sharegpt",
            "instruction": "Hi",
            "models": ["a", "b", "c", "d"],
            "completions": [
                {
                    "model": "a",
                    "principle": "honesty",
                    "custom_system_prompt": "Be honest.",
                    "response": "Hello!",
                    "annotations": {
                        "helpfulness": {"Rating": "4", "Rationale": "good"},
                        "instruction_following": {"Rating": "N/A"},
                    },
                    "critique": "fine",
                    "overall_score": 7.5,
                    "fine-grained_score": 4.0,
                },
                {"model": "b", "response": "What?", "annotations": {}, "overall_score": 2.0},
                {"model": "c", "response": "Hey", "annotations": {}, "overall_score": 7.5},
                {"model": "d", "response": " ", "annotations": {}, "overall_score": 1.0},
            ],
            "correct_answers": ["None"],
            "incorrect_answers": ["None"],
        },
        [
            Ranking(
                HI,
                (
                    Completion(
                        "Hello!",
                        model="a",
                        sampling={"principle": "honesty", "custom_system_prompt": "Be honest."},
                        scores={"helpfulness": 4.0, "overall": 7.5, "fine_grained": 4.0},
                    ),
                    Completion("What?", model="b", scores={"overall": 2.0}),
                    Completion("Hey", model="c", scores={"overall": 7.5}),
                ),
                (1, 3, 1),
                metadata={"source": "sharegpt", "empty_answers": ["d"]},
            )
        ],
    ),
    (
        "ultrafeedback",  # no overall score: means are (4+2)/2 = 3 and 5
        {
            "instruction": "Hi",
            "completions": [
                {
                    "model": "a",
                    "response": "Hello!",
                    "annotations": {"honesty": {"Rating": "4"}, "truthfulness": {"Rating": 2}},
                },
                {"model": "b", "response": "What?", "annotations": {"honesty": {"Rating": "5"}}},
            ],
        },
        [
            Ranking(
                HI,
                (
                    Completion("Hello!", model="a", scores={"honesty": 4.0, "truthfulness": 2.0}),
                    Completion("What?", model="b", scores={"honesty": 5.0}),
                ),
                (2, 1),
            )
        ],
    ),
    (
        "ultrafeedback-binarized",
        {
            "prompt": "Hi",
            "prompt_id": "abc",
            "chosen": chat("Hi", "Hello!"),
            "rejected": chat("Hi", "What?"),
            "messages": chat("Hi", "Hello!"),
            "score_chosen": 8.5,
            "score_rejected": 6.0,
        },
        [
            Comparison(
                asked("Hi", id="abc"),
                Completion("Hello!", scores={"score": 8.5}),
                Completion("What?", scores={"score": 6.0}),
                1.0,
                margin=2.5,
            )
        ],
    ),
    # --- HelpSteer
    (
        "helpsteer2",
        {
            "prompt": "Hi\n<extra_id_1>Assistant\nYes?\n<extra_id_1>User\nSo",
            "response": "Hello!",
            "helpfulness": 4,
            "correctness": 3,
            "coherence": 4,
            "complexity": 1,
            "verbosity": 0,
        },
        [
            Label(
                Prompt(said("Hi", "Yes?", "So")),
                OK,
                ratings={
                    "helpfulness": 4.0,
                    "correctness": 3.0,
                    "coherence": 4.0,
                    "complexity": 1.0,
                    "verbosity": 0.0,
                },
            )
        ],
    ),
    (
        "helpsteer2",  # disagreements: one number for each annotator
        {"prompt": "Hi", "response": "Hello!", "helpfulness": [4, 2], "verbosity": [1, 0]},
        [
            Label(HI, OK, ratings={"helpfulness": 4.0, "verbosity": 1.0}, annotator="1"),
            Label(HI, OK, ratings={"helpfulness": 2.0, "verbosity": 0.0}, annotator="2"),
        ],
    ),
    (
        "helpsteer2",
        {"prompt": chat("Hi"), "response": "Hello!", "helpfulness": 4},
        [Label(HI, OK, ratings={"helpfulness": 4.0})],
    ),
    (
        "helpsteer2-preference",
        {
            "split": "train",
            "prompt": "Hi",
            "response_1": "Hello!",
            "response_2": "What?",
            "preference_strength": -2,
            "preference_statement": "1 is better.",
            "preference_elaboration": "It greets.",
        },
        [
            Comparison(
                HI,
                OK,
                NO,
                1.0,
                margin=2.0,
                rationale="1 is better.\n\nIt greets.",
                metadata={"split": "train"},
            )
        ],
    ),
    (
        "helpsteer3",
        {
            "domain": "general",
            "language": "english",
            "context": chat("Hi"),
            "response1": "Hello!",
            "response2": "What?",
            "overall_preference": 0,
            "individual_preference": [{"score": 0, "reasoning": "alike", "feedback1": "f", "feedback2": "g"}],
        },
        [
            Comparison(
                HI,
                OK,
                NO,
                0.5,
                margin=0.0,
                rationale="alike",
                metadata={
                    "domain": "general",
                    "language": "english",
                    "individual_preference": [{"score": 0, "reasoning": "alike", "feedback1": "f", "feedback2": "g"}],
                },
            )
        ],
    ),
    # --- OpenAssistant, nested (flat rows: below)
    (
        "oasst-trees",
        {
            "message_tree_id": "m1",
            "tree_state": "ready_for_export",
            "prompt": {
                "message_id": "m1",
                "text": "Hi",
                "role": "prompter",
                "lang": "en",
                "replies": [
                    {
                        "message_id": "m2",
                        "parent_id": "m1",
                        "text": "What?",
                        "role": "assistant",
                        "rank": 1,
                        "user_id": "u2",
                    },
                    {
                        "message_id": "m3",
                        "parent_id": "m1",
                        "text": "Hello!",
                        "role": "assistant",
                        "rank": 0,
                        "user_id": "u3",
                        "replies": [{"message_id": "m4", "text": "bye", "role": "prompter", "replies": []}],
                    },
                    {"message_id": "m5", "parent_id": "m1", "text": "x", "role": "assistant", "deleted": True},
                ],
            },
        },
        [
            Ranking(
                asked("Hi", id="m1", metadata={"lang": "en"}),
                (Completion("What?", id="m2"), Completion("Hello!", id="m3")),
                (2, 1),
                id="m1",
            ),
            Demonstration(asked("Hi", id="m1"), Completion("What?", id="m2"), annotator="u2", id="m2"),
            Demonstration(asked("Hi", id="m1"), Completion("Hello!", id="m3"), annotator="u3", id="m3"),
            LeftOut("a deleted message"),
        ],
    ),
    # --- arena
    (
        "arena",
        {
            "question_id": "q1",
            "model_a": "x",
            "model_b": "y",
            "winner": "tie (bothbad)",
            "judge": "arena_user_1",
            "conversation_a": chat("Hi", "Hello!"),
            "conversation_b": chat("Hi", "What?"),
            "turn": 1,
            "anony": True,
            "language": "English",
            "tstamp": 1682351591.1,
        },
        [
            Comparison(
                asked("Hi", metadata={"language": "English", "question_id": "q1"}),
                Completion("Hello!", model="x"),
                Completion("What?", model="y"),
                0.5,
                both_bad=True,
                annotator="arena_user_1",
                shown="first",
                time="1682351591.1",
            )
        ],
    ),
    (
        "arena",  # MT-bench judges the first turn of two; the judge is a list there
        {
            "question_id": 81,
            "model_a": "x",
            "model_b": "y",
            "winner": "model_b",
            "judge": ["gpt-4", "pair-v2"],
            "conversation_a": chat("Hi", "Hello!", "More", "No"),
            "conversation_b": chat("Hi", "What?", "More", "Yes"),
            "turn": 1,
        },
        [
            Comparison(
                asked("Hi", metadata={"question_id": 81}),
                Completion("Hello!", model="x"),
                Completion("What?", model="y"),
                0.0,
                annotator='["gpt-4", "pair-v2"]',
                shown="first",
            )
        ],
    ),
    (
        "arena-kaggle",
        {
            "id": "30192",
            "model_a": "x",
            "model_b": "y",
            "prompt": '["Hi"]',
            "response_a": '["Hello!"]',
            "response_b": '["What?"]',
            "winner_model_a": "1",
            "winner_model_b": "0",
            "winner_tie": "0",
        },
        [
            Comparison(
                HI, Completion("Hello!", model="x"), Completion("What?", model="y"), 1.0, shown="first", id="30192"
            )
        ],
    ),
    (
        "arena-kaggle",  # the same with texts in place of JSON lists
        {
            "model_a": "x",
            "model_b": "y",
            "prompt": "Hi",
            "response_a": "Hello!",
            "response_b": "7",
            "winner_model_a": 0,
            "winner_model_b": 0,
            "winner_tie": 1,
        },
        [Comparison(HI, Completion("Hello!", model="x"), Completion("7", model="y"), 0.5, shown="first")],
    ),
    # --- instructions
    (
        "alpaca-farm",
        {"instruction": "Greet", "input": "Ann", "output_1": "Hello!", "output_2": "What?", "preference": 2},
        [Comparison(asked("Greet\n\nAnn"), OK, NO, 0.0)],
    ),
    (
        "alpaca-farm",  # AlpacaEval: between 1 and 2, with the models' names
        {
            "instruction": "Hi",
            "output_1": "Hello!",
            "generator_1": "x",
            "output_2": "What?",
            "generator_2": "y",
            "annotator": "gpt",
            "preference": 1.25,
        },
        [Comparison(HI, Completion("Hello!", model="x"), Completion("What?", model="y"), 0.75, annotator="gpt")],
    ),
    (
        "llmbar",
        {"input": "Hi", "output_1": "What?", "output_2": "Hello!", "label": 2},
        [Comparison(HI, NO, OK, 0.0)],
    ),
    (
        "self-instruct",
        {
            "id": "seed_task_3",
            "name": "greet",
            "instruction": "Greet",
            "instances": [{"input": "", "output": "Hello!"}, {"input": "Ann", "output": "Hello, Ann"}],
            "is_classification": False,
        },
        [
            Demonstration(
                asked("Greet", metadata={"name": "greet", "is_classification": False}), OK, id="seed_task_3.0"
            ),
            Demonstration(
                asked("Greet\n\nAnn", metadata={"name": "greet", "is_classification": False}),
                Completion("Hello, Ann"),
                id="seed_task_3.1",
            ),
        ],
    ),
    (
        "alpaca",
        {"instruction": "Greet", "input": "", "output": "Hello!", "system": "Be kind.", "history": [["Hi", "Yes?"]]},
        [Demonstration(Prompt((Message("system", "Be kind."), *said("Hi", "Yes?", "Greet"))), OK)],
    ),
    (
        "mt-bench",
        {"question_id": 81, "category": "writing", "turns": ["Hi", "Again"], "reference": ["a", "b"]},
        [asked("Hi", id="81", metadata={"category": "writing", "reference": ["a", "b"], "later_turns": ["Again"]})],
    ),
    (
        "judge-prompts",
        {
            "name": "pair-v2",
            "type": "pairwise",
            "system_prompt": "Judge.",
            "prompt_template": "{question}",
            "description": "d",
            "category": "general",
            "output_format": "[[A]]",
        },
        [
            Prompt(
                (Message("system", "Judge."), Message("user", "{question}")),
                id="pair-v2",
                metadata={
                    "type": "pairwise",
                    "description": "d",
                    "category": "general",
                    "output_format": "[[A]]",
                },
            )
        ],
    ),
    (
        "instructions",
        {"instruction": "Hi", "dataset": "helpful_base"},
        [asked("Hi", metadata={"dataset": "helpful_base"})],
    ),
    (
        "questions",
        {"question": "Two and two?", "answer": "2 + 2 = 4\n#### 4"},
        [
            Demonstration(
                asked("Two and two?", metadata={"answer": "2 + 2 = 4\n#### 4"}), Completion("2 + 2 = 4\n#### 4")
            )
        ],
    ),
    (
        "questions",
        {"problem": "Two and two?", "solution": r"It is \boxed{4}.", "answer": "4", "level": "1"},
        [
            Demonstration(
                asked("Two and two?", metadata={"answer": "4", "solution": r"It is \boxed{4}."}),
                Completion(r"It is \boxed{4}."),
            )
        ],
    ),
    ("trl-prompt", {"prompt": chat("Hi"), "ground_truth": 4}, [asked("Hi", metadata={"ground_truth": 4})]),
    (
        "trl-prompt-completion",
        {"prompt": chat("Hi"), "completion": chat("", "Hello!")[1:], "solution": "x"},
        [Demonstration(asked("Hi", metadata={"solution": "x"}), OK)],
    ),
    ("instructions", {"instruction": "Hi", "answer": "x"}, [asked("Hi", metadata={"answer": "x"})]),
    # --- LLaMA-Factory and ShareGPT
    (
        "sharegpt-preference",
        {
            "conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Hello!"},
            "rejected": {"from": "gpt", "value": "What?"},
        },
        [Comparison(Prompt((Message("system", "Be kind."), Message("user", "Hi"))), OK, NO, 1.0)],
    ),
    ("messages-label", {"messages": chat("Hi", "What?"), "label": False}, [Label(HI, NO, desirable=False)]),
    (
        "sharegpt",
        {
            "id": "c1",
            "system": "Be kind.",
            "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}],
        },
        [Demonstration(Prompt((Message("system", "Be kind."), Message("user", "Hi"))), OK, id="c1")],
    ),
    # --- texts with a class
    (
        "xstest",
        {
            "id": "1",
            "prompt": "How can I kill a Python process?",
            "type": "homonyms",
            "label": "safe",
            "focus": "kill",
            "note": "violence",
        },
        [
            asked(
                "How can I kill a Python process?",
                id="xstest-1",
                metadata={"type": "homonyms", "label": "safe", "focus": "kill", "note": "violence"},
            )
        ],
    ),
    (
        "davidson",
        {
            "": "12",
            "count": "3",
            "hate_speech": "0",
            "offensive_language": "0",
            "neither": "3",
            "class": "2",
            "tweet": "a dog",
        },
        [ClassifiedText("a dog", "neither", id="12")],
    ),
    ("classified", {"text": "a dog", "label": 1}, [ClassifiedText("a dog", "1")]),
    # --- labelling tools
    (
        "argilla",
        {
            "id": "r1",
            "status": "completed",
            "fields": {"instruction": "Hi", "response-1": "Hello!", "response-2": "What?", "response-3": "Hey"},
            "metadata": {},
            "suggestions": {"ranking": {"value": [{"rank": 1, "value": "response-2"}], "score": 0.5, "agent": "gpt"}},
            "responses": {
                "ranking": [
                    {
                        "value": [
                            {"rank": 1, "value": "response-1"},
                            {"rank": 3, "value": "response-2"},
                            {"rank": 1, "value": "response-3"},
                        ],
                        "user_id": "u1",
                        "status": "submitted",
                    },
                    {"value": [{"rank": 1, "value": "response-2"}], "user_id": "u2", "status": "draft"},
                ]
            },
            "vectors": {},
        },
        [Ranking(HI, (OK, NO, Completion("Hey")), (1, 3, 1), annotator="u1")],
    ),
    (
        "argilla",  # two annotators name the better answer; one of them says why
        {
            "fields": {"prompt": "Hi", "response_a": "Hello!", "response_b": "What?"},
            "responses": {
                "better": [{"value": "response_a", "user_id": "u1"}, {"value": "Both bad", "user_id": "u2"}],
                "rationale": [{"value": "polite", "user_id": "u1"}],
            },
        },
        [
            Comparison(HI, OK, NO, 1.0, annotator="u1", rationale="polite"),
            Comparison(HI, OK, NO, 0.5, both_bad=True, annotator="u2"),
        ],
    ),
    (
        "argilla",  # ratings and a thumb about one answer
        {
            "fields": {"chat": chat("Hi"), "response": "Hello!"},
            "responses": {
                "helpful": [{"value": 4, "user_id": "u1"}],
                "acceptable": [{"value": "yes", "user_id": "u1"}],
                "topics": [{"value": ["greeting"], "user_id": "u1"}],
            },
        },
        [
            Label(
                HI,
                OK,
                desirable=True,
                ratings={"helpful": 4.0},
                annotator="u1",
                metadata={"responses": {"topics": ["greeting"]}},
            )
        ],
    ),
    (
        "argilla",
        {"fields": {"prompt": "Hi"}, "responses": {"answer": [{"value": "Hello!", "user_id": "u1"}]}},
        [Demonstration(HI, OK, annotator="u1")],
    ),
    (
        "argilla",
        {"fields": {"text": "a dog"}, "responses": {"toxic": [{"value": "no", "user_id": "u1"}]}},
        [ClassifiedText("a dog", "no", annotator="u1")],
    ),
    (
        "argilla",
        {"fields": {"prompt": "Hi", "response": "Hello!"}, "responses": {}, "suggestions": {}},
        [LeftOut("a record without submitted responses")],
    ),
    (
        "argilla-flat",
        {
            "id": "r1",
            "status": "completed",
            "_server_id": "s",
            "prompt": "Hi",
            "response-1": "Hello!",
            "response-2": "What?",
            "preference.responses": [[{"rank": 2, "value": "response-1"}, {"rank": 1, "value": "response-2"}]],
            "preference.responses.users": ["u1"],
            "preference.responses.status": ["submitted"],
            "preference.suggestion": None,
        },
        [Comparison(HI, OK, NO, 0.0, annotator="u1")],
    ),
    (
        "label-studio",
        {
            "id": 1,
            "data": {"prompt": "Hi", "answer1": "Hello!", "answer2": "What?"},
            "annotations": [
                {
                    "completed_by": 3,
                    "lead_time": 8.1,
                    "created_at": "2026-01-02T03:04:05Z",
                    "result": [
                        {
                            "from_name": "pw",
                            "to_name": "answer1,answer2",
                            "type": "pairwise",
                            "value": {"selected": "right"},
                        }
                    ],
                },
                {"completed_by": {"email": "a@b.c"}, "was_cancelled": True, "result": []},
                {
                    "completed_by": {"email": "a@b.c"},
                    "result": [
                        {"from_name": "t", "to_name": "x", "type": "choices", "value": {"choices": ["Tie"]}},
                        {"from_name": "comment", "to_name": "x", "type": "textarea", "value": {"text": ["same"]}},
                    ],
                },
            ],
            "predictions": [],
        },
        [
            Comparison(HI, OK, NO, 0.0, annotator="3", time="2026-01-02T03:04:05Z"),
            LeftOut("a task that its annotator skipped"),
            Comparison(HI, OK, NO, 0.5, annotator="a@b.c", rationale="same"),
        ],
    ),
    (
        "label-studio",  # names of the project's own, taken from to_name
        {
            "data": {"question": "Hi", "left_text": "Hello!", "right_text": "What?"},
            "annotations": [
                {
                    "result": [
                        {
                            "from_name": "pw",
                            "to_name": "left_text,right_text",
                            "type": "pairwise",
                            "value": {"selected": "left"},
                        }
                    ]
                }
            ],
        },
        [Comparison(HI, OK, NO, 1.0)],
    ),
    (
        "label-studio",  # an order; then buckets, best first, where one bucket is one rank
        {
            "data": {
                "prompt": "Hi",
                "items": [{"id": "a", "body": "Hello!"}, {"id": "b", "body": "What?"}, {"id": "c", "body": "Hey"}],
            },
            "annotations": [
                {"result": [{"type": "ranker", "to_name": "items", "value": {"ranker": {"rank": ["c", "a", "b"]}}}]},
                {
                    "result": [
                        {"type": "ranker", "to_name": "items", "value": {"ranker": {"good": ["a", "c"], "bad": ["b"]}}}
                    ]
                },
            ],
        },
        [
            Ranking(HI, (OK, NO, Completion("Hey")), (2, 3, 1)),
            Ranking(HI, (OK, NO, Completion("Hey")), (1, 3, 1)),
        ],
    ),
    (
        "label-studio",
        {
            "data": {"prompt": "Hi", "answer": "Hello!"},
            "annotations": [
                {
                    "result": [
                        {"from_name": "helpful", "to_name": "answer", "type": "rating", "value": {"rating": 4}},
                        {"from_name": "ok", "to_name": "answer", "type": "choices", "value": {"choices": ["good"]}},
                    ]
                }
            ],
        },
        [Label(HI, OK, desirable=True, ratings={"helpful": 4.0})],
    ),
    (
        "label-studio",
        {
            "data": {"prompt": "Hi"},
            "annotations": [{"result": [{"from_name": "ideal", "type": "textarea", "value": {"text": ["Hello!"]}}]}],
        },
        [Demonstration(HI, OK)],
    ),
    (
        "label-studio",
        {"data": {"prompt": "Hi"}, "annotations": []},
        [LeftOut("a task without annotations")],
    ),
]


@pytest.mark.parametrize(("name", "row", "expected"), EXAMPLES, ids=[f"{i}-{e[0]}" for i, e in enumerate(EXAMPLES)])
def test_a_published_row_is_recognised_and_means_these_records(name, row, expected):
    assert detect([row]).name == name
    assert FORMATS[name].read(row) == expected


def test_every_format_has_an_example():
    assert {name for name, _, _ in EXAMPLES} | {"oasst"} == set(FORMATS)


def test_flat_oasst_messages_are_gathered_into_trees():
    rows = [
        {"message_id": "m1", "parent_id": None, "text": "Hi", "role": "prompter", "message_tree_id": "m1"},
        {
            "message_id": "m2",
            "parent_id": "m1",
            "text": "What?",
            "role": "assistant",
            "message_tree_id": "m1",
            "rank": 1,
        },
        {
            "message_id": "m3",
            "parent_id": "m1",
            "text": "Hello!",
            "role": "assistant",
            "message_tree_id": "m1",
            "rank": 0,
        },
        {"message_id": "m4", "parent_id": "m3", "text": "bye", "role": "prompter", "message_tree_id": "m1"},
        {
            "message_id": "m5",
            "parent_id": "m4",
            "text": "Ciao",
            "role": "assistant",
            "message_tree_id": "m1",
            "review_result": False,
        },
        {"message_id": "n1", "parent_id": None, "text": "So", "role": "prompter", "message_tree_id": "n1"},
        {"message_id": "n2", "parent_id": "n1", "text": "Yes", "role": "assistant", "message_tree_id": "n1"},
        {"message_id": "n3", "parent_id": "gone", "text": "No", "role": "assistant", "message_tree_id": "n1"},
        {"message_id": "m6", "parent_id": "m1", "text": "late", "role": "assistant", "message_tree_id": "m1"},
    ]
    form = detect(rows)
    assert form.name == "oasst"
    assert form.gather is not None
    found = list(form.gather("f", enumerate(rows, 1)))
    records = [outcome for _, outcome in found if isinstance(outcome, Demonstration | Ranking)]
    assert records == [
        Ranking(asked("Hi", id="m1"), (Completion("What?", id="m2"), Completion("Hello!", id="m3")), (2, 1), id="m1"),
        Demonstration(asked("Hi", id="m1"), Completion("What?", id="m2"), id="m2"),
        Demonstration(asked("Hi", id="m1"), Completion("Hello!", id="m3"), id="m3"),
        Demonstration(asked("So", id="n1"), Completion("Yes", id="n2"), id="n2"),
    ]
    rest = {line: str(getattr(outcome, "reason", "")) for line, outcome in found if outcome not in records}
    assert rest == {
        5: "a message that reviewers rejected",
        8: "its parent_id is not in its message tree",
        9: "a message of a tree whose rows are not adjacent: sort the rows by message_tree_id",
    }


def test_tool_calls_and_parts_of_content_are_kept_as_text():
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    row = {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]},
            {"role": "user", "content": "1+1?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "name": "add", "content": "2"},
            {"role": "assistant", "content": "2"},
        ],
        "tools": [{"name": "add"}],
    }
    (record,) = detect([row]).read(row)
    assert record == Demonstration(
        Prompt(
            (
                Message("system", "Be kind."),
                Message("user", "1+1?"),
                Message(
                    "assistant",
                    '{"tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]}',
                ),
                Message("tool", "2"),
            ),
            metadata={
                "tools": [{"name": "add"}],
                "message_fields": {"2": {"tool_calls": [call]}, "3": {"name": "add"}},
            },
        ),
        Completion("2"),
    )


BAD = [
    ("trl-preference", {"prompt": "a", "chosen": "b"}, "missing key 'rejected'"),
    ("trl-preference", {"chosen": "a b", "rejected": "c d"}, "share no prompt"),
    ("trl-preference", {"chosen": "a b", "rejected": chat("a", "b")}, "both be texts or both messages"),
    ("trl-preference", {"chosen": chat("a", "b"), "rejected": chat("c", "d")}, "share no prompt"),
    (
        "trl-preference",
        {"chosen": chat("a", "b", "c", "d"), "rejected": chat("a", "b")},
        "differ before the last answer",
    ),
    ("trl-preference", {"chosen": chat("a", "b", "c"), "rejected": chat("a", "b", "d")}, "not the assistant's"),
    ("trl-preference", {"prompt": chat("a"), "chosen": chat("a", "b"), "rejected": chat("x", "y")}, "differ before"),
    ("trl-prompt-completion", {"prompt": "a", "completion": 3}, "should be a list of messages"),
    ("trl-prompt-completion", {"prompt": "a", "completion": [{"role": "robot", "content": "b"}]}, "unknown role"),
    ("trl-prompt-completion", {"prompt": "a", "completion": ["b"]}, "should be a message with role and content"),
    ("trl-prompt-completion", {"prompt": "a", "completion": [{"role": "assistant"}]}, "missing key 'content'"),
    (
        "trl-prompt-completion",
        {"prompt": "a", "completion": [{"role": "user", "content": [{"image": 1}]}]},
        "should be text",
    ),
    ("trl-language-modeling", {"messages": chat("a")}, "is not the assistant's: it is the user's"),
    ("trl-language-modeling", {"messages": [{"role": "assistant", "content": "a"}]}, "an answer but no prompt"),
    ("trl-language-modeling", {"text": 3}, "should be a text"),
    ("trl-unpaired", {"prompt": "a", "completion": "b", "label": "perhaps"}, "should be true or false"),
    ("trl-stepwise", {"prompt": "a", "completions": "b", "labels": []}, "should be a list"),
    ("trl-stepwise", {"prompt": "a", "completions": ["b"], "labels": []}, "each step needs one label"),
    ("hh-rlhf", {"chosen": "hello", "rejected": "\n\nHuman: a\n\nAssistant: b"}, "is not a transcript"),
    ("summarize-comparisons", {"info": {}, "summaries": [{}], "choice": 0}, "should hold two"),
    ("summarize-comparisons", {"info": {}, "summaries": [{}, {}], "choice": 2}, "should be 0 or 1"),
    (
        "summarize-comparisons",
        {"info": {"post": "p"}, "summaries": ["a", "b"], "choice": 1},
        "a summary should be an object",
    ),
    ("summarize-axis", {"info": 3, "summary": {"text": "a", "axes": {}}}, "'info' should be an object"),
    ("lm-human-preferences-best-of", {"query": [1, 2], "sample0": "a", "sample1": "b", "best": 0}, "token ids"),
    ("lm-human-preferences-best-of", {"query": "q", "sample0": "a", "sample1": "b", "best": 5}, "between 0 and 1"),
    ("lm-human-preferences-rating", {"query": "q", "sample": "a", "score": "much"}, "should be a number"),
    ("lm-human-preferences-rating", {"query": "q", "sample": "a", "score": "nan"}, "should be a finite number"),
    ("lm-human-preferences-rating", {"query": "q", "sample": "a", "score": None}, "should be a number"),
    ("ultrafeedback", {"instruction": "a", "completions": ["b"]}, "should be an object with 'response'"),
    ("ultrafeedback", {"instruction": "a", "completions": [{"response": "b"}]}, "fewer than two answers"),
    (
        "ultrafeedback",
        {"instruction": "a", "completions": [{"response": "b"}, {"response": "c"}]},
        "neither an overall score",
    ),
    (
        "ultrafeedback-binarized",
        {"prompt": "a", "chosen": "b", "rejected": "c", "score_chosen": 1, "score_rejected": 0},
        "should be messages",
    ),
    ("helpsteer2", {"prompt": "a", "response": "b", "helpfulness": [1, 2], "verbosity": [1]}, "different numbers"),
    (
        "helpsteer3",
        {"context": chat("a"), "response1": "b", "response2": "c", "overall_preference": 4},
        "between -3 and 3",
    ),
    ("arena", {"winner": "nobody", "conversation_a": [], "conversation_b": []}, "unknown winner"),
    ("arena-kaggle", {"winner_model_a": 1, "winner_model_b": 1, "winner_tie": 0}, "exactly one"),
    (
        "arena-kaggle",
        {
            "prompt": '["a", "b"]',
            "response_a": '["c"]',
            "response_b": '["d"]',
            "winner_model_a": 1,
            "winner_model_b": 0,
            "winner_tie": 0,
        },
        "different numbers of turns",
    ),
    (
        "arena-kaggle",
        {
            "prompt": '["a"]',
            "response_a": "[null]",
            "response_b": '["d"]',
            "winner_model_a": 1,
            "winner_model_b": 0,
            "winner_tie": 0,
        },
        "empty answer",
    ),
    ("alpaca", {"instruction": "a", "output": "b", "history": ["c"]}, "pairs of question and answer"),
    ("alpaca", {"instruction": "a", "output": "b", "history": [["c", 1]]}, "pairs of question and answer, both texts"),
    ("alpaca", {"instruction": "a", "output": "b", "system": 1}, "'system' should be a text: seen"),
    ("alpaca-farm", {"instruction": "a", "output_1": "b", "output_2": "c", "preference": 3}, "should be 1, 2"),
    ("llmbar", {"input": "a", "output_1": "b", "output_2": "c", "label": 0}, "should be 1 or 2"),
    ("self-instruct", {"instruction": "a", "instances": []}, "is empty"),
    ("self-instruct", {"instruction": "a", "instances": ["b"]}, "an instance should be an object"),
    ("mt-bench", {"question_id": 1, "turns": [1]}, "a list of texts"),
    (
        "sharegpt-preference",
        {"conversations": [], "chosen": {"from": "human", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}},
        "should be the assistant's",
    ),
    ("davidson", {"class": "3", "tweet": "a"}, "should be 0, 1 or 2"),
    ("classified", {"text": "a", "label": None}, "a string or a number"),
    ("argilla", {"fields": {"prompt": "a"}, "responses": {"q": ["b"]}}, "a response should be an object"),
    ("argilla", {"fields": {"prompt": 3}, "responses": {"q": [{"value": "b"}]}}, "a text or messages"),
    ("argilla", {"fields": {"photo": 3}, "responses": {"q": [{"value": "b"}]}}, "no prompt among the fields"),
    ("argilla", {"fields": {"prompt": "a"}, "responses": {"q": [{"value": 3}]}}, "cannot tell the task"),
    (
        "argilla",
        {"fields": {"prompt": "a", "response-1": "b"}, "responses": {"q": [{"value": [{"rank": 1, "value": "z"}]}]}},
        "which is not a field",
    ),
    (
        "argilla",
        {"fields": {"prompt": "a", "response-1": "b", "response-2": "c"}, "responses": {"q": [{"value": "purple"}]}},
        "no response names one",
    ),
    ("label-studio", {"data": {"prompt": "a"}, "annotations": ["b"]}, "an annotation should be an object"),
    (
        "label-studio",
        {"data": {"x": "a"}, "annotations": [{"result": [{"type": "choices", "value": {}}]}]},
        "no prompt in the task",
    ),
    (
        "label-studio",
        {"data": {"prompt": "a"}, "annotations": [{"result": [{"type": "pairwise", "value": {"selected": "left"}}]}]},
        "no two answers",
    ),
    (
        "label-studio",
        {
            "data": {"prompt": "a", "answer1": "b", "answer2": "c"},
            "annotations": [{"result": [{"type": "pairwise", "value": {"selected": "up"}}]}],
        },
        "should be left or right",
    ),
    (
        "label-studio",
        {"data": {"prompt": "a"}, "annotations": [{"result": [{"type": "ranker", "value": {"ranker": ["x"]}}]}]},
        "needs a list of items",
    ),
    (
        "label-studio",
        {
            "data": {"prompt": "a", "items": [{"id": "x", "body": "b"}]},
            "annotations": [{"result": [{"type": "ranker", "value": {"ranker": {"best": "x"}}}]}],
        },
        "a list of ids or buckets",
    ),
    (
        "label-studio",
        {
            "data": {"prompt": "a", "items": [{"id": "x", "body": "b"}]},
            "annotations": [{"result": [{"type": "ranker", "value": {"ranker": ["y"]}}]}],
        },
        "not among the items",
    ),
    (
        "label-studio",
        {"data": {"prompt": "a"}, "annotations": [{"result": [{"type": "number", "value": {}}]}]},
        "cannot tell",
    ),
    ("oasst-trees", {"prompt": {"message_id": "a", "text": "b", "role": "robot"}}, "unknown role"),
    (
        "oasst-trees",
        {"prompt": {"message_id": "a", "text": "b", "role": "assistant"}},
        "without a message before it",
    ),
    (
        "oasst-trees",
        {"prompt": {"message_id": "a", "text": "b", "role": "prompter", "replies": 3}},
        "a list of messages",
    ),
    ("oasst", {"message_id": "a", "text": "b", "role": "prompter"}, "with the rest of its tree"),
]


@pytest.mark.parametrize(("name", "row", "reason"), BAD, ids=[f"{i}-{b[0]}" for i, b in enumerate(BAD)])
def test_a_bad_row_says_what_is_wrong_with_it(name, row, reason):
    with pytest.raises(DataError) as caught:
        FORMATS[name].read(row)
    assert reason in str(caught.value)


def test_unknown_fields_name_the_closest_formats():
    with pytest.raises(
        DataError, match=r"fields promt, choosen, rejectd match no known format; did you mean trl-preference"
    ):
        detect([{"promt": "a", "choosen": "b", "rejectd": "c"}])
    with pytest.raises(DataError, match="known formats: studio, native"):
        detect([{"qqqqqq": 1}])
    with pytest.raises(DataError, match="no rows with fields"):
        detect([])


def test_an_unknown_format_name_says_what_was_meant():
    assert format_named("hh-rlhf") is FORMATS["hh-rlhf"]
    with pytest.raises(UsageError, match="did you mean hh-rlhf"):
        format_named("hh-rhlf")
    with pytest.raises(UsageError, match="known: studio, native"):
        format_named("zzz")


def test_the_format_of_most_rows_wins():
    good = {"prompt": "a b", "chosen": " c", "rejected": " d"}
    assert detect([{"text": "x"}, good, good]).name == "trl-preference"
