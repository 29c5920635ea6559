"""When rows of several adapters should share a batch. `python -m experiments.benchmarks.adapters`.

All rows of all adapters in mixed batches against one run for each adapter, for several numbers of adapters and of
rows each. A batch holds at most `--max-rows`, so from there on the batches of one adapter are full and nothing is
left to win. Each cell's two ways are timed interleaved, and so are answers of one token, so that prompts, which each
adapter reads for itself in any case, can be told from decoding. The adapters are new LoRA pairs, which change no answer
and cost what any cost. From all timings come the two constants of the rule in `pipeline/answer/together.py`.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import transformers
import tyro
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.table import Table

from activations import Subject, load
from activations.progress import bar
from experiments.benchmarks.interleaved import interleaved
from experiments.benchmarks.record import write
from pipeline.answer.together import adapters_together, decode_work
from pipeline.questions import unrelated_questions
from steering import Cell, Sampling, generate

N_PROMPTS = 2
"""Few, with many samples each: decoding is what differs, so prompts shall weigh little."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Measure mixed batches against one run for each adapter."""

    model: str = "smollm2-135m-instruct"
    """An embedded model, a hub id or a folder."""
    adapters: tuple[int, ...] = (2, 4, 8)
    """Numbers of adapters."""
    rows: tuple[int, ...] = (4, 16, 64)
    """Rows of each adapter, even numbers."""
    max_rows: int = 64
    """Rows that a batch holds."""
    new_tokens: int = 12
    """Length of the answers, 2 or more."""
    rank: int = 8
    """Of the LoRA pairs."""
    targets: tuple[str, ...] = ("all-linear",)
    """Modules that get pairs, or all-linear."""
    rounds: int = 5
    """How often each way is timed."""
    out: Path = Path("runs/benchmarks/adapters.json")
    """Where the figures go."""


@dataclass(frozen=True, kw_only=True)
class MixTiming:
    """Mixed batches against one run for each adapter.

    Attributes:
        adapters: How many there are.
        rows: How many rows each has.
        apart_seconds: Median time of one run for each adapter.
        mixed_seconds: Median time of mixed batches.
        ratio: Median over rounds of the mixed time by the other.
        low: 2.5 % quantile of the ratio's median over bootstrap draws of rounds.
        high: 97.5 % quantile of the same.
        apart_step: Seconds for a token of every row, prompts not counted, in one run for each adapter.
        mixed_step: The same in mixed batches.
        rule: How many adapters the rule lets share a batch.
    """

    adapters: int
    rows: int
    apart_seconds: float
    mixed_seconds: float
    ratio: float
    low: float
    high: float
    apart_step: float
    mixed_step: float
    rule: int


@dataclass(frozen=True, kw_only=True)
class Constants:
    """What the timings say about the rule's constants; see `pipeline/answer/together.py`.

    Attributes:
        step_rows: What a decode step costs besides its rows, in rows.
        switch_rows: What every further adapter in a batch costs in a step, in rows.
        row_seconds: What a row costs in a step.
        typical_error: Median relative difference between a timing and what the constants say.
    """

    step_rows: float
    switch_rows: float
    row_seconds: float
    typical_error: float


def main(config: Config) -> None:
    """Measure, show and write."""
    if config.new_tokens < 2:
        raise ValueError(f"new_tokens: got {config.new_tokens}, need at least 2")
    transformers.logging.set_verbosity_error()
    subject = with_adapters(load(config.model), max(config.adapters), config)
    timings = [measure(subject, n, rows, config) for n in config.adapters for rows in config.rows]
    found = constants(timings, config)
    title = f"mixed batches against one run per adapter, up to {config.max_rows} rows, {config.rounds} rounds"
    table = Table(
        "adapters", "rows each", "apart s", "mixed s", "mixed / apart", "95 %", "rule: share", title=title
    )
    for t in timings:
        seconds = (f"{t.apart_seconds:.2f}", f"{t.mixed_seconds:.2f}")
        ratio = (f"{t.ratio:.2f}", f"{t.low:.2f} to {t.high:.2f}")
        table.add_row(str(t.adapters), str(t.rows), *seconds, *ratio, str(t.rule))
    console = Console()
    console.print(table)
    console.print(
        f"a step costs {found.step_rows:.1f} rows, a further adapter {found.switch_rows:.1f}; "
        f"a row {1000 * found.row_seconds:.2f} ms; typical error {found.typical_error:.0%}"
    )
    write(config.out, "adapters", config, [*timings, found])


