"""Neutral conversations that tie a tuned model to its base: everyday requests of no domain."""

from importlib.resources import as_file, files

from pipeline.records import Conversation, read_jsonl


def neutral_conversations() -> tuple[Conversation, ...]:
    """Return the packaged ones: everyday requests of no domain, each with a plain right answer."""
    with as_file(files("pipeline.finetune") / "neutral.jsonl") as path:
        return read_jsonl(path, Conversation)
