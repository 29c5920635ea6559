"""How fast this model runs here: measured on a small probe, and a named job estimated from it."""

from time import perf_counter

from activations import All, Answer, HookPoint, collect
from activations.chat import Chat
from activations.encode import tokenize_all
from experiments.doctor.probe import QUESTIONS, Probe
from experiments.doctor.record import CheckResult, finite
from steering import Cell, add, generate

N_LAYERS, N_COEFFICIENTS, N_PROMPTS, N_TOKENS = 30, 3, 8, 24
JOB = (
    f"a sweep of {N_LAYERS} layers x {N_COEFFICIENTS} coefficients x {N_PROMPTS} prompts x {N_TOKENS} tokens"
)
PROBE_TOKENS = 6
CPU_LAYERS = 4
"""Layers of the probe on a CPU; 32 rows are about as many as it works off at full speed."""


def capture_speed(probe: Probe) -> CheckResult:
    """Time the capture of all layers."""
    chats = _questions()
    n_tokens = sum(len(row) for row in tokenize_all(probe.subject, chats, template=probe.template))
    began = perf_counter()
    collect(probe.subject, chats, All(), template=probe.template)
    seconds = perf_counter() - began
    return _speed("speed of capture", "How fast are activations read, all layers at once?", n_tokens, seconds)


def scoring_speed(probe: Probe) -> CheckResult:
    """Time the scoring of answers under the grid."""
    began = perf_counter()
    n_tokens = sum(len(log_probs) for log_probs in probe.score().values())
    seconds = perf_counter() - began
    question = "How fast are answers scored under a grid (answer tokens, prompts not counted)?"
    return _speed("speed of scoring", question, n_tokens, seconds)


def generation_speed(probe: Probe) -> CheckResult:
    """Time steered generation, and estimate how long a sweep takes."""
    n_layers = min(probe.n_layers, CPU_LAYERS if probe.subject.device.type == "cpu" else N_LAYERS)
    cells = [
        Cell(
            name=str(layer),
            edits=(add(probe.direction, 0.1, points=[HookPoint(layer)], where=Answer(lead=1)),),
        )
        for layer in range(probe.n_layers - n_layers, probe.n_layers)
    ]
    began = perf_counter()
    answers = list(
        generate(probe.subject, _questions(), cells, max_new_tokens=PROBE_TOKENS, template=probe.template)
    )
    seconds = perf_counter() - began
    speed = sum(len(answer.ids) for answer in answers) / seconds
    job_tokens = N_LAYERS * N_COEFFICIENTS * N_PROMPTS * N_TOKENS
    return CheckResult(
        name="speed of generation",
        question=f"How fast are steered answers written, {len(answers)} at a time?",
        measured=finite(speed),
        unit="tokens/s",
        verdict="measured",
        meaning=f"{JOB} takes about {job_tokens / speed / 60:.2g} minutes; "
        f"an estimate from {seconds:.1f} s of measurement, prompts included.",
    )


def _questions() -> list[Chat]:
    return [[{"role": "user", "content": question}] for question in QUESTIONS[:N_PROMPTS]]


def _speed(name: str, question: str, n_tokens: int, seconds: float) -> CheckResult:
    speed = n_tokens / seconds
    return CheckResult(
        name=name,
        question=question,
        measured=finite(speed),
        unit="tokens/s",
        verdict="measured",
        meaning=f"A million tokens take about {_duration(1e6 / speed)}; "
        f"an estimate from {seconds:.1f} s of measurement.",
    )


def _duration(seconds: float) -> str:
    if seconds < 99:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5940 else f"{seconds / 3600:.1f} h"