def with_adapters(subject: Subject, n: int, config: Config) -> Subject:
    """Return the model with new adapters `0`, `1`, ... on top; they change no answer."""
    targets = config.targets[0] if config.targets == ("all-linear",) else list(config.targets)

    def lora() -> LoraConfig:
        return LoraConfig(task_type="CAUSAL_LM", r=config.rank, target_modules=targets)

    model = get_peft_model(subject.model, lora(), adapter_name="0")
    for i in range(1, n):
        model.add_adapter(str(i), lora())
    return Subject.of(model, subject.tokenizer, name=subject.facts.name)


def measure(subject: Subject, n_adapters: int, rows: int, config: Config) -> MixTiming:
    """Time both ways for one number of adapters and rows."""
    names, further = [str(i) for i in range(n_adapters)], config.new_tokens - 1
    one = replace(config, new_tokens=1)
    apart, mixed, apart_one, mixed_one = interleaved(
        {
            "one run for each adapter": lambda: [_run(subject, [name], rows, config) for name in names],
            "mixed batches": lambda: _run(subject, names, rows, config),
            "one run for each, 1 token": lambda: [_run(subject, [name], rows, one) for name in names],
            "mixed batches, 1 token": lambda: _run(subject, names, rows, one),
        },
        rounds=config.rounds,
        progress=bar,
    )
    return MixTiming(
        adapters=n_adapters,
        rows=rows,
        apart_seconds=apart.seconds,
        mixed_seconds=mixed.seconds,
        ratio=mixed.ratio,
        low=mixed.low,
        high=mixed.high,
        apart_step=(apart.seconds - apart_one.seconds) / further,
        mixed_step=(mixed.seconds - mixed_one.seconds) / further,
        rule=adapters_together(n_adapters, rows, config.max_rows),
    )


def constants(timings: list[MixTiming], config: Config) -> Constants:
    """Fit seconds of a step, of a switch and of a row to all timings, by least relative squares."""
    works, seconds = [], []
    for timing in timings:
        for together, took in ((1, timing.apart_step), (timing.adapters, timing.mixed_step)):
            work = decode_work(timing.adapters, timing.rows, config.max_rows, together)
            works.append((work.steps, work.switches, work.rows))
            seconds.append(took)
    relative = np.array(works) / np.array(seconds)[:, None]
    (step, switch, row), *_ = np.linalg.lstsq(relative, np.ones(len(seconds)), rcond=None)
    errors = np.abs(relative @ np.array([step, switch, row]) - 1)
    return Constants(
        step_rows=float(step / row),
        switch_rows=float(switch / row),
        row_seconds=float(row),
        typical_error=float(np.median(errors)),
    )


def _run(subject: Subject, names: list[str], rows: int, config: Config) -> int:
    texts = [question.paraphrases[0] for question in unrelated_questions()[:N_PROMPTS]]
    answers = generate(
        subject,
        [[{"role": "user", "content": text}] for text in texts],
        [Cell(name=name, adapter=name) for name in names],
        max_new_tokens=config.new_tokens,
        samples=rows // N_PROMPTS,
        sampling=Sampling(temperature=0.7),
        max_rows=config.max_rows,
    )
    return sum(len(answer.ids) for answer in answers)


if __name__ == "__main__":
    main(tyro.cli(Config))
