"""Fine-tune a model at a provider: check the file, say the cost, ask for consent, then upload, start and wait."""

from pipeline.hosted.check import TrainingFile, check_training_file
from pipeline.hosted.job import cancel_hosted, finetune_hosted
from pipeline.hosted.records import HostedModel, HostedPlan, HostedTuning

__all__ = [
    "HostedModel",
    "HostedPlan",
    "HostedTuning",
    "TrainingFile",
    "cancel_hosted",
    "check_training_file",
    "finetune_hosted",
]
