"""Two ways to score given answers under a grid of cells: the row engine, and a loop with a hook written by hand."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from activations import HookPoint, Subject, Where, edited
from activations.encode import TokenRow
from activations.forward import body_inputs
from activations.hooks import plain_model
from experiments.benchmarks.setup import Chats, Job, batch_of
from experiments.benchmarks.work import GeneratedRow, Shape, loop_operations, scoring_operations
from steering import Cell, score_answers
from steering.score import Share


class Scoring:
    """Answers under cells that each add one vector at one block; keeps what every way found."""

    def __init__(self, subject: Subject, chats: Chats, cells: Sequence[Cell], where: Where) -> None:
        """Tokenize the answers; `where` is that of all cells."""
        self.cells = cells
        self._subject, self._chats = subject, chats
        self._batch = batch_of(subject, chats)
        width = self._batch.input_ids.shape[1]
        chosen = torch.zeros(len(chats), width, 1)
        for i, row in enumerate(self._batch.rows):
            flags = torch.tensor(where.select(row), dtype=torch.float32)
            chosen[i, self._batch.start(i) : self._batch.start(i) + len(row), 0] = flags
        self._chosen = chosen.to(subject.device)
        self._engine: dict[tuple[int, int], Tensor] = {}
        self._looped: dict[tuple[int, int], Tensor] = {}

    def engine(self, share: Share, *, every: int = 1) -> Job:
        """Return a job that scores the grid, or one of `every` so many cells of it, by the row engine."""
        chosen = range(0, len(self.cells), every)

        def run() -> None:
            some = [self.cells[c] for c in chosen]
            for score in score_answers(self._subject, self._chats, some, share=share):
                self._engine[chosen[score.cell], score.row] = score.log_probs

        return run

    def loop(self, sample: int, *, every_logit: bool) -> Job:
        """Return a job that scores the next cells of a random order, with logits of every token or not."""
        order = np.random.default_rng(0).permutation(len(self.cells)).tolist()

        def run() -> None:
            for _ in range(sample):
                c = order.pop(0)
                order.append(c)
                for r, log_probs in enumerate(self.by_hand(self.cells[c], every_logit=every_logit)):
                    self._looped[c, r] = log_probs

        return run

    def arithmetic(self) -> str:
        """Say how much less arithmetic shared prompts and depth leave, for these answers."""
        shape = Shape.of(self._subject)
        answers = [(row.n_prompt, self._last(row) + 1 - row.n_prompt) for row in self._batch.rows]
        starts = [start for cell in self.cells if (start := cell.start) is not None]
        shared = scoring_operations(shape, answers, starts)
        rows = [GeneratedRow(cell=0, prompt=n, new=m, start=None) for n, m in answers]
        looped = len(starts) * loop_operations(shape, rows)
        means = [sum(column) / len(answers) for column in zip(*answers, strict=True)]
        return (
            f"A prompt has {means[0]:.0f} tokens and an answer {means[1]:.0f} on average; the arithmetic is "
            f"{looped / 1e12:.2f} x 10^12 operations in the loop with the answers' logits only, "
            f"{shared / 1e12:.2f} x 10^12 where depth and prompt are shared: {looped / shared:.1f} times fewer."
        )

    @staticmethod
    def _last(row: TokenRow) -> int:
        """Return the place of the last token of the answer."""
        flags = row.answer_flags()
        return len(flags) - 1 - flags[::-1].index(True)

    @torch.inference_mode()
    def by_hand(self, cell: Cell, *, every_logit: bool) -> list[Tensor]:
        """Return the log-probabilities of each answer's tokens in one cell, by a hook and one forward pass."""
        batch, edit = self._batch, cell.edits[0]
        point: HookPoint = edit.points[0]
        shift = self._chosen * edit.step(point).shift
        width = batch.input_ids.shape[1]
        firsts = [batch.start(i) + row.n_prompt for i, row in enumerate(batch.rows)]
        keep = width if every_logit else width - min(firsts) + 1
        with edited(self._subject.model, {point: lambda resid: resid + shift}):
            output = plain_model(self._subject.model)(
                **body_inputs(self._subject.model, batch), use_cache=False, logits_to_keep=keep
            )
        log_probs = output.logits[:, :-1].float().log_softmax(dim=-1)
        targets = batch.input_ids[:, width - keep + 1 :]
        found = log_probs.gather(-1, targets[..., None])[..., 0]
        rows = []
        for i, row in enumerate(batch.rows):
            last = batch.start(i) + self._last(row)
            offset = width - keep + 1
            rows.append(found[i, firsts[i] - offset : last + 1 - offset])
        return rows

    def largest_difference(self) -> float:
        """Return the largest difference in nats between the engine's and the loop's, over the loop's cells.

        Raises:
            ValueError: An answer has another number of tokens in both.
        """
        worst = 0.0
        for key, looped in self._looped.items():
            ours = self._engine[key].to(looped.device)
            if ours.shape != looped.shape:
                raise ValueError(
                    f"cell and row {key}: {tuple(ours.shape)} tokens, the loop has {tuple(looped.shape)}"
                )
            worst = max(worst, float((ours - looped).abs().max()))
        return worst
