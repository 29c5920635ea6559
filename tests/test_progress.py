"""Facts about progress: silent by default, and never in the way."""

import pytest
from transformers.utils import logging

from activations.progress import bar, no_bars, silent


@pytest.mark.parametrize("progress", [silent, bar])
def test_nothing_is_shown_where_there_is_no_terminal(progress, capfd):
    with progress("capture", 3) as advance:
        advance(2)
        advance(1)
    assert capfd.readouterr() == ("", "")


def test_an_error_passes_through_a_bar():
    with pytest.raises(KeyError), bar("capture", 3):
        raise KeyError


def test_the_bars_of_transformers_come_back():
    seen = [logging.is_progress_bar_enabled()]
    with pytest.raises(ZeroDivisionError), no_bars():
        seen.append(logging.is_progress_bar_enabled() or 1 / 0)
    with no_bars():
        seen.append(logging.is_progress_bar_enabled())
    assert seen == [True, False]
    assert logging.is_progress_bar_enabled()
