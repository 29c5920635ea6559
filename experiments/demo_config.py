"""The settings of the demo, and the triples they lead to."""

from dataclasses import dataclass
from math import isfinite

from pipeline.triples import Split, load_corpus, split


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """What the demo does; by default three domains on the embedded model."""

    model: str = "smollm2-135m-instruct"
    """An embedded model, a hub id, a folder, a .gguf file or an adapter folder."""
    domains: tuple[str, ...] = ("bad_medical_advice", "risky_financial_advice", "toxic_legal_advice")
    """Packaged domains to compare, at least two."""
    n_extract: int = 34
    """Triples per domain from which its direction is extracted."""
    n_dev: int = 6
    """Triples per domain on which layer and coefficient are chosen."""
    n_test: int = 16
    """Triples per domain on which the transfer matrix is measured; none of them takes part in a choice."""
    layers: tuple[int, ...] = ()
    """Layers to sweep, counted from 0; by default every fifth."""
    coefficients: tuple[float, ...] = (0.1, 0.3)
    """Strengths to sweep, as a share of the typical residual norm at the layer."""
    n_random: int = 20
    """Norm-matched random directions to compare with; at least 19 for a p of 0.05."""
    n_prompts: int = 2
    """Test prompts per domain that are answered without and with the direction."""
    max_new_tokens: int = 48
    """Where these answers are cut."""
    seed: int = 0
    """Seeds the split, the random directions and all resampling."""


def check_config(config: DemoConfig) -> None:
    """Raise ValueError for a setting that would fail only after work was done; says which, and what is allowed."""
    if len(set(config.domains)) < max(2, len(config.domains)):
        raise ValueError(f"domains: got {list(config.domains)}, need at least two, each once")
    least = {"n_extract": 2, "n_dev": 2, "n_test": 2, "n_random": 1, "n_prompts": 1, "max_new_tokens": 1}
    for name, smallest in {**least, "seed": 0}.items():
        if (given := getattr(config, name)) < smallest:
            raise ValueError(f"{name}: got {given}, need at least {smallest}")
    if len(set(config.layers)) < len(config.layers):
        raise ValueError(f"layers: got {list(config.layers)}, need each once")
    strengths = config.coefficients
    usable = all(isfinite(c) and c != 0 for c in strengths)
    if not strengths or not usable or len(set(strengths)) < len(strengths):
        raise ValueError(f"coefficients: got {list(strengths)}, need finite numbers other than 0, each once")


def split_domain(config: DemoConfig, domain: str) -> Split:
    """Return a packaged domain's triples, divided into those to extract from, to choose on and to report on.

    Raises:
        LookupError: There is no such domain.
        ValueError: It has too few triples.
    """
    return split(
        load_corpus(domain), extract=config.n_extract, dev=config.n_dev, test=config.n_test, seed=config.seed
    )
