"""Read a Dockerfile: its stages, and what stands in them."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = (ROOT / "services" / "Dockerfile", ROOT / "mlflow" / "Dockerfile")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One of them, with what follows it."""

    word: str
    rest: str


@dataclass(frozen=True, slots=True)
class Stage:
    """FROM to the next FROM."""

    image: str
    name: str
    body: tuple[Instruction, ...]

    def all(self, word):
        """What follows each instruction of this name."""
        return [i.rest for i in self.body if i.word == word]

    def last(self, word):
        """What follows the last of this name, or ""."""
        return next(iter(reversed(self.all(word))), "")

    def arguments(self):
        """ARG → its default."""
        given = (a.partition("=") for a in self.all("ARG"))
        return {name: value for name, _, value in given}

    def environment(self):
        """ENV → its value, arguments put in."""
        found = {}
        for rest in self.all("ENV"):
            for word in shlex.split(rest):
                name, _, value = word.partition("=")
                found[name] = fill(value, self.arguments())
        return found

    def command(self, word):
        """An instruction in exec form, as a list; what stands before its brackets is dropped."""
        rest = self.last(word)
        return json.loads(rest[rest.index("[") :]) if rest else []


def fill(text, values):
    """Put values in for ${NAME}."""
    return re.sub(r"\$\{(\w+)\}", lambda m: values.get(m[1], ""), text)


def read(path):
    """Parse a Dockerfile into stages."""
    text = "\n".join(x for x in path.read_text().splitlines() if not x.lstrip().startswith("#"))
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    found = [Instruction(*line.split(None, 1)) for line in lines if line.strip()]
    stages = []
    for instruction in found:
        if instruction.word == "FROM":
            image, _, name = instruction.rest.partition(" AS ")
            stages.append((image, name, []))
        else:
            stages[-1][2].append(instruction)
    return [Stage(image, name, tuple(body)) for image, name, body in stages]
