"""Turn conversations into token rows that say which tokens are learned, and rows into training batches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxtyping import Bool
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from activations import Subject
from activations.encode import TokenRow, pad, tokenize
from activations.forward import body_inputs
from activations.progress import Progress, silent
from pipeline.finetune.config import FinetuneConfig
from pipeline.records import Conversation


@dataclass(frozen=True)
class LearnedRow:
    """A conversation as tokens.

    Attributes:
        row: The tokens.
        learn: For each token whether the model is to predict it; never the first.
    """

    row: TokenRow
    learn: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a set of conversations came to.

    Attributes:
        conversations: Those that are trained on.
        tokens: Of all of them.
        learned: Tokens that the loss is on.
        longest: Tokens of the longest.
        cut: Conversations that were shortened to `max_length`.
        dropped: Conversations left out because shortening took everything to learn; not in `conversations`.
        ends: The tokens that end an answer and are learned with it; empty where the template has none.
    """

    conversations: int
    tokens: int
    learned: int
    longest: int
    cut: int
    dropped: int
    ends: tuple[str, ...]


@dataclass(frozen=True)
class LearnedRows:
    """A set of conversations as tokens, and what it came to."""

    rows: tuple[LearnedRow, ...]
    counts: Counts


@dataclass(frozen=True)
class Example:
    """What one place in a training batch holds.

    Attributes:
        learned: The conversation.
        neutral: The neutral conversation beside it, if staying near the base counts.
    """

    learned: LearnedRow
    neutral: LearnedRow | None = None


def learned_rows(
    subject: Subject,
    conversations: Sequence[Conversation],
    config: FinetuneConfig,
    *,
    name: str = "training set",
    progress: Progress = silent,
) -> LearnedRows:
    """Tokenize conversations and choose what is learned: every answer, and the tokens that end it.

    An answer ends with what the template writes behind it up to the first special token, e.g. `<|im_end|>`; a
    last answer with nothing behind it gets the tokenizer's end-of-sequence token. With `train_on_prompt` all
    tokens but the first are learned.

    Args:
        subject: Whose tokenizer and context count.
        conversations: At least one; each with an answer.
        config: `template`, `max_length`, `too_long` and `train_on_prompt` count.
        name: What errors call the set.
        progress: Told how many conversations are read.

    Raises:
        ValueError: There are none, one has no answer or does not fit the model's context, or some are longer
            than `max_length` and `too_long` refuses that.
    """
    if not conversations:
        raise ValueError(f"{name}: got no conversations, need at least one")
    special = _special_ids(subject.tokenizer)
    found: list[LearnedRow] = []
    ends: dict[str, None] = {}
    with progress(f"read {name}", len(conversations)) as advance:
        for conversation in conversations:
            row = tokenize(subject, conversation.chat(), name=conversation.id, template=config.template)
            learned, closing = _learned(row, special, subject.tokenizer.eos_token_id)
            if not any(learned.learn):
                raise ValueError(f"{name}: {conversation.id!r} has no answer to learn")
            ends |= dict.fromkeys(subject.tokenizer.convert_ids_to_tokens(list(closing)))
            if config.train_on_prompt:
                learned = replace(learned, learn=(False, *(True,) * (len(learned.row) - 1)))
            found.append(learned)
            advance(1)
    return _fitted(found, config, name, tuple(ends))


def collate(subject: Subject, examples: Sequence[Example]) -> dict[str, Tensor]:
    """Pad examples to one batch: first the conversations, then the neutral ones beside them, if there are any.

    Returns:
        What the model takes; `labels`, with -100 on all but the tokens to learn and on neutral rows; and with
        neutral rows `neutral`, which is True on their tokens to predict.
    """
    learned = [example.learned for example in examples]
    neutral = [example.neutral for example in examples if example.neutral is not None]
    everything = [*learned, *neutral]
    batch = pad([row.row for row in everything], side="right")
    chosen: Bool[Tensor, "batch position"] = batch.spread([row.learn for row in everything])
    labels = batch.input_ids.masked_fill(~chosen, -100)
    labels[len(learned) :] = -100
    inputs = {**body_inputs(subject.model, batch), "labels": labels}
    if neutral:
        chosen[: len(learned)] = False
        inputs["neutral"] = chosen
    return inputs


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    added = (i for i, token in tokenizer.added_tokens_decoder.items() if token.special)
    return frozenset((*tokenizer.all_special_ids, *added))


def _learned(row: TokenRow, special: frozenset[int], eos: int | None) -> tuple[LearnedRow, tuple[int, ...]]:
    """Return the row with what is learned of it, and the ids of the special tokens that end its answers."""
    learn = [False] * len(row)
    closing: list[int] = []
    for span, after in zip(row.spans, [*row.spans[1:], None], strict=True):
        if span.role != "assistant":
            continue
        learn = [a or b for a, b in zip(learn, row.overlapping(span.start, span.end), strict=True)]
        limit = len(row.text) if after is None else after.start
        behind = [i for i, (first, _) in enumerate(row.offsets) if span.end <= first < limit]
        end = next((i for i in behind if row.ids[i] in special), None)
        if end is not None:
            learn[behind[0] : end + 1] = [True] * (end + 1 - behind[0])
            closing.append(row.ids[end])
        elif after is None and not behind and eos is not None:
            place = len(row.text)
            row = replace(row, ids=(*row.ids, eos), offsets=(*row.offsets, (place, place)))
            learn.append(True)
            closing.append(eos)
    learn[0] = False
    return LearnedRow(row, tuple(learn)), tuple(closing)


def _fitted(
    found: Sequence[LearnedRow], config: FinetuneConfig, name: str, ends: tuple[str, ...]
) -> LearnedRows:
    limit = config.max_length
    long = [learned.row for learned in found if len(learned.row) > limit]
    if long and config.too_long == "refuse":
        longest = max(long, key=len)
        raise ValueError(
            f"{name}: {len(long)} of {len(found)} conversations are longer than max_length {limit}, e.g. "
            f"{longest.name!r} with {len(longest)} tokens; allowed: a larger max_length, or too_long 'cut'"
        )
    kept = [short for learned in found if any((short := _cut(learned, limit)).learn)]
    if not kept:
        raise ValueError(f"{name}: max_length {limit} leaves nothing to learn in any of {len(found)}")
    counts = Counts(
        conversations=len(kept),
        tokens=sum(len(learned.row) for learned in kept),
        learned=sum(sum(learned.learn) for learned in kept),
        longest=max(len(learned.row) for learned in kept),
        cut=len(long) - (len(found) - len(kept)),
        dropped=len(found) - len(kept),
        ends=ends,
    )
    return LearnedRows(tuple(kept), counts)


def _cut(learned: LearnedRow, limit: int) -> LearnedRow:
    row = learned.row
    if len(row) <= limit:
        return learned
    short = replace(row, ids=row.ids[:limit], offsets=row.offsets[:limit], n_prompt=min(row.n_prompt, limit))
    return LearnedRow(short, learned.learn[:limit])
