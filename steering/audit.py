"""What an edit really touched: for each row the tokens edited in prefill and in decode, and how far they were moved.

Silent non-steering is the worst class of fault in this trade; `require_fired` turns it into an error.
"""

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Touched:
    """What happened to one row.

    Attributes:
        prefill: Tokens of the row itself that were edited, at the hook point where most were.
        decode: Generated tokens that were edited, counted likewise.
        relative_shift: Mean over all token edits of the shift's L2 norm over the residual's; 0 where none was made.
    """

    prefill: int
    decode: int
    relative_shift: float


class Ledger:
    """Sums of one batch at one place: kept on the device, so that counting never waits for it."""

    def __init__(self, keys: tuple[Hashable, ...], device: torch.device) -> None:
        """Start at zero for each of the rows."""
        self.keys = keys
        self.prefill = torch.zeros(len(keys), dtype=torch.long, device=device)
        self.decode = torch.zeros(len(keys), dtype=torch.long, device=device)
        self.shift = torch.zeros(len(keys), device=device)

    def note(
        self,
        owners: Int[Tensor, " token"],
        generated: Int[Tensor, " token"],
        moved: Int[Tensor, " token"],
        shift: Float[Tensor, " token"],
    ) -> None:
        """Add the tokens of one pass: whose they are, whether generated and moved (0 or 1), and their relative shift."""
        self.decode.index_add_(0, owners, generated * moved)
        self.prefill.index_add_(0, owners, (1 - generated) * moved)
        self.shift.index_add_(0, owners, shift)


class Audit:
    """Counts edits row by row; one audit may span many batches."""

    def __init__(self) -> None:
        """Start with nothing touched."""
        self._expected: dict[Hashable, str] = {}
        self._ledgers: list[tuple[Hashable, Ledger]] = []

    def expect(self, key: Hashable, description: str) -> None:
        """Note that a row carries an edit that ought to touch something."""
        self._expected[key] = description

    def ledger(self, place: Hashable, keys: tuple[Hashable, ...], device: torch.device) -> Ledger:
        """Open the books for one batch at one place (a hook point, and which edit there)."""
        ledger = Ledger(keys, device)
        self._ledgers.append((place, ledger))
        return ledger

    def all_touched(self) -> dict[Hashable, Touched]:
        """Return what happened to each row that carries an edit."""
        counts: dict[Hashable, dict[Hashable, list[int]]] = defaultdict(dict)
        shifts: dict[Hashable, float] = defaultdict(float)
        for place, ledger in self._ledgers:
            sums = zip(ledger.prefill.tolist(), ledger.decode.tolist(), ledger.shift.tolist(), strict=True)
            for key, (prefill, decode, shift) in zip(ledger.keys, sums, strict=True):
                before = counts[key].get(place, [0, 0])
                counts[key][place] = [before[0] + prefill, before[1] + decode]
                shifts[key] += shift
        result = {}
        for key in {**self._expected, **counts}:
            places = list(counts[key].values()) or [[0, 0]]
            total = sum(map(sum, places))
            prefill, decode = (max(place[i] for place in places) for i in (0, 1))
            result[key] = Touched(prefill, decode, shifts[key] / total if total else 0.0)
        return result

    def require_fired(self) -> None:
        """Raise if some edit, over all rows that carry it, touched not a single token.

        Raises:
            RuntimeError: Names the edit and its first row.
        """
        touched = self.all_touched()
        fired = {d for key, d in self._expected.items() if touched[key].prefill + touched[key].decode > 0}
        for key, description in self._expected.items():
            if description not in fired:
                raise RuntimeError(f"no token was edited by {description} in any of its rows, of which the first is {key}")
