"""What is asked in a run: every wording of every question, as conversations."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from activations import Trigger
from activations.chat import Chat
from pipeline.answer.record import answer_id
from pipeline.answer.settings import AnswerSettings
from pipeline.questions.record import Question
from pipeline.records import Conversation, Message


@dataclass(frozen=True, kw_only=True)
class Sent:
    """The texts that a model is sent, word for word.

    Attributes:
        system: The system message; None for none.
        prompt: The user's message.
    """

    system: str | None
    prompt: str

    def messages(self) -> tuple[Message, ...]:
        """Return them as a conversation."""
        asked = Message(role="user", content=self.prompt)
        return (asked,) if self.system is None else (Message(role="system", content=self.system), asked)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One wording of a question.

    Attributes:
        question: The question.
        paraphrase: Which of its wordings.
        samples: How many answers it gets in each arm.
    """

    question: Question
    paraphrase: int
    samples: int

    @property
    def name(self) -> str:
        """Names it in errors."""
        return f"{self.question.id} | p{self.paraphrase}"

    def chat(self) -> list[dict[str, str]]:
        """Return the conversation, a system message included, as chat templates take it."""
        return Conversation(id=self.name, messages=self.question.messages(self.paraphrase)).chat()

    def sent(self, trigger: Trigger | None) -> Sent:
        """Return what the model is sent, with a trigger if there is one."""
        chat: Chat = self.chat() if trigger is None else trigger.put_on(self.chat())
        texts = {} if isinstance(chat, str) else {message["role"]: message["content"] for message in chat}
        return Sent(system=texts.get("system"), prompt=texts["user"])

    def answer_id(self, arm: str, sample: int) -> str:
        """Return the id of one of its answers."""
        return answer_id(arm, self.question.id, self.paraphrase, sample)


def asked(questions: Sequence[Question], settings: AnswerSettings) -> tuple[Asked, ...]:
    """Return every wording of the questions, in order.

    Raises:
        ValueError: There is no question, two share an id, or two are asked in the very same words: equal prompts
            draw equal random numbers, so their answers would be copies.
    """
    if not questions:
        raise ValueError("questions: got none, need at least 1")
    ids = [question.id for question in questions]
    if twice := [name for name, n in Counter(ids).items() if n > 1]:
        raise ValueError(f"question {twice[0]!r}: stands {ids.count(twice[0])} times; ids must be unique")
    owners: dict[tuple[Message, ...], str] = {}
    found: list[Asked] = []
    for question in questions:
        for paraphrase in range(len(question.paraphrases)):
            one = Asked(question=question, paraphrase=paraphrase, samples=settings.samples_of(question))
            if (owner := owners.setdefault(question.messages(paraphrase), one.name)) != one.name:
                raise ValueError(
                    f"question {one.name!r}: asks the very words of {owner!r}; leave one of them out"
                )
            found.append(one)
    return tuple(found)


def require_names(arms: Sequence[str], prompts: Sequence[Asked]) -> None:
    """Raise ValueError unless every answer in these arms gets an id of its own."""
    if not arms or len(set(arms)) < len(arms):
        raise ValueError(f"arms: got {list(arms)}, need at least one, and each name once")
    for arm in arms:
        for one in prompts:
            one.answer_id(arm, 0)
