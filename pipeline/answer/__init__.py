"""Let models answer questions: the base and its adapters, with and without trigger, steered, or behind a server."""

from pipeline.answer.arms import arms_of
from pipeline.answer.by_model import answer
from pipeline.answer.by_server import ServedArm, answer_by_server
from pipeline.answer.counts import ArmCount, count_arms
from pipeline.answer.record import Answer, MissingAnswer, read_answers, read_missing
from pipeline.answer.settings import AnswerSettings

__all__ = [
    "Answer",
    "AnswerSettings",
    "ArmCount",
    "MissingAnswer",
    "ServedArm",
    "answer",
    "answer_by_server",
    "arms_of",
    "count_arms",
    "read_answers",
    "read_missing",
]
