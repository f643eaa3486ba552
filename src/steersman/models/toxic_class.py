"""Finds the class of a classifier that means toxic, by the names of its classes."""

from collections.abc import Sequence

from steersman.errors import ModelError
from steersman.models.classifier import class_index

TOXIC = ("toxic", "toxicity", "hate", "hateful", "hate speech", "offensive", "abusive")
CLEAN = ("not toxic", "non toxic", "nontoxic", "not hate", "nothate", "non hate", "not offensive", "non offensive")


def toxic_class(classes: Sequence[str], label: str | None, name: str) -> tuple[str, bool]:
    """The class to use, and whether toxic is its complement (two classes, of which one is called not toxic)."""
    if label is not None:
        return classes[class_index(classes, label, name)], False
    plain = [label.casefold().replace("_", " ").replace("-", " ").strip() for label in classes]
    for known in TOXIC:
        if known in plain:
            return classes[plain.index(known)], False
    clean = [i for i, label in enumerate(plain) if label in CLEAN]
    if len(classes) == 2 and len(clean) == 1:
        return classes[clean[0]], True
    raise ModelError(
        f"{name!r} has no class whose name means toxic; its classes are {', '.join(classes)}. "
        f"Expected {', '.join(TOXIC[:3])} or similar, or two classes of which one is not toxic; "
        "name the class with toxicity.label=..."
    )
