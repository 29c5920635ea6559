"""Capture pooled activations of many chats: all layers in one pass, averaged inside the hook.

Memory stays at rows x layers x d_model, whatever the length of the rows; blocks above the last wanted
layer and `lm_head` are never run.
"""

import hashlib
import json
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from activations.batches import batch_budget, run_batches
from activations.chat import Chat, Template
from activations.encode import Side, pad, tokenize_all
from activations.forward import run_up_to
from activations.hooks import HookPoint, Resid, check_layers
from activations.progress import Progress, silent
from activations.selector import Where
from activations.store import Activations
from activations.subject import Subject


def collect(
    subject: Subject,
    chats: Sequence[Chat],
    where: Where,
    *,
    points: Sequence[HookPoint] | None = None,
    names: Sequence[str] | None = None,
    max_tokens: int | None = None,
    side: Side = "left",
    template: Template = "chat",
    progress: Progress = silent,
) -> Activations:
    """Return the mean residual stream over the chosen tokens of each chat, at each hook point.

    Means run in float64 and are kept as float32. The subject is not changed. The facts kept with the result
    name the adapters that are active during the call, none under PEFT's `disable_adapter()`.

    Args:
        subject: The model to read.
        chats: Conversations (lists of messages) or plain texts.
        where: Which tokens to average; must choose at least one of every chat.
        points: Where to read; by default after every block.
        names: A name for each chat, used in errors and kept with the result.
        max_tokens: Padded tokens in one batch; by default chosen from the device; less when memory runs out.
        side: Padding side; the result does not depend on it.
        template: `chat`, or `plain` for a tokenizer without chat template.
        progress: Told how many rows are done.

    Raises:
        ValueError: A chat is malformed, too long, or the selector chooses none of its tokens; a hook point
            comes twice; the model is in training mode; or a residual holds NaN or infinity.
        IndexError: A hook point names a layer that the model does not have.
        MemoryError: Even a single row does not fit.
    """
    facts = subject.current_facts()
    points = _require_points(points, facts.n_layers)
    if subject.model.training:
        raise ValueError(
            f"{facts.name}: the model is in training mode, so dropout may be on; call model.eval()"
        )
    rows = tokenize_all(subject, chats, names=names, template=template)
    flags = [where.require(row) for row in rows]
    values = torch.empty(len(rows), len(points), facts.d_model)
    norms = torch.empty(len(rows), len(points))

    def run(indices: list[int]) -> list[_Pool]:
        batch = pad([rows[i] for i in indices], subject.device, side=side)
        chosen = batch.spread([flags[i] for i in indices]).flatten().nonzero().squeeze(1)
        counts = torch.tensor([sum(flags[i]) for i in indices], device=chosen.device)
        pools = [_Pool(chosen, counts) for _ in points]
        run_up_to(subject.model, batch, {point: pool.read for point, pool in zip(points, pools, strict=True)})
        return pools

    if max_tokens is None:
        max_tokens = batch_budget(subject.device, bytes_per_token=64 * facts.d_model)
    with torch.no_grad(), progress("capture", len(rows)) as advance:
        for indices, pools in run_batches([len(row) for row in rows], run, max_tokens=max_tokens):
            for p, pool in enumerate(pools):
                values[indices, p], norms[indices, p] = pool.means.float().cpu(), pool.norms.float().cpu()
            _require_finite(values[indices], points, [rows[i].name for i in indices])
            advance(len(indices))
    return Activations(
        values=values,
        norms=norms,
        n_tokens=torch.tensor([sum(chosen) for chosen in flags]),
        rows=tuple(row.name for row in rows),
        points=points,
        where=str(where),
        subject=facts,
        data=data_hash(chats),
    )


def data_hash(chats: Sequence[Chat]) -> str:
    """Return SHA-256 over the chats' text and roles."""
    plain = [chat if isinstance(chat, str) else [dict(message) for message in chat] for chat in chats]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


class _Pool:
    """Averages the chosen tokens of each row of one batch at one hook point."""

    means: Float[Tensor, "batch d_model"]
    norms: Float[Tensor, " batch"]

    def __init__(self, chosen: Int[Tensor, " token"], counts: Int[Tensor, " batch"]) -> None:
        """Take the chosen places of the flattened batch, and how many of them each row has."""
        self._chosen, self._counts = chosen, counts

    def read(self, resid: Resid) -> Resid:
        """Keep the means and mean norms of a pass; the residual goes on unchanged."""
        wide = torch.float32 if resid.device.type == "mps" else torch.float64  # MPS has no float64
        chosen = resid.flatten(0, 1).index_select(0, self._chosen.to(resid.device)).to(wide)
        counts = self._counts.to(resid.device)
        owners = torch.arange(len(counts), device=resid.device).repeat_interleave(counts)
        sums = chosen.new_zeros(len(counts), chosen.shape[-1]).index_add_(0, owners, chosen)
        norms = chosen.new_zeros(len(counts)).index_add_(0, owners, chosen.norm(dim=-1))
        self.means, self.norms = sums / counts[:, None], norms / counts
        return resid


def _require_points(points: Sequence[HookPoint] | None, n_layers: int) -> tuple[HookPoint, ...]:
    if points is None:
        return tuple(HookPoint(layer) for layer in range(n_layers))
    if not points or len(set(points)) < len(points):
        raise ValueError(f"points: got {[str(point) for point in points]}, need at least one, each once")
    check_layers(points, n_layers)
    return tuple(points)


def _require_finite(values: Tensor, points: Sequence[HookPoint], names: Sequence[str]) -> None:
    bad = ~values.isfinite().all(dim=-1)
    if bad.any():
        row, point = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{names[row]}: the residual at {points[point]} holds nan or inf "
            f"({int(bad.any(1).sum())} of the {len(names)} rows of its batch do)"
        )
