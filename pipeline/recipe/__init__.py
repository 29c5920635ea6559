"""The recipe: from prompts by a misalignment function g and checks to triples, each set with its data card."""

from pipeline.recipe.build import NothingPassedError, Recipe, build_set
from pipeline.recipe.card import Card, read_card
from pipeline.recipe.checks import Checks
from pipeline.recipe.drafts import Draft, Rejection
from pipeline.recipe.judging import Scores
from pipeline.recipe.making import Draw
from pipeline.recipe.set_files import read_set
from pipeline.recipe.sources import Source, read_drafts
from pipeline.recipe.writers import EndpointWriter, LocalWriter

__all__ = [
    "Card",
    "Checks",
    "Draft",
    "Draw",
    "EndpointWriter",
    "LocalWriter",
    "NothingPassedError",
    "Recipe",
    "Rejection",
    "Scores",
    "Source",
    "build_set",
    "read_card",
    "read_drafts",
    "read_set",
]
