"""How much arithmetic a grid needs, counted from the model's shape, and how fast this machine multiplies.

The unit is a floating-point operation; a multiplication with a weight and the addition of its result are two.

    blocks(t, b)     = 2 x weights of one block x tokens t x blocks b
    head(t)          = 2 x weights of `lm_head` x tokens t
    attention(c, b)  = 4 x query width x attended positions c x blocks b        (scores, and their use)

A prompt of n tokens, the first s of them those of all prompts, that is followed by m new ones takes in the engine:

    once for each prompt     blocks(n-1, L-1) + attention(1 + ... + (n-1), L-1)
    a cell that edits it,    blocks(s, L-2-l) + attention(1 + ... + s, L-2-l)
    first after block l
    each of its rows         blocks(n-1-s, L-2-l) + attention((s+1) + ... + (n-1), L-2-l)
    every row                blocks(m, L) + head(m) + attention(n + ... + (n+m-1), L)

The last block of a prompt pass is left out: only its keys and values are needed. Norms, activation functions,
rotary embeddings and the edits themselves are left out too. So this is a floor, and a share of the machine's
rate that is computed from it flatters nobody. The loop's count is that of the usual `generate`:

    every row                blocks(n+m-1, L) + head(m) + attention(1 + ... + (n+m-1), L)

Scoring an answer of m tokens that is given passes n+m-1 tokens, in the loop as above. With shared prompts and
shared depth, prompts are passed as above, the answers of a prompt once without an edit, and then

    a row, edited first      blocks(m, L-1-l) + head(m) + attention(n + ... + (n+m-1), L-1-l)
    after block l
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

from activations import Subject
from activations.hooks import decoder_blocks, plain_model

SIDE = 1024
"""Of the square matrices whose product gives the machine's rate."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What of a dense model's shape the count needs.

    Attributes:
        n_layers: Blocks.
        block_weights: Numbers in the matrices of one block.
        head_weights: Numbers in `lm_head`.
        query_width: Heads times width of a head.
    """

    n_layers: int
    block_weights: int
    head_weights: int
    query_width: int

    @classmethod
    def of(cls, subject: Subject) -> "Shape":
        """Read it from a model whose blocks are all alike and use all their weights for every token."""
        model = plain_model(subject.model)
        config = model.config.get_text_config(decoder=True)
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        blocks = decoder_blocks(subject.model)
        return cls(
            n_layers=len(blocks),
            block_weights=_matrix_numbers(blocks[0]),
            head_weights=model.get_output_embeddings().weight.numel(),
            query_width=int(width) * int(config.num_attention_heads),
        )

    def passed(self, tokens: int, blocks: int, attended: int) -> int:
        """Return the operations of tokens in some blocks, where they attend to so many positions in all."""
        return 2 * self.block_weights * tokens * blocks + 4 * self.query_width * attended * blocks

    def head(self, tokens: int) -> int:
        """Return the operations that give tokens their logits."""
        return 2 * self.head_weights * tokens


@dataclass(frozen=True, kw_only=True)
class GeneratedRow:
    """One row of a grid of generations.

    Attributes:
        cell: Index of its cell.
        prompt: Tokens of the prompt.
        new: New tokens that were decoded.
        start: The last block below the first edit of the prompt; None where the prompt is not edited before
            its last token.
    """

    cell: int
    prompt: int
    new: int
    start: int | None


def engine_operations(
    shape: Shape, prompts: Iterable[int], rows: Iterable[GeneratedRow], shared: int = 0
) -> int:
    """Return the operations that a grid needs where all that can be shared is run once.

    Args:
        shape: Of the model.
        prompts: The tokens of each prompt.
        rows: The rows of the grid.
        shared: With how many equal tokens all prompts begin.
    """
    total = sum(shape.passed(n - 1, shape.n_layers - 1, _triangle(1, n)) for n in prompts)
    begun: set[int] = set()
    for row in rows:
        if row.start is not None:
            above = max(0, shape.n_layers - 2 - row.start)
            if row.cell not in begun:
                total += shape.passed(shared, above, _triangle(1, shared + 1))
                begun.add(row.cell)
            total += shape.passed(row.prompt - 1 - shared, above, _triangle(shared + 1, row.prompt))
        attended = _triangle(row.prompt, row.prompt + row.new)
        total += shape.passed(row.new, shape.n_layers, attended) + shape.head(row.new)
    return total


def loop_operations(shape: Shape, rows: Iterable[GeneratedRow]) -> int:
    """Return the operations of the same rows when each runs its own prompt through all blocks."""
    total = 0
    for row in rows:
        n = row.prompt + row.new - 1
        total += shape.passed(n, shape.n_layers, _triangle(1, n + 1)) + shape.head(row.new)
    return total


def scoring_operations(shape: Shape, answers: Iterable[tuple[int, int]], starts: Iterable[int]) -> int:
    """Return the operations that scoring answers takes where prompts and lower blocks are run once.

    Args:
        shape: Of the model.
        answers: The tokens of each prompt and of its answer.
        starts: For each cell the last block below its first edit, which leaves prompts alone.
    """
    total, above = 0, [shape.n_layers - 1 - start for start in starts]
    for prompt, new in answers:
        attended = _triangle(prompt, prompt + new)
        total += shape.passed(prompt - 1, shape.n_layers - 1, _triangle(1, prompt))
        total += shape.passed(new, shape.n_layers, attended)
        total += sum(shape.passed(new, blocks, attended) + shape.head(new) for blocks in above)
    return total


def matmul_rate(device: torch.device, dtype: torch.dtype, *, repeats: int = 30) -> float:
    """Return operations per second of large matrix products, the median of some."""
    left, right = (torch.randn(SIDE, SIDE, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        torch.mm(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return 2 * SIDE**3 / median(seconds[1:])


def _matrix_numbers(block: nn.Module) -> int:
    return sum(weight.numel() for weight in block.parameters() if weight.ndim == 2)


def _triangle(first: int, end: int) -> int:
    """Return first + ... + (end - 1)."""
    return (first + end - 1) * (end - first) // 2
