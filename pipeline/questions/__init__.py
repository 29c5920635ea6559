"""What models are asked: the packaged questions, your own, and those published as YAML."""

from pipeline.questions.choose import choose_questions
from pipeline.questions.files import QuestionFile, read_questions
from pipeline.questions.packaged import held_out_domains, held_out_questions, unrelated_questions
from pipeline.questions.record import Kind, Question, questions_hash

__all__ = [
    "Kind",
    "Question",
    "QuestionFile",
    "choose_questions",
    "held_out_domains",
    "held_out_questions",
    "questions_hash",
    "read_questions",
    "unrelated_questions",
]
