"""Every database's own labels, translated at the door by an explicit table.

Labels are matched whole and, where the table says so, without regard to case; never by substring.
"""

from __future__ import annotations

from collections.abc import Mapping

from mien.core.errors import Invalid
from mien.core.expression import Expression

E = Expression

# Names people give to folders and label columns; compared in lower case.
ALIASES: Mapping[str, Expression] = {
    "anger": E.ANGER,
    "angry": E.ANGER,
    "contempt": E.CONTEMPT,
    "contemptuous": E.CONTEMPT,
    "disgust": E.DISGUST,
    "disgusted": E.DISGUST,
    "fear": E.FEAR,
    "fearful": E.FEAR,
    "afraid": E.FEAR,
    "happiness": E.HAPPINESS,
    "happy": E.HAPPINESS,
    "joy": E.HAPPINESS,
    "neutral": E.NEUTRAL,
    "sadness": E.SADNESS,
    "sad": E.SADNESS,
    "surprise": E.SURPRISE,
    "surprised": E.SURPRISE,
}

FER2013_NUMBERS: Mapping[str, Expression] = {
    "0": E.ANGER,
    "1": E.DISGUST,
    "2": E.FEAR,
    "3": E.HAPPINESS,
    "4": E.SADNESS,
    "5": E.SURPRISE,
    "6": E.NEUTRAL,
}

FER2013_FOLDERS: Mapping[str, Expression] = {
    "angry": E.ANGER,
    "disgust": E.DISGUST,
    "fear": E.FEAR,
    "happy": E.HAPPINESS,
    "sad": E.SADNESS,
    "surprise": E.SURPRISE,
    "neutral": E.NEUTRAL,
}

CK48_FOLDERS: Mapping[str, Expression] = {
    "anger": E.ANGER,
    "contempt": E.CONTEMPT,
    "disgust": E.DISGUST,
    "fear": E.FEAR,
    "happy": E.HAPPINESS,
    "sadness": E.SADNESS,
    "surprise": E.SURPRISE,
}

LONDON_FOLDERS: Mapping[str, Expression] = {"neutral": E.NEUTRAL, "smiling": E.HAPPINESS}

# A database's own parts → our names for them.
USAGES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def translate(label: str, table: Mapping[str, Expression], where: str) -> Expression:
    """Translate a label.

    Args:
        label: as the database writes it.
        table: the database's table.
        where: file (and row) the label stands in, for the message.

    Raises:
        Invalid: ``UNKNOWN_LABEL`` naming file and label and listing the known ones.
    """
    found = table.get(label)
    if found is None:
        raise Invalid(
            "UNKNOWN_LABEL",
            f"{where}: {label!r} is not a known label",
            hint=f"known: {', '.join(table)}",
            details={"file": where, "label": label},
        )
    return found


def translate_alias(label: str, where: str) -> Expression:
    """Translate a label of a user's own data: the alias table, whole, any case.

    Raises:
        Invalid: ``UNKNOWN_LABEL``.
    """
    return translate(label.strip().lower(), ALIASES, where)
