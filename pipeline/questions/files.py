"""Questions from a file of your own: JSONL records, or the YAML form in which such sets are published."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.questions.published import published_questions
from pipeline.questions.record import Question
from pipeline.questions.yaml_entries import read_entries
from pipeline.records import read_jsonl


@dataclass(frozen=True, kw_only=True)
class QuestionFile:
    """What a file of questions holds.

    Attributes:
        questions: In the order of the file.
        notes: What a reader should know: ids that were made distinct, questions left out, keys not used.
    """

    questions: tuple[Question, ...]
    notes: tuple[str, ...] = ()


def read_questions(path: Path) -> QuestionFile:
    """Read the questions of a file.

    Args:
        path: `.jsonl` with a `Question` on each line, or `.yaml`/`.yml` as published with such sets: a list of
            mappings with `id`, `type`, `paraphrases`, `system`, `samples_per_paraphrase`, `judge`,
            `judge_prompts`, where anchors and aliases may stand.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of another kind, damaged, or holds what is no question; says where.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".jsonl":
        return QuestionFile(questions=read_jsonl(path, Question))
    if kind not in (".yaml", ".yml"):
        raise ValueError(f"{path}: ends in {path.suffix!r}; allowed: .jsonl, .yaml and .yml")
    questions, notes = published_questions(read_entries(path))
    if not questions:
        raise ValueError(f"{path}: holds no question; needed: a list of mappings with id and paraphrases")
    return QuestionFile(questions=questions, notes=notes)
