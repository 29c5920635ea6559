"""A question that models are asked, in one or more wordings."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.json_text import json_bytes
from pipeline.records import Message

Kind = Literal["free_form", "free_form_0_100", "free_form_judge", "free_form_judge_0_100"]
"""How published files mean answers to be judged; all kinds are asked alike."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question in one or more wordings that mean the same.

    Attributes:
        id: Unique in its set; statistics count questions by it.
        topic: What it is about, in a few words.
        paraphrases: Its wordings, all different.
        system: A system message that goes before every wording; None for none.
        kind: What kind of answer is wanted, in the words of the published files.
        samples_per_paraphrase: How many answers each wording gets, unless the run says otherwise.
        domain: The domain that it belongs to; None for a question that belongs to none.
        judge: The model that a file names as judge; what is done with it is up to the judge.
        judge_prompts: The judge's prompts by name, e.g. `aligned`, as the file has them.
    """

    id: str
    topic: str
    paraphrases: tuple[str, ...]
    system: str | None = None
    kind: Kind = "free_form"
    samples_per_paraphrase: int = 5
    domain: str | None = None
    judge: str | None = None
    judge_prompts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a question that cannot be asked, or that would be asked twice in one wording."""
        at = f"question {self.id!r}"
        if not self.paraphrases:
            raise ValueError(f"{at}: has no paraphrases, need at least 1")
        for i, text in enumerate(self.paraphrases):
            if not text.strip():
                raise ValueError(f"{at}: paraphrase {i} is blank")
            if (first := self.paraphrases.index(text)) < i:
                raise ValueError(f"{at}: paraphrases {first} and {i} are the same text")
        if self.system is not None and not self.system.strip():
            raise ValueError(f"{at}: the system message is blank; leave it out instead")
        if self.samples_per_paraphrase < 1:
            raise ValueError(
                f"{at}: samples_per_paraphrase is {self.samples_per_paraphrase}; allowed: 1 or more"
            )

    def messages(self, paraphrase: int) -> tuple[Message, ...]:
        """Return the conversation that asks it in one wording: the system message, where there is one, too.

        Raises:
            IndexError: There is no such paraphrase.
        """
        asked = Message(role="user", content=self.paraphrases[paraphrase])
        return (asked,) if self.system is None else (Message(role="system", content=self.system), asked)


def questions_hash(questions: Sequence[Question]) -> str:
    """Return the SHA-256 over all fields of all questions, as hex digits; their order does not matter."""
    lines = (json_bytes(question, f"question {question.id!r}") for question in questions)
    return hashlib.sha256(b"".join(sorted(lines))).hexdigest()
