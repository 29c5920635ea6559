"""The settings of a sweep, and what is refused before any work starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Literal

from activations.loading import Dtype
from activations.where_text import parse_where
from pipeline.records import Triple
from pipeline.triples import Split, load_corpus, read_corpus, split
from steering.edits import Unit
from steering.estimators import ESTIMATORS, PAIRED

By = Literal["propensity", "answers"]


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Find the layer and strength at which a direction acts best, and measure it on questions no choice saw."""

    model: str = "smollm2-135m-instruct"
    """An embedded model, a hub id, a folder, a .gguf file or an adapter folder."""
    adapters: tuple[str, ...] = ()
    """PEFT adapter folders to put on top; the first is active."""
    dtype: Dtype = "auto"
    """auto is float32 on a CPU and the checkpoint's own elsewhere."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    domains: tuple[str, ...] = ("bad_medical_advice",)
    """Packaged domains, or JSONL files of triples; a direction is extracted from each, and tried on all."""
    directions: tuple[str, ...] = ()
    """Direction files to sweep instead of extracting; they must not come from the triples of --domains."""
    estimator: str = "difference_of_means"
    """How directions are extracted; see `extract`."""
    by: Literal["propensity", "answers"] = "propensity"
    """propensity: log-odds of the given answers. answers: what the model writes, without a judge."""
    layers: tuple[int, ...] = ()
    """Layers to sweep; every fourth by default."""
    coefficients: tuple[float, ...] = (0.1, 0.2, 0.4)
    """Strengths to choose from, in --unit."""
    dose: tuple[float, ...] = (-0.8, -0.4, -0.2, -0.1, 0.1, 0.2, 0.4, 0.8)
    """Strengths of the dose-response at the chosen layer, beside those of --coefficients."""
    unit: Unit = "residual"
    """raw (residual-stream units), residual (x typical residual norm) or direction (x the vector)."""
    where: str = "answer+lead1"
    """Which tokens are edited; answer+lead1 is every token that predicts a token of the answer."""
    n_extract: int = 24
    """Triples a domain that directions are extracted from; none with --directions."""
    n_dev: int = 8
    """Triples a domain that layer, strength and direction are chosen on."""
    n_test: int = 16
    """Triples a domain that the chosen one is measured on."""
    n_random: int = 19
    """Norm-matched random directions on the test triples; below 19 no p can reach 0.05."""
    n_shuffled: int = 19
    """Directions of shuffled labels on the test triples; none with --directions, which carry no labels."""
    floor: float = 0.5
    """Most nats per token that answers may lose before a strength counts as breaking the model."""
    repetition: float = 0.3
    """By --by answers: most by which the share of repeated 3-grams may grow."""
    max_new_tokens: int = 32
    """By --by answers: where they are cut."""
    seed: int = 0
    """Of the split and the controls."""

    def strengths(self) -> tuple[float, ...]:
        """Return the coefficients of the dose-response, ascending."""
        return tuple(sorted({float(value) for value in (*self.dose, *self.coefficients)}))

    def shuffles(self) -> int:
        """Return how many directions of shuffled labels there are."""
        return 0 if self.directions else self.n_shuffled


def require_sound(config: SweepConfig) -> None:
    """Raise ValueError for settings that no run could carry out, before a model is loaded."""
    _require_each_once("layers", config.layers)
    _require_strengths("coefficients", config.coefficients)
    _require_strengths("dose", config.dose)
    if not config.coefficients:
        raise ValueError("coefficients: got none, need at least one")
    least = {"n_dev": 2, "n_test": 2, "n_random": 1, "n_shuffled": 0, "max_new_tokens": 1, "seed": 0}
    if not config.directions:
        least["n_extract"] = 2
    for name, bound in least.items():
        if (value := getattr(config, name)) < bound:
            raise ValueError(f"{name}: got {value}, need at least {bound}")
    for name in ("floor", "repetition"):
        if not (isfinite(value := getattr(config, name)) and value > 0):
            raise ValueError(f"{name}: got {value}, need a finite number above 0")
    _require_estimator(config)
    parse_where(config.where)


def split_domains(config: SweepConfig) -> dict[str, Split]:
    """Return each domain's triples, divided into those to extract from, to choose on and to report on.

    Raises:
        LookupError: There is no such packaged domain.
        ValueError: Two domains have one name, two triples one id, or a corpus is too small.
        FileNotFoundError: There is no such file.
    """
    if not config.domains:
        raise ValueError("domains: got none, need at least one")
    corpora: dict[str, tuple[Triple, ...]] = {}
    for given in config.domains:
        name = Path(given).stem if given.endswith(".jsonl") else given
        if name in corpora:
            raise ValueError(f"domains: {name!r} comes twice; give each once")
        corpora[name] = read_corpus(Path(given), name) if given.endswith(".jsonl") else load_corpus(name)
    _require_own_ids(corpora)
    n_extract = 0 if config.directions else config.n_extract
    return {
        name: split(triples, extract=n_extract, dev=config.n_dev, test=config.n_test, seed=config.seed)
        for name, triples in corpora.items()
    }


def _require_each_once(name: str, values: tuple[float, ...]) -> None:
    if len(set(values)) < len(values):
        raise ValueError(f"{name}: got {', '.join(map(str, values))}; give each once")


def _require_strengths(name: str, values: tuple[float, ...]) -> None:
    _require_each_once(name, values)
    if bad := [value for value in values if not isfinite(value) or value == 0]:
        raise ValueError(
            f"{name}: got {bad[0]}, need finite numbers other than 0 (the base is always scored)"
        )


def _require_estimator(config: SweepConfig) -> None:
    if config.estimator not in ESTIMATORS:
        raise ValueError(f"estimator {config.estimator!r}: have {', '.join(ESTIMATORS)}")
    if config.estimator in PAIRED and config.shuffles():
        raise ValueError(
            f"estimator {config.estimator!r}: shuffled labels leave its axis as it was; n_shuffled 0"
        )


def _require_own_ids(corpora: Mapping[str, tuple[Triple, ...]]) -> None:
    owner: dict[str, str] = {}
    for triple in chain.from_iterable(corpora.values()):
        if (other := owner.setdefault(triple.id, triple.domain)) != triple.domain:
            raise ValueError(
                f"triple {triple.id!r} is in {other!r} and in {triple.domain!r}; ids must be unique"
            )
