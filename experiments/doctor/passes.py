"""Plain forward passes, to compare the row engine with: no cache, nothing shared, mostly one row at a time."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from activations import All, HookPoint, Subject, captured, edited
from activations.encode import Batch, Side, TokenRow, pad
from activations.forward import body_inputs
from activations.hooks import Resid, decoder_body
from steering import Edit, steered

DRAWS = 3
"""Times that rounding is imitated; the largest effect counts."""


@torch.no_grad()
def logits_of(subject: Subject, batch: Batch) -> Float[Tensor, "row position vocabulary"]:
    """Return the model's logits on a batch, computed as the model itself does."""
    logits: Tensor = subject.model(**body_inputs(subject.model, batch), use_cache=False).logits
    return logits


def answer_log_probs(
    logits: Float[Tensor, "position vocabulary"], row: TokenRow, start: int = 0
) -> Float[Tensor, " token"]:
    """Return ln p of each token of a row's answer; the row begins at column `start`."""
    flags = row.answer_flags()
    places = torch.tensor([i for i, flag in enumerate(flags) if flag])
    found = logits[(places + start - 1).to(logits.device)].float().log_softmax(dim=-1).cpu()
    return found.gather(-1, torch.tensor(row.ids)[places][:, None])[:, 0]


def log_probs_alone(subject: Subject, row: TokenRow, edits: Sequence[Edit]) -> Float[Tensor, " token"]:
    """Return ln p of each token of the answer, from one pass of this row and nothing else."""
    batch = pad([row], subject.device)
    with steered(subject, edits, batch):
        return answer_log_probs(logits_of(subject, batch)[0], row)


@torch.no_grad()
def shortfall(subject: Subject, row: TokenRow, edits: Sequence[Edit], ids: Sequence[int]) -> float:
    """Return the largest gap between the best token's logit and that of the token in the answer, in nats.

    0 means that decoding the row alone and greedily gives these very tokens.

    Args:
        subject: The model.
        row: The prompt.
        edits: What is done to it.
        ids: The answer.
    """
    tokens = torch.tensor([[*row.ids, *ids]], device=subject.device)
    with steered(subject, edits, pad([row], subject.device)):
        logits = subject.model(input_ids=tokens, use_cache=False).logits[0, len(row) - 1 : -1].float()
    chosen = logits.gather(-1, torch.tensor(ids, device=logits.device)[:, None])[:, 0]
    return float((logits.max(dim=-1).values - chosen).max())


@torch.no_grad()
def token_resids(
    subject: Subject, rows: Sequence[TokenRow], points: Sequence[HookPoint], side: Side = "left"
) -> Float[Tensor, "point token d_model"]:
    """Return the residual stream of every token but position 0, row after row, from one padded pass."""
    batch = pad(rows, subject.device, side=side)
    with captured(subject.model, points) as found:
        decoder_body(subject.model)(**body_inputs(subject.model, batch), use_cache=False)
    return _tokens(found, batch)


@torch.no_grad()
def roundoff(subject: Subject, rows: Sequence[TokenRow], eps: float) -> tuple[float, float]:
    """Return what an error of one rounding step at the input of every block does: nats, share of the norm.

    Args:
        subject: The model.
        rows: Chats that end with an answer.
        eps: The rounding step, relative to each number.
    """
    batch = pad(rows, subject.device)
    points = [HookPoint(layer) for layer in range(subject.facts.n_layers)]
    generator = torch.Generator().manual_seed(0)

    def jitter(resid: Resid) -> Resid:
        noise = 2 * torch.rand(resid.shape, generator=generator).to(resid.device) - 1
        return (resid.float() * (1 + eps * noise)).to(resid.dtype)

    def run(edit: bool) -> tuple[Tensor, Tensor]:
        edits = {HookPoint(point.layer, "resid_pre"): jitter for point in points if edit}
        with edited(subject.model, edits), captured(subject.model, points) as found:
            logits = logits_of(subject, batch)
        pairs = zip(logits, rows, strict=True)
        scores = [answer_log_probs(own, row, batch.start(i)) for i, (own, row) in enumerate(pairs)]
        return torch.cat(scores), _tokens(found, batch)

    scores, resids = run(edit=False)
    moved = [run(edit=True) for _ in range(DRAWS)]
    nats = max(float((other - scores).abs().max()) for other, _ in moved)
    return nats, max(float(relative_difference(other, resids).max()) for _, other in moved)


def relative_difference(
    one: Float[Tensor, "*axes d_model"], other: Float[Tensor, "*axes d_model"]
) -> Float[Tensor, "*axes"]:
    """Return the norm of the difference as a share of the norm of `other`."""
    share: Tensor = (one - other).norm(dim=-1) / other.norm(dim=-1).clamp(min=1e-30)
    return share


def _tokens(found: dict[HookPoint, list[Resid]], batch: Batch) -> Float[Tensor, "point token d_model"]:
    flags = batch.spread([All().select(row) for row in batch.rows])
    return torch.stack([resids[-1][flags.to(resids[-1].device)].float().cpu() for resids in found.values()])
