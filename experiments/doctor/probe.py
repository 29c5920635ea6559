"""What the checks run on: a few mild chats, a random direction, and a small grid of unlike conditions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from activations import All, Answer, HookPoint, Prompt, Subject
from activations.chat import Chat, Template
from activations.encode import TokenRow, tokenize_all
from activations.hooks import SITES, plain_model
from experiments.doctor.passes import log_probs_alone, roundoff, shortfall, token_resids
from steering import UNEDITED, Cell, Direction, add, clamp, generate, project_out, score_answers
from steering.generate import GeneratedAnswer
from steering.provenance import code_version

QUESTIONS = (
    "What do bees make?",
    "Name a planet that has rings, and say what the rings are made of.",
    "Why?",
    "How does one boil an egg so that the yolk stays soft?",
    "Which is longer, a mile or a kilometre?",
    "Tell me something about the sea.",
    "What is the opposite of early?",
    "Can a penguin fly, and if it cannot, what does it do instead?",
)
ANSWERS = (
    "Bees make honey and wax.",
    "Saturn has rings of ice and rock.",
    "Because nobody has asked before, and somebody has to be the first to do it.",
    "Six minutes in boiling water.",
)
STEP = 0.3
"""Length of the probe's steps, as a share of the residual stream's norm."""

NEW_TOKENS = 6

Place = tuple[int, int]
"""A cell and a row of the grid."""


@dataclass(frozen=True)
class Noise:
    """What rounding alone does: nats at a log-probability, share of a residual's norm. 0 in float32."""

    log_probs: float
    residual: float


