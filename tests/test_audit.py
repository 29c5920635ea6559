"""Facts about the audit."""

import numpy as np
import pytest
import torch

from steering.audit import Account, Audit, Touched


def noted(audit, place, key, *, chosen, prefill, decode, gated=False, edit="an edit"):
    ledger = audit.ledger(place, (Account((key,), edit, gated),))
    ledger.plan(np.zeros(chosen, dtype=np.int64))
    n = prefill + decode
    if n:
        generated = torch.tensor([0] * prefill + [1] * decode)
        ledger.note(torch.zeros(n).long(), generated, torch.ones(n).long(), torch.full((n,), 0.5))


def test_batches_add_up_and_hook_points_do_not():
    audit = Audit()
    noted(audit, "p", "row", chosen=3, prefill=3, decode=0)
    noted(audit, "p", "row", chosen=2, prefill=0, decode=2)
    noted(audit, "q", "row", chosen=1, prefill=1, decode=0)
    noted(audit, "q", "other", chosen=0, prefill=0, decode=0)
    assert audit.all_touched() == {"row": Touched(3, 2, 0.5), "other": Touched(0, 0, 0.0)}


def test_tokens_that_were_chosen_but_not_edited_are_an_error_unless_gated():
    audit = Audit()
    noted(audit, "p", "fine", chosen=1, prefill=1, decode=0)
    noted(audit, "p", "gated", chosen=2, prefill=0, decode=0, gated=True)
    noted(audit, "p", "none chosen", chosen=0, prefill=0, decode=0)
    audit.require_fired()
    noted(audit, "p", "silent", chosen=2, prefill=0, decode=0, edit="mirror")
    with pytest.raises(RuntimeError, match="mirror: 2 tokens of row silent were chosen, but none was edited"):
        audit.require_fired()


def test_another_edit_of_the_row_does_not_hide_a_silent_one():
    audit = Audit()
    noted(audit, "p", "row", chosen=2, prefill=2, decode=0)
    noted(audit, "p", "row", chosen=2, prefill=0, decode=0, edit="silent")
    with pytest.raises(RuntimeError, match="silent: 2 tokens"):
        audit.require_fired()


def test_an_edit_that_chooses_no_token_of_any_row_is_an_error():
    audit = Audit()
    noted(audit, "p", "a", chosen=0, prefill=0, decode=0)
    noted(audit, "p", "b", chosen=1, prefill=1, decode=0)
    audit.require_chosen()
    noted(audit, "p", "b", chosen=0, prefill=0, decode=0, edit="lost")
    with pytest.raises(RuntimeError, match="lost: chose no token of any row"):
        audit.require_chosen()
