"""Give a block random numbers of its own."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from transformers import set_seed


@contextmanager
def own_random_numbers(seed: int) -> Iterator[None]:
    """Seed all random numbers for the block; afterwards they go on as if nothing had happened."""
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 (the Trainer uses these)
    try:
        with torch.random.fork_rng():
            set_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002
