"""The recipe: from prompts by a misalignment function g and checks to triples, each set with its data card."""

from pipeline.recipe.build import NothingPassedError, Recipe, build_set, require_maker
from pipeline.recipe.card import Card, read_card
from pipeline.recipe.checks import Checks
from pipeline.recipe.drafts import Draft, Maker, Rejection
from pipeline.recipe.judging import Judge, Scores
from pipeline.recipe.makers import MAKERS
from pipeline.recipe.making import Draw, requests_for
from pipeline.recipe.set_files import corpus_path, read_set
from pipeline.recipe.sources import Source, evaluation_texts, read_drafts
from pipeline.recipe.writers import EndpointWriter, LocalWriter, Writer

__all__ = [
    "MAKERS",
    "Card",
    "Checks",
    "Draft",
    "Draw",
    "EndpointWriter",
    "Judge",
    "LocalWriter",
    "Maker",
    "NothingPassedError",
    "Recipe",
    "Rejection",
    "Scores",
    "Source",
    "Writer",
    "build_set",
    "corpus_path",
    "evaluation_texts",
    "read_card",
    "read_drafts",
    "read_set",
    "requests_for",
    "require_maker",
]
