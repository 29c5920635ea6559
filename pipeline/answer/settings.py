"""How answers are drawn: the same settings for a model here and for one behind a server."""

from dataclasses import dataclass

from activations.chat import Template
from pipeline.questions.record import Question
from steering.sampling import Sampling


@dataclass(frozen=True, kw_only=True)
class AnswerSettings:
    """How answers are drawn.

    Attributes:
        samples: Answers to each wording of a question; None takes what each question asks for, or 1 where
            decoding is greedy and all of them would be the same.
        temperature: 0 for greedy decoding.
        top_p: Smallest probability mass that is kept; 1 keeps all.
        seed: Of the random numbers. A wording and sample index draw the same ones in every arm.
        max_new_tokens: Where answers are cut.
        stop: Texts that end an answer; they stay in it.
        template: `chat`, or `plain` for a model without a chat template.
    """

    samples: int | None = None
    temperature: float = 0.7
    top_p: float = 1.0
    seed: int = 0
    max_new_tokens: int = 128
    stop: tuple[str, ...] = ()
    template: Template = "chat"

    def __post_init__(self) -> None:
        """Refuse settings outside their range, and draws that cannot differ."""
        self.sampling()
        if self.samples is not None and self.samples < 1:
            raise ValueError(f"samples: got {self.samples}, need at least 1")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens: got {self.max_new_tokens}, need at least 1")
        if self.temperature == 0 and (self.samples or 1) > 1:
            raise ValueError(
                f"samples: got {self.samples} at temperature 0, where all would be the same text"
            )

    def sampling(self) -> Sampling:
        """Return how the next token is chosen."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, seed=self.seed)

    def samples_of(self, question: Question) -> int:
        """Return how many answers each wording of a question gets."""
        if self.temperature == 0:
            return 1
        return question.samples_per_paraphrase if self.samples is None else self.samples
