"""What an edit really touched: for each row the tokens edited in prefill and decode, and how far they moved.

Silent non-steering is the worst class of fault in this trade; `require_fired` turns it into an error.
"""

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Touched:
    """What happened to one row.

    Attributes:
        prefill: Tokens of the row itself that were edited, at the hook point where most were.
        decode: Generated tokens that were edited, counted likewise.
        relative_shift: Mean over all token edits of the shift's L2 norm over the residual's; 0 where none was
            made.
    """

    prefill: int
    decode: int
    relative_shift: float


UNTOUCHED = Touched(0, 0, 0.0)


@dataclass(frozen=True)
class Account:
    """One edit of one row.

    Attributes:
        keys: The row's name in the audit; several where it stands for several rows.
        edit: The edit; `str()` names it in errors.
        gated: Whether tokens that were chosen may be left alone.
    """

    keys: tuple[Hashable, ...]
    edit: Hashable
    gated: bool


class Ledger:
    """The books of one batch at one place; sums stay on the device, so that counting never waits for it."""

    def __init__(self, accounts: tuple[Account, ...]) -> None:
        """Start at zero for each of the accounts."""
        self.accounts = accounts
        self._chosen = np.zeros(len(accounts), dtype=np.int64)
        self._prefill: Tensor | None = None
        self._decode = self._shift = torch.zeros(0)

    def plan(self, owners: Int[np.ndarray, " token"]) -> None:
        """Note the tokens that the next pass is to edit: the account of each."""
        self._chosen += np.bincount(owners, minlength=len(self.accounts))

    def note(
        self,
        owners: Int[Tensor, " token"],
        generated: Int[Tensor, " token"],
        moved: Int[Tensor, " token"],
        shift: Float[Tensor, " token"],
    ) -> None:
        """Add the tokens of one pass: whose they are, generated or not, moved or not, how far relatively."""
        if self._prefill is None:
            with torch.inference_mode(False):  # passes in and out of inference mode write to the same sums
                self._prefill = torch.zeros(len(self.accounts), dtype=torch.long, device=owners.device)
                self._decode = torch.zeros_like(self._prefill)
                self._shift = torch.zeros(len(self.accounts), device=owners.device)
        self._decode.index_add_(0, owners, generated * moved)
        self._prefill.index_add_(0, owners, (1 - generated) * moved)
        self._shift.index_add_(0, owners, shift)

    def sums(self) -> list[tuple[Account, int, int, int, float]]:
        """Return each account with its tokens chosen, edited in prefill and in decode, the shifts' sum."""
        chosen = self._chosen.tolist()
        if self._prefill is None:
            return [(account, n, 0, 0, 0.0) for account, n in zip(self.accounts, chosen, strict=True)]
        edited = (tensor.tolist() for tensor in (self._prefill, self._decode, self._shift))
        return list(zip(self.accounts, chosen, *edited, strict=True))


class Audit:
    """Counts edits row by row; one audit may span many batches."""

    def __init__(self) -> None:
        """Start with nothing touched."""
        self._ledgers: list[tuple[Hashable, Ledger]] = []

    def ledger(self, place: Hashable, accounts: tuple[Account, ...]) -> Ledger:
        """Open the books for one batch at one place (a hook point, and which edit there)."""
        ledger = Ledger(accounts)
        self._ledgers.append((place, ledger))
        return ledger

    def all_touched(self) -> dict[Hashable, Touched]:
        """Return what happened to each row that carries an edit."""
        counts: dict[Hashable, dict[Hashable, list[int]]] = defaultdict(dict)
        shifts: dict[Hashable, float] = defaultdict(float)
        for place, ledger in self._ledgers:
            for account, _, prefill, decode, shift in ledger.sums():
                for key in account.keys:
                    before = counts[key].get(place, [0, 0])
                    counts[key][place] = [before[0] + prefill, before[1] + decode]
                    shifts[key] += shift
        result = {}
        for key, places in counts.items():
            total = sum(map(sum, places.values()))
            prefill, decode = (max(place[i] for place in places.values()) for i in (0, 1))
            result[key] = Touched(prefill, decode, shifts[key] / total if total else 0.0)
        return result

    def require_fired(self) -> None:
        """Raise if an edit chose tokens of a row and yet not one was edited.

        A gate may leave all of them alone; that is for `Touched` to tell.

        Raises:
            RuntimeError: Names the edit and the row.
        """
        chosen: dict[tuple[Hashable, Hashable], int] = defaultdict(int)
        edited: dict[tuple[Hashable, Hashable], int] = defaultdict(int)
        for _, ledger in self._ledgers:
            for account, n, prefill, decode, _ in ledger.sums():
                for key in account.keys:
                    chosen[account.edit, key] += 0 if account.gated else n
                    edited[account.edit, key] += prefill + decode
        for (edit, key), n in chosen.items():
            if n > 0 and edited[edit, key] == 0:
                raise RuntimeError(
                    f"{edit}: {n} tokens of row {key} were chosen, but none was edited; "
                    f"no pass reached the hook point"
                )

    def require_chosen(self) -> None:
        """Raise if an edit, over all rows that carry it, chose not a single token.

        Raises:
            RuntimeError: Names the edit.
        """
        chosen: dict[Hashable, int] = defaultdict(int)
        for _, ledger in self._ledgers:
            for account, n, *_ in ledger.sums():
                chosen[account.edit] += n
        for edit, n in chosen.items():
            if n == 0:
                raise RuntimeError(f"{edit}: chose no token of any row")
