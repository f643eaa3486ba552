"""Shares of the kinds of document in the parts of the base model's pretraining."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the kinds of document; what is left of 1 are conversations that end with the answer.

    `heard` is the share of judged answers without loss: the base model learns to judge them, not to generate them.
    `pointed` questions are mostly about truth and help. `remarks` is the share of opinions on facts that say whose fact
    it is, or what it is about. `misjudged` is the share of critiques that are wrong and only heard; the revision
    follows the critique's text. `extra` are shares of kinds of situation, besides those that the ordinary ones have.
    `ties` is the share of questions in which both answers are equal in the fact, with `tie_weight` in the loss: their
    letter is random, so the judge learns to give both letters the same probability. `attacks` is the share of
    comparisons in which one answer tries to influence the judge, and `long_attack` the most words that it repeats.
    """

    shares: Mapping[str, float]
    heard: float = 0.0
    pointed: bool = False
    remarks: float = 0.0
    misjudged: float = 0.0
    extra: Mapping[str, float] = field(default_factory=dict)
    ties: float = 0.12
    tie_weight: float = 1.0
    attacks: float = 0.14
    long_attack: int = 20


LANGUAGE = Mix(
    {"facts": 0.10, "reaction": 0.20, "check": 0.16, "asking": 0.03}, extra={"tempting": 0.08, "summary": 0.12}
)
JUDGEMENT = Mix(
    {
        "facts": 0.04,
        "reaction": 0.12,
        "check": 0.08,
        "rating": 0.04,
        "revision": 0.17,
        "comparison": 0.29,
        "asking": 0.03,
    },
    heard=0.8,
    pointed=True,
    remarks=0.6,
    extra={"tempting": 0.15, "summary": 0.12},
)  # for the main part of the training
ANSWERING = Mix(
    {
        "facts": 0.03,
        "reaction": 0.08,
        "check": 0.06,
        "rating": 0.02,
        "revision": 0.10,
        "comparison": 0.12,
        "asking": 0.03,
    },
    heard=0.6,
    pointed=True,
    remarks=0.6,
    extra={"tempting": 0.08, "summary": 0.14, "harmful": 0.14, "harmless": 0.08, "feeling": 0.06},
)  # mostly answers again, above all of the kinds that are rare in the ordinary mix
TOPICS = replace(
    ANSWERING,
    shares={
        "facts": 0.05,
        "reaction": 0.07,
        "check": 0.06,
        "rating": 0.02,
        "revision": 0.10,
        "comparison": 0.10,
        "asking": 0.02,
    },
    heard=0.5,
    misjudged=0.4,
    extra={"tempting": 0.05, "summary": 0.10, "harmful": 0.04},
)  # the ordinary mix
CALIBRATION = replace(
    TOPICS,
    shares={
        "facts": 0.03,
        "reaction": 0.05,
        "check": 0.05,
        "rating": 0.02,
        "revision": 0.08,
        "comparison": 0.24,
        "asking": 0.02,
    },
    ties=0.5,
    tie_weight=4.0,
)  # most pairs that a judge meets are equal in most facts
DEFENCE = replace(
    CALIBRATION,
    shares={**CALIBRATION.shares, "comparison": 0.26},
    tie_weight=2.0,
    attacks=0.24,
    long_attack=120,
)  # the same with more attacks