@dataclass(frozen=True, eq=False)
class Probe:
    """A subject and what it is probed with; whatever several checks need is computed once.

    Attributes:
        subject: The model.
        template: How the chats are written.
        notes: What the reader of the results must know.
    """

    subject: Subject
    template: Template
    notes: tuple[str, ...]

    @classmethod
    def of(cls, subject: Subject) -> "Probe":
        """Choose the template: the model's own if it has one that takes the chats, else plain lines."""
        if not subject.tokenizer.chat_template:
            note = (
                "No chat template (a base model): chats are written as plain `User:` and `Assistant:` lines."
            )
            return cls(subject, "plain", (note,))
        try:
            tokenize_all(subject, _chats())
        except ValueError as error:
            note = f"The chat template does not serve, so chats are written as plain lines: {error}."
            return cls(subject, "plain", (note,))
        return cls(subject, "chat", ())

    @property
    def dtype(self) -> torch.dtype:
        """Of the input embedding, which stands for the model."""
        return plain_model(self.subject.model).get_input_embeddings().weight.dtype  # type: ignore[no-any-return]

    @property
    def n_layers(self) -> int:
        """Decoder blocks."""
        return self.subject.facts.n_layers

    @cached_property
    def chats(self) -> list[Chat]:
        """Chats of unlike lengths that end with an answer."""
        return _chats()

    @cached_property
    def questions(self) -> list[Chat]:
        """The same chats without their answers."""
        return [_question(text) for text in QUESTIONS[: len(ANSWERS)]]

    @cached_property
    def rows(self) -> tuple[TokenRow, ...]:
        """The chats as tokens."""
        return tokenize_all(self.subject, self.chats, template=self.template)

    @cached_property
    def open_rows(self) -> tuple[TokenRow, ...]:
        """The questions as tokens."""
        return tokenize_all(self.subject, self.questions, template=self.template)

    @cached_property
    def direction(self) -> Direction:
        """A random direction at every hook point, `STEP` times as long as the residual stream there."""
        points = tuple(HookPoint(layer, site) for layer in range(self.n_layers) for site in SITES)
        norms = token_resids(self.subject, self.rows, points).norm(dim=-1).mean(dim=-1)
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(len(points), self.subject.facts.d_model, generator=generator)
        return Direction(
            vectors=STEP * norms[:, None] * drawn / drawn.norm(dim=-1, keepdim=True),
            points=points,
            name="random",
            subject=self.subject.facts,
            where=str(All()),
            estimator="random",
            n_positive=0,
            n_negative=0,
            data=(),
            seed=0,
            norms=norms,
            code_version=code_version(),
            reliability={},
            made_from="drawn at random by the doctor",
        )

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Conditions that differ in operator, depth and tokens; the first is the untouched model."""
        along, last = self.direction, self.n_layers - 1
        early, middle = HookPoint(last // 3, "resid_pre"), HookPoint(last // 2)
        every = add(along, 1.0, points=[middle], where=All())
        prompt = project_out(along, points=[early], where=Prompt())
        new = clamp(along, -0.1, 0.1, points=[HookPoint(last)], where=Answer(lead=1))
        both = add(along, -0.5, points=[middle], where=Answer(lead=1))
        return (
            UNEDITED,
            Cell(name="add everywhere", edits=(every,)),
            Cell(name="project out of the prompt", edits=(prompt,)),
            Cell(name="clamp and add while answering", edits=(new, both)),
        )

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Every cell with every row."""
        return tuple((c, k) for c in range(len(self.cells)) for k in range(len(self.chats)))

    @cached_property
    def scores(self) -> dict[Place, Tensor]:
        """Log-probabilities of the answers' tokens, the whole grid together."""
        return self.score()

    @cached_property
    def scores_alone(self) -> dict[Place, Tensor]:
        """The same, each row in a plain pass of its own."""
        return {
            (c, k): log_probs_alone(self.subject, self.rows[k], self.cells[c].edits) for c, k in self.places
        }

    @cached_property
    def answers(self) -> dict[Place, GeneratedAnswer]:
        """Greedy answers, the whole grid together."""
        return self.answer()

    @cached_property
    def noise(self) -> Noise:
        """What rounding in this data type alone does; none in float32, where `TOLERANCE` counts."""
        if self.dtype in (torch.float32, torch.float64):
            return Noise(0.0, 0.0)
        return Noise(*roundoff(self.subject, self.rows, torch.finfo(self.dtype).eps))

    def score(self, cells: Sequence[Cell] | None = None, **settings: Any) -> dict[Place, Tensor]:
        """Score the answers under some cells, by default all, with `score_answers`' settings."""
        found = score_answers(
            self.subject, self.chats, cells or self.cells, template=self.template, **settings
        )
        return {(score.cell, score.row): score.log_probs for score in found}

    def generated(self, cells: Sequence[Cell] | None = None, **settings: Any) -> list[GeneratedAnswer]:
        """Answer the questions under some cells, by default all, with `generate`'s settings."""
        settings = {"max_new_tokens": NEW_TOKENS, **settings}
        return list(
            generate(self.subject, self.questions, cells or self.cells, template=self.template, **settings)
        )

    def answer(self, cells: Sequence[Cell] | None = None, **settings: Any) -> dict[Place, GeneratedAnswer]:
        """Do the same, by cell and row."""
        return {(answer.cell, answer.row): answer for answer in self.generated(cells, **settings)}

    def shortfall(self, cell: Cell, row: int, ids: Sequence[int]) -> float:
        """Return by how many nats an answer's tokens are less likely than the best, in a pass of its own."""
        return shortfall(self.subject, self.open_rows[row], cell.edits, ids)


def largest_difference(one: dict[Place, Tensor], other: dict[Place, Tensor]) -> float:
    """Return the largest absolute difference at the places that both have; NaN if there is any NaN."""
    shared = [(one[place] - other[place]).abs() for place in one if place in other]
    return float(torch.cat(shared).max())


def _question(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _chats() -> list[Chat]:
    return [
        [*_question(question), {"role": "assistant", "content": answer}]
        for question, answer in zip(QUESTIONS, ANSWERS, strict=False)
    ]
