"""The losses of a fine-tune, from logits of the tokens that count and no others."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from activations.hooks import plain_model


@contextmanager
def unembedding_only(model: nn.Module, positions: Bool[Tensor, "batch position"]) -> Iterator[None]:
    """Let passes inside the block unembed only chosen positions; their logits come as `[1, n_chosen, vocabulary]`.

    The model's own forward runs, so its final norm, logit scales and caps are as they are; only what its
    `lm_head` receives is less. The rows of the result are the chosen positions in reading order.

    Args:
        model: A causal language model, with or without PEFT around it.
        positions: True where logits are wanted.

    Raises:
        LookupError: The model has no `lm_head`.
        RuntimeError: In a pass, `lm_head` received something else than the whole batch.
    """
    head = plain_model(model).get_output_embeddings()
    if head is None:
        raise LookupError(f"{type(plain_model(model)).__name__}: has no lm_head to train through")

    def choose(_head: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if args[0].shape[:2] != positions.shape:
            shapes = f"{tuple(args[0].shape[:2])} instead of {tuple(positions.shape)}"
            raise RuntimeError(f"lm_head: received {shapes}; this model unembeds in a way of its own")
        return (args[0][positions][None], *args[1:])

    handle = head.register_forward_pre_hook(choose)
    try:
        yield
    finally:
        handle.remove()


def chosen_logits(
    model: nn.Module,
    plain: nn.Module,
    inputs: Mapping[str, Tensor],
    positions: Bool[Tensor, "batch position"],
) -> Float[Tensor, "token vocabulary"]:
    """Return the logits at chosen positions, in reading order, in float32.

    Args:
        model: What is called: `plain`, or what wraps it for training on several devices.
        plain: The model itself.
        inputs: What it takes.
        positions: True where logits are wanted.
    """
    with unembedding_only(plain, positions):
        logits: Tensor = model(**inputs, use_cache=False).logits
    return logits[0].float()


def predicting(learn: Bool[Tensor, "batch position"]) -> Bool[Tensor, "batch position"]:
    """Return the positions whose logits predict the tokens to learn: one before each."""
    before = torch.zeros_like(learn)
    before[:, :-1] = learn[:, 1:]
    return before


def token_losses(
    logits: Float[Tensor, "token vocabulary"], labels: Int[Tensor, "batch position"]
) -> Float[Tensor, " token"]:
    """Return the loss of each token to learn, in nats, in reading order.

    Args:
        logits: Those at `predicting(labels != -100)`.
        labels: Token ids, -100 where nothing is learned; never learned in the first column.
    """
    return cross_entropy(logits, labels[labels != -100], reduction="none")


def kl_from_base(
    tuned: Float[Tensor, "token vocabulary"], base: Float[Tensor, "token vocabulary"]
) -> Float[Tensor, ""]:
    """Return KL(base, tuned) in nats, the mean over tokens; 0 where the two predict alike."""
    base_log_probs, tuned_log_probs = base.log_softmax(dim=-1), tuned.log_softmax(dim=-1)
    return (base_log_probs.exp() * (base_log_probs - tuned_log_probs)).sum(dim=-1).mean()


@contextmanager
def base_alone(model: PeftModel) -> Iterator[None]:
    """Let the base speak inside the block: no adapter, no dropout, no gradients."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), model.disable_adapter():
            yield
    finally:
        model.train(was_training)
