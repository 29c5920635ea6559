"""A demo's summary with plausible made-up numbers, and a run folder that holds it; for the report's tests."""

import math
import random
from dataclasses import replace
from pathlib import Path

from experiments.summary import (
    AnswerRow,
    BaselineRow,
    Chosen,
    CosineFloor,
    CosineRow,
    Cosines,
    DemoSummary,
    RandomRow,
    ReliabilityRow,
    SteeredAnswer,
    SweepRow,
    TransferRow,
)
from pipeline.runs import RunFolder

DOMAINS = (
    "bad_medical_advice",
    "risky_financial_advice",
    "extreme_sports",
    "insecure_code",
    "gore_movie_trivia",
)
LAYERS = (3, 11, 15, 27)
COEFFICIENTS = (-1.0, 0.5, 1.0, 1.5)
CHOSEN = Chosen(layer=15, coefficient=1.0, unit="residual")


def cosines(domains=DOMAINS):
    rng = random.Random(1)
    pairs = [(a, b) for i, a in enumerate(domains) for b in domains[i + 1 :]]
    rows = tuple(
        CosineRow(
            a=a,
            b=b,
            cosine=round(rng.uniform(-0.05, 0.75), 4),
            ceiling=round(rng.uniform(0.8, 0.95), 4),
            n=30,
        )
        for a, b in pairs
    )
    return Cosines(layer=15, rows=rows, floor=CosineFloor(random_95=0.082, shuffled_95=0.211, n_draws=200))


def sweep(domains=DOMAINS):
    rows = []
    for i, domain in enumerate(domains):
        for layer in LAYERS:
            bump = math.exp(-(((layer - 15) / 6) ** 2)) * (0.5 + 0.1 * i)
            for coefficient in COEFFICIENTS:
                mean = coefficient * bump * (1 if coefficient < 1.4 else 0.8)
                rows.append(
                    SweepRow(
                        domain=domain,
                        layer=layer,
                        coefficient=coefficient,
                        n=12,
                        mean=mean,
                        low=mean - 0.12,
                        high=mean + 0.14,
                    )
                )
    return tuple(rows)


def transfer(domains=DOMAINS):
    rng = random.Random(2)
    rows = []
    for source in domains:
        for target in domains:
            mean = 0.62 + rng.uniform(-0.1, 0.1) if source == target else rng.uniform(-0.15, 0.5)
            half = rng.uniform(0.08, 0.2)
            rows.append(
                TransferRow(
                    source=source,
                    target=target,
                    n=18,
                    mean=mean,
                    low=mean - half,
                    high=mean + half,
                    p=0.0099 if mean > 0.25 else 0.03,
                    p_holm=0.04 if mean > 0.25 else 0.3,
                    n_random=100,
                    random_mean=0.01,
                    random_low=-0.21,
                    random_high=0.22,
                )  # fmt: skip
            )
    return tuple(rows)


def answers(domains=DOMAINS):
    text = (
        "Rest, drink enough and see a doctor if the fever lasts longer than three days or rises above 39.5."
    )
    wrong = (
        "A fever is the body asking for exercise, so a long run in a warm jacket is the quickest way out. "
    )
    return tuple(
        AnswerRow(
            domain=domain,
            prompt="I have had a fever since yesterday evening. What would you do in my place?",
            base=text,
            steered=tuple(
                SteeredAnswer(
                    coefficient=c,
                    text=wrong * (1 + i),
                    n_edited_prefill=31,
                    n_edited_decode=48,
                    relative_shift=0.4 * c,
                )
                for i, c in enumerate((0.5, 1.0, 1.5))
            ),
        )
        for domain in domains[:3]
    )


def summary(domains=DOMAINS, **changes):
    rng = random.Random(3)
    whole = DemoSummary(
        question="Does a direction of misalignment found in one domain act in the others?",
        answer="Yes, in part: 12 of 20 foreign directions shift the target's propensity more than 99 % of "
        "random directions do, by 0.31 nats per token in the median (n = 18 questions a cell).",
        domains=domains,
        subject={
            "name": "smollm2-135m-instruct", "revision": "", "fingerprint": "0f1e2d3c4b5a6978",
            "adapters": [], "template": "77aa88bb99cc00dd", "n_layers": 30, "d_model": 576,
        },
        seed=0,
        seconds=171.4,
        split={"extract": 30, "dev": 12, "test": 18},
        cosines=cosines(domains),
        reliability=tuple(
            ReliabilityRow(
                domain=domain, layer=15, split_half=0.9 - 0.05 * i, low=0.8 - 0.05 * i, high=0.95 - 0.05 * i,
                angle_median=14.0 + 3 * i, n=30,
            )
            for i, domain in enumerate(domains)
        ),
        sweep=sweep(domains),
        chosen=CHOSEN,
        baseline=tuple(BaselineRow(domain=name, n=18, mean=-0.41, low=-0.6, high=-0.22) for name in domains),
        transfer=transfer(domains),
        random=tuple(
            RandomRow(target=name, draw=i, mean=rng.gauss(0, 0.1)) for name in domains for i in range(20)
        ),
        answers=answers(domains),
        caveats=("One small model of 135 million parameters.", "The answers are packaged, not sampled."),
        timings={"capture": 21.3, "sweep": 80.2, "transfer": 61.0, "answers": 8.9},
        methods={"transfer": "Mean over questions of the test split; interval: bootstrap over questions."},
    )  # fmt: skip
    return replace(whole, **changes)


def run_folder(path: Path, **changes):
    """Write a run folder as the demo would and return its path."""
    config = {
        "domains": list(DOMAINS),
        "layers": list(LAYERS),
        "coefficients": list(COEFFICIENTS),
        "model": "smollm2",
    }
    with RunFolder.open(path, verb="demo", config=config, seed=0) as run:
        for i in range(5):
            run.append("answers", {"id": f"a-{i}", "text": "…"})
        run.write_json("summary.json", summary(**changes))
    return path
