"""Fine-tune LoRA adapters: labels that are really applied, resumable, with a card that says what was done."""

from pipeline.finetune.card import Card, read_card
from pipeline.finetune.config import PRESETS, FinetuneConfig, Preset
from pipeline.finetune.neutral import neutral_conversations
from pipeline.finetune.plan import FinetunePlan, Probe, plan_finetune, probe_finetune
from pipeline.finetune.run import FinetuneResult, finetune

__all__ = [
    "PRESETS",
    "Card",
    "FinetuneConfig",
    "FinetunePlan",
    "FinetuneResult",
    "Preset",
    "Probe",
    "finetune",
    "neutral_conversations",
    "plan_finetune",
    "probe_finetune",
    "read_card",
]
