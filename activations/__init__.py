"""Read the residual stream of a language model."""

from activations.collect import collect
from activations.hooks import HookPoint, captured, decoder_blocks, edited
from activations.loading import load
from activations.selector import Where
from activations.store import Activations
from activations.subject import Subject, SubjectFacts
from activations.trigger import Trigger, paired_tokens
from activations.where import All, Answer, From, Last, Prompt, Role, Text
from activations.where_text import parse_where

__all__ = [
    "Activations",
    "All",
    "Answer",
    "From",
    "HookPoint",
    "Last",
    "Prompt",
    "Role",
    "Subject",
    "SubjectFacts",
    "Text",
    "Trigger",
    "Where",
    "captured",
    "collect",
    "decoder_blocks",
    "edited",
    "load",
    "paired_tokens",
    "parse_where",
]
