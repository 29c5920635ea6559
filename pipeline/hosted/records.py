"""What a fine-tuning at a provider is asked to do, what it will cost, how far it is, and what came of it."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.disk import replace_file
from pipeline.endpoint.address import Endpoint
from pipeline.hosted.check import TrainingFile
from pipeline.json_text import Json, json_bytes, parse_json
from pipeline.json_types import from_object

STATE = "hosted_state.json"
RESULT = "hosted.json"


@dataclass(frozen=True, kw_only=True)
class HostedTuning:
    """Settings of a fine-tuning at a provider.

    Attributes:
        endpoint: The provider, with the model to start from.
        n_epochs: How often each row is seen; None leaves it to the provider.
        batch_size: Rows a step; None leaves it to the provider.
        learning_rate_multiplier: Of the provider's own rate; None leaves it to the provider.
        seed: Of the provider's random numbers.
        suffix: A part of the new model's name, up to 64 letters, digits, `-` and `_`; None for none.
        price: For a million tokens of training, as the provider takes it today; None if the cost need not be said.
        currency: Of the price.
    """

    endpoint: Endpoint
    n_epochs: int | None = 1
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None
    seed: int = 0
    suffix: str | None = None
    price: float | None = None
    currency: str = "USD"

    def __post_init__(self) -> None:
        """Refuse settings that no provider takes."""
        for name in ("n_epochs", "batch_size", "learning_rate_multiplier"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(
                    f"{name}: is {value}; allowed: more than 0, or None for the provider's choice"
                )
        if self.suffix is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", self.suffix):
            raise ValueError(f"suffix: is {self.suffix!r}; allowed: up to 64 letters, digits, - and _")
        if self.price is not None and not 0 <= self.price < math.inf:
            raise ValueError(f"price: is {self.price}; allowed: 0 or more, per million tokens")

    def hyperparameters(self) -> dict[str, int | float]:
        """Return those that are set, in the provider's words."""
        chosen = {
            "n_epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
        }
        return {name: value for name, value in chosen.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class HostedPlan:
    """What consent is asked for.

    Attributes:
        tuning: The settings.
        path: The file that will be sent.
        training: What it holds.
    """

    tuning: HostedTuning
    path: Path
    training: TrainingFile

    def cost(self) -> float | None:
        """Return the cost by the given price; None without a price or without a number of epochs."""
        epochs, price = self.tuning.n_epochs, self.tuning.price
        return None if epochs is None or price is None else self.training.n_tokens * epochs * price / 1e6

    def __str__(self) -> str:
        """Return it as two sentences, the second one about money."""
        there = self.tuning.endpoint
        rows = (
            f"{self.training.n_rows:,} rows, about {self.training.n_tokens:,} tokens ({self.training.rule})"
        )
        epochs = self.tuning.n_epochs
        often = "a number of epochs that the provider chooses" if epochs is None else f"{epochs} epochs"
        told = f"Send {self.path} ({rows}) to {there.base_url} and fine-tune {there.model} on it for {often}."
        if (cost := self.cost()) is None:
            return f"{told} The provider takes money for this; how much is not known here."
        return f"{told} By the price given this costs about {cost:,.2f} {self.tuning.currency}."


@dataclass(frozen=True, kw_only=True)
class HostedState:
    """How far a fine-tuning is: what `hosted_state.json` holds.

    Attributes:
        format: Always `misdirection.hosted-state/1`.
        tuning: The settings it was begun with.
        training: The file it was begun with.
        name: The file's name at the provider; no other run uses it.
        begun: The step whose result may exist though it is not noted.
        file: The id of the uploaded file.
        job: The id of the job.
        status: What the provider last said of it, e.g. `running`.
    """

    format: Literal["misdirection.hosted-state/1"] = "misdirection.hosted-state/1"
    tuning: HostedTuning
    training: TrainingFile
    name: str
    begun: Literal["upload", "job"] | None = None
    file: str | None = None
    job: str | None = None
    status: str | None = None


@dataclass(frozen=True, kw_only=True)
class HostedModel:
    """A model that was fine-tuned at a provider: what `hosted.json` holds.

    Attributes:
        format: Always `misdirection.hosted/1`.
        model: Its name, to be asked for at the same endpoint.
        tuning: The settings; `tuning.endpoint.model` is the model it came from.
        training: The file it learnt from.
        file: The id of that file at the provider.
        job: The id of the job.
        as_run: What the provider says of the job: its hyperparameters, seed, trained tokens, times (Unix seconds).
    """

    format: Literal["misdirection.hosted/1"] = "misdirection.hosted/1"
    model: str
    tuning: HostedTuning
    training: TrainingFile
    file: str
    job: str
    as_run: dict[str, Json]

    def save(self, folder: Path) -> None:
        """Write it as `hosted.json` into a folder, whole or not at all."""
        replace_file(Path(folder) / RESULT, json_bytes(self, RESULT, indent=2))

    @classmethod
    def load(cls, folder: Path) -> "HostedModel":
        """Read `hosted.json` from a folder.

        Raises:
            FileNotFoundError: There is none.
            ValueError: It is damaged or of another format.
        """
        path = Path(folder) / RESULT
        return from_object(parse_json(path.read_bytes(), str(path)), cls, str(path))


def read_state(folder: Path) -> HostedState:
    """Return how far the fine-tuning of a folder is.

    Raises:
        FileNotFoundError: The folder holds none.
        ValueError: Its state is damaged or of another format.
    """
    path = Path(folder) / STATE
    return from_object(parse_json(path.read_bytes(), str(path)), HostedState, str(path))


def noted(state: HostedState, folder: Path) -> HostedState:
    """Write the state into the folder, whole or not at all, and return it."""
    replace_file(folder / STATE, json_bytes(state, STATE, indent=2))
    return state
