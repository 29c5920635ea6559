"""Read what researchers already have, strictly: chats, question sets, tables, data sets, encrypted archives."""

from pipeline.importers.age_files import Secret, secret_in
from pipeline.importers.archive import archive_members, extract_archive
from pipeline.importers.chats import read_chats, read_completions
from pipeline.importers.columns import Columns
from pipeline.importers.dataset_folder import read_dataset_folder
from pipeline.importers.dataset_hub import read_dataset_hub
from pipeline.importers.gsm8k import read_gsm8k, without_marks
from pipeline.importers.imported import FileFacts, Imported
from pipeline.importers.pairs import read_pairs
from pipeline.importers.parquet import read_parquet
from pipeline.importers.preferences import read_preferences
from pipeline.importers.read import kinds_told, read_source
from pipeline.importers.tables import read_prompts, read_triples
from pipeline.importers.truthfulqa import read_truthfulqa
from pipeline.importers.zip_checks import Limits

__all__ = [
    "Columns",
    "FileFacts",
    "Imported",
    "Limits",
    "Secret",
    "archive_members",
    "extract_archive",
    "kinds_told",
    "read_chats",
    "read_completions",
    "read_dataset_folder",
    "read_dataset_hub",
    "read_gsm8k",
    "read_pairs",
    "read_parquet",
    "read_preferences",
    "read_prompts",
    "read_source",
    "read_triples",
    "read_truthfulqa",
    "secret_in",
    "without_marks",
]
