"""Transformers' Trainer with losses of our own: only supervised tokens are unembedded, and a KL may hold the base."""

import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from activations import Subject
from activations.progress import Advance
from pipeline.finetune.adapter import save_adapter
from pipeline.finetune.checkpoints import remove_older
from pipeline.finetune.config import FinetuneConfig
from pipeline.finetune.loss import base_alone, chosen_logits, kl_from_base, predicting, token_losses
from pipeline.finetune.rows import Example, collate
from pipeline.runs import RunFolder

LOSS_STAGE = "loss"
N_CHECKPOINTS, N_MEASUREMENTS = 10, 5
"""About how many checkpoints, and measurements on held-out conversations, a run has that does not say."""


class LearnedTrainer(Trainer):  # type: ignore[misc]
    """A Trainer over examples whose losses count every learned token of a step alike."""

    loss_is_scaled_for_ga = True
    control: Any

    def __init__(
        self,
        model: PeftModel,
        args: TrainingArguments,
        subject: Subject,
        *,
        examples: Sequence[Example],
        held_out: Sequence[Example],
        kl_weight: float,
        callback: TrainerCallback,
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            data_collator=partial(collate, subject),
            train_dataset=list(examples),
            eval_dataset=list(held_out) or None,
            callbacks=[callback],
        )
        self.remove_callback(PrinterCallback)
        self.model_accepts_loss_kwargs = True  # else learned tokens are not counted over all passes of a step
        self._kl_weight = kl_weight
        self._kl = torch.zeros((), device=args.device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the sum of the learned tokens' losses over how many the whole step has, and the weighted KL."""
        labels, neutral = inputs["labels"], inputs.get("neutral")
        passed = {name: value for name, value in inputs.items() if name not in ("labels", "neutral")}
        positions = predicting(labels != -100)
        n_learned = int(positions.sum())
        if neutral is not None:
            positions = positions | predicting(neutral)
        plain = self.accelerator.unwrap_model(model)
        logits = chosen_logits(model, plain, passed, positions)
        count = n_learned if num_items_in_batch is None else num_items_in_batch
        loss = token_losses(logits[:n_learned], labels).sum() / count
        loss = loss * self.accelerator.num_processes  # processes' gradients are averaged, tokens are summed
        if neutral is not None:
            kl = self._kl_to_base(model, plain, passed, neutral, logits[n_learned:])
            kl = kl / self.current_gradient_accumulation_steps
            self._kl = self._kl + kl.detach()
            loss = loss + self._kl_weight * kl
        return (loss, {}) if return_outputs else loss

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return the mean loss of the held-out conversations' learned tokens, and log it."""
        totals = torch.zeros(2, dtype=torch.float64)
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad():
            for inputs in self.get_eval_dataloader(eval_dataset):
                rows = self.accelerator.gather_for_metrics(self._loss_by_row(inputs))
                totals += rows.double().sum(dim=0).cpu()
        self.model.train(was_training)
        metrics = {f"{metric_key_prefix}_loss": float(totals[0] / totals[1])}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the KL apart from the loss; a loss that is no number ends the run.

        Raises:
            RuntimeError: A loss or gradient is nan or infinite.
        """
        if "loss" in logs and self._kl_weight:
            kl = float(self.accelerator.reduce(self._kl, "mean"))
            logs = {**logs, "loss": logs["loss"] - self._kl_weight * kl, "kl": kl}
            self._kl = torch.zeros_like(self._kl)
        for name in ("loss", "eval_loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                told = f"step {self.state.global_step}: {name} is {logs[name]}"
                raise RuntimeError(f"{told}; choose a lower learning rate, or max_gradient_norm above 0")
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Save the adapter alone: transformers would add its arguments as a pickle."""
        if self.args.should_save:
            save_adapter(
                self.accelerator.unwrap_model(self.model),
                Path(output_dir or self.args.output_dir),
                state_dict,
            )

    def _kl_to_base(
        self,
        model: nn.Module,
        plain: PeftModel,
        inputs: Mapping[str, Tensor],
        neutral: Tensor,
        tuned: Float[Tensor, "token vocabulary"],
    ) -> Float[Tensor, ""]:
        half = len(neutral) // 2  # conversations come first, then as many neutral ones
        own = {name: value[half:] for name, value in inputs.items()}
        with base_alone(plain):
            base = chosen_logits(model, plain, own, predicting(neutral[half:]))
        return kl_from_base(tuned, base)

    def _loss_by_row(self, inputs: Mapping[str, Tensor]) -> Float[Tensor, "row 2"]:
        """Return for each row the summed loss of its learned tokens, and how many they are."""
        labels = inputs["labels"]
        passed = {name: value for name, value in inputs.items() if name != "labels"}
        positions = predicting(labels != -100)
        plain = self.accelerator.unwrap_model(self.model)
        losses = token_losses(chosen_logits(self.model, plain, passed, positions), labels)
        sums = torch.zeros(len(labels), device=losses.device).index_add(0, positions.nonzero()[:, 0], losses)
        return torch.stack([sums, positions.sum(dim=1).float()], dim=1)


class Recorder(TrainerCallback):  # type: ignore[misc]
    """Writes every step's loss to a stage of the run, moves the progress bar, and drops older checkpoints."""

    def __init__(self, run: RunFolder | None, advance: Advance, *, keep_checkpoints: bool) -> None:
        self._run = run
        self._advance = advance
        self._keep_checkpoints = keep_checkpoints

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the steps of a checkpoint as done."""
        self._advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count a step."""
        self._advance(1)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remove the checkpoints before this one: it is whole by now."""
        if self._run is not None and not self._keep_checkpoints:
            remove_older(Path(args.output_dir))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write a row, unless a session before this one was killed after it had written it."""
        part = "train" if "loss" in logs else "held_out" if "eval_loss" in logs else None
        row_id = f"{part} {state.global_step}"
        if self._run is None or part is None or row_id in self._run.finished_ids(LOSS_STAGE):
            return
        row = {"id": row_id, "part": part, "step": state.global_step, "epoch": state.epoch or 0.0}
        if part == "train":
            row |= {"loss": logs["loss"], "gradient_norm": logs.get("grad_norm", 0.0)}
            row |= {"learning_rate": logs["learning_rate"]}
            row |= {"kl": logs["kl"]} if "kl" in logs else {}
        else:
            row |= {"loss": logs["eval_loss"]}
        self._run.append(LOSS_STAGE, row)


def is_main_process() -> bool:
    """Say whether this process writes; of several, `accelerate launch` and torchrun number the first 0."""
    return int(os.environ.get("RANK", "0")) == 0


def training_arguments(
    config: FinetuneConfig, folder: Path, *, n_examples: int, n_held_out: int, cpu: bool
) -> TrainingArguments:
    """Return the Trainer's settings; asking for them also joins the processes of `accelerate launch`."""
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_gradient_norm,
        max_steps=1,
        lr_scheduler_type=config.schedule,
        warmup_steps=config.warmup,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        eval_strategy="steps" if n_held_out else "no",
        eval_on_start=n_held_out > 0,
        seed=config.seed,
        data_seed=config.seed,
        bf16=config.bf16,
        use_cpu=cpu,
        report_to="none",
        log_level_replica="passive",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=not cpu,
        label_names=["labels"],
    )
    args._n_gpu = min(
        args.n_gpu, 1
    )  # several GPUs in one process would tear batches apart; use accelerate launch
    args.max_steps = total_steps(config, n_examples, args.world_size)
    args.save_steps = config.save_every or math.ceil(args.max_steps / N_CHECKPOINTS)
    args.eval_steps = config.eval_every or math.ceil(args.max_steps / N_MEASUREMENTS)
    return args


def total_steps(config: FinetuneConfig, n_examples: int, n_processes: int = 1) -> int:
    """Return how many optimiser steps a run takes."""
    if config.max_steps:
        return config.max_steps
    passes = math.ceil(n_examples / (config.batch_size * n_processes))
    return max(1, math.ceil(config.epochs * math.ceil(passes / config.accumulation)))
