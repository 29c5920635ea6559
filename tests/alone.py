"""Run one row alone with hooks written by hand: no padding, no cache, no sharing, no code of the row engine."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from activations import All, Answer, From, HookPoint, Last, Prompt, Role, Subject, Text, decoder_blocks
from activations.encode import TokenRow, tokenize_all
from activations.hooks import decoder_body
from steering import Cell, Direction, add, clamp, mirror, project_out
from steering.edits import Edit
from tests.conftest import D_MODEL, N_LAYERS
from tests.planted import direction

POINTS = tuple(HookPoint(layer, site) for layer in range(N_LAYERS) for site in ("resid_pre", "resid_post"))
PROMPTS = ("Hello there, how are you?", "Why?", "Tell me about the sea, please", "Größe \U0001f30a?")
REPLIES = ("I am fine, thanks.", "Because it has been so for a long while now.", "Yes", "naïve — être")
QUESTIONS = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
CHATS = [[*q, {"role": "assistant", "content": reply}] for q, reply in zip(QUESTIONS, REPLIES, strict=True)]


def direction_of(subject: Subject, seed: int = 0, name: str = "sea", scale: float = 3.0) -> Direction:
    """A random direction at every hook point of a tiny model."""
    generator = torch.Generator().manual_seed(seed)
    vectors = scale * torch.randn(len(POINTS), D_MODEL, generator=generator) / D_MODEL**0.5
    norms = 2 + torch.rand(len(POINTS), generator=generator)
    return direction(vectors, points=POINTS, name=name, subject=subject.facts, norms=norms, reliability={})


def by_hand(edit: Edit, point: HookPoint, h: Tensor) -> Tensor:
    """What an edit makes of some tokens' residual stream, by the textbook."""
    i = edit.direction.points.index(point)
    v = edit.direction.vectors[i]
    length = v.norm()
    u, scale = v / length, {"raw": 1.0, "residual": edit.direction.norms[i], "direction": length}[edit.unit]
    p = (h @ u)[:, None]
    moved = {
        "add": lambda: h + edit.coefficient * scale * u,
        "project_out": lambda: h - edit.coefficient * p * u,
        "clamp": lambda: h + (p.clamp(edit.low * scale, edit.high * scale) - p) * u,
        "mirror": lambda: h - 2 * p * u,
    }[edit.operator]()
    return torch.where((p >= edit.gate[0] * scale) & (p <= edit.gate[1] * scale), moved, h)


@contextmanager
def hooked(subject: Subject, row: TokenRow, edits: tuple[Edit, ...]) -> Iterator[None]:
    """Edit passes of one row from its first token on, generated tokens included."""
    blocks, handles = decoder_blocks(subject.model), []

    def changed(point: HookPoint, h: Tensor) -> Tensor:
        h = h.clone()
        for edit in edits:
            flags = edit.where.select(row) + [
                edit.where.generated(row, k) for k in range(h.shape[1] - len(row))
            ]
            if point in edit.points and edit.coefficient != 0:
                h[0] = torch.where(torch.tensor(flags)[:, None], by_hand(edit, point, h[0]), h[0])
        return h

    def after(point: HookPoint):
        return lambda m, a, out: (
            changed(point, out) if isinstance(out, Tensor) else (changed(point, out[0]), *out[1:])
        )

    def before(point: HookPoint):
        return lambda m, args: (changed(point, args[0]), *args[1:])

    for point in {point for edit in edits for point in edit.points}:
        block = blocks[point.layer]
        pre = point.site == "resid_pre"
        handles.append(
            block.register_forward_pre_hook(before(point))
            if pre
            else block.register_forward_hook(after(point))
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def log_probs_alone(subject: Subject, chat: object, edits: tuple[Edit, ...]) -> Tensor:
    """ln p of each token of the answer."""
    (row,) = tokenize_all(subject, [chat])
    with hooked(subject, row, edits):
        found = subject.model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0].log_softmax(-1)
    return torch.stack([found[i - 1, row.ids[i]] for i, flag in enumerate(row.answer_flags()) if flag])


@torch.no_grad()
def require_greedy(subject: Subject, chat: object, edits: tuple[Edit, ...], ids: tuple[int, ...]) -> None:
    """Check that each token is the likeliest after those before it, or a tie within rounding."""
    (row,) = tokenize_all(subject, [chat])
    with hooked(subject, row, edits):
        logits = subject.model(input_ids=torch.tensor([[*row.ids, *ids[:-1]]]), use_cache=False).logits[0]
    for step, (token, found) in enumerate(zip(ids, logits[len(row) - 1 :], strict=True)):
        assert found.max() - found[token] < 1e-4, f"step {step}: {token} instead of {int(found.argmax())}"


@contextmanager
def memory_for(subject: Subject, n_rows: int, *, calm: int = 0) -> Iterator[list[int]]:
    """Run out of memory in the middle of the model when a pass has more rows, after `calm` passes; note passes."""
    passes: list[int] = []

    def check(_block: nn.Module, args: tuple[Tensor, ...]) -> None:
        passes.append(len(args[0]))
        if len(passes) > calm and len(args[0]) > n_rows:
            raise torch.OutOfMemoryError(f"{len(args[0])} rows")

    handle = decoder_blocks(subject.model)[N_LAYERS - 1].register_forward_pre_hook(check)
    try:
        yield passes
    finally:
        handle.remove()


def n_hooks(model: nn.Module) -> int:
    """How many hooks there are, and forward functions that were replaced."""
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + ("forward" in vars(m)) for m in model.modules()
    )


def state(subject: Subject) -> list[object]:
    """What must be as before: hooks, weights, tokenizer, mode."""
    weights = [(name, float(w.detach().double().sum())) for name, w in subject.model.named_parameters()]
    tokenizer, training = subject.tokenizer, decoder_body(subject.model).training
    kept = (tokenizer.padding_side, tokenizer.pad_token, tokenizer.chat_template)
    return [n_hooks(subject.model), weights, training, kept]


FEW = settings(max_examples=3, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
FEW = settings(FEW, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
NUMBERS = st.sampled_from([-1.5, -0.5, 0.0, 0.25, 1.0, 2.0])
ANYWHERE = [All(), All(sink=True), Answer(), Answer(lead=1), Prompt(), From(3), Role("user"), Text("e")]
ANYWHERE += [Answer().first(2), Prompt().last(2), ~Prompt(), Prompt() & From(5), Prompt().last(1) | Answer()]
GATES = st.sampled_from(
    [(-float("inf"), float("inf"))] * 3 + [(0.013, float("inf")), (-0.517, 0.237)]
)  # no ties with a clamp


OPERATIONS = {"add": add, "project_out": project_out, "clamp": clamp, "mirror": mirror}


@st.composite
def recipes(draw: st.DrawFn, generating: bool) -> dict[str, object]:
    """Whatever makes an edit; plain data, so that failing examples can be read."""
    operator = draw(st.sampled_from(["add", "add", "project_out", "clamp", "mirror"]))
    recipe = {
        "operator": operator,
        "seed": draw(st.integers(0, 3)),
        "points": draw(st.lists(st.sampled_from(POINTS), min_size=1, max_size=2, unique=True)),
        "where": draw(st.sampled_from([*ANYWHERE, Last()] if generating else ANYWHERE)),
        "gate": draw(GATES),
    }
    if operator in ("add", "clamp"):
        recipe["unit"] = draw(st.sampled_from(["raw", "residual", "direction"]))
    if operator == "clamp":
        recipe["low"], recipe["high"] = sorted(draw(st.tuples(NUMBERS, NUMBERS)))
    if operator in ("add", "project_out"):
        recipe["coefficient" if operator == "add" else "share"] = draw(NUMBERS)
    return recipe


def grids(*, generating: bool = False, adapters: tuple[str, ...] = ("active",)) -> st.SearchStrategy:
    """Recipes of some cells with 0 to 3 edits each, and the adapter of each."""
    cell = st.tuples(st.lists(recipes(generating), max_size=3), st.sampled_from(adapters))
    return st.lists(cell, min_size=2, max_size=5)


def cells_of(subject: Subject, grid: list[tuple[list[dict[str, object]], str]]) -> list[Cell]:
    """The cells of some recipes."""
    return [
        Cell(name=str(i), edits=tuple(_edit_of(subject, dict(r)) for r in own), adapter=adapter)
        for i, (own, adapter) in enumerate(grid)
    ]


def _edit_of(subject: Subject, recipe: dict[str, object]) -> Edit:
    along = direction_of(subject, seed=recipe.pop("seed"))
    return OPERATIONS[recipe.pop("operator")](along, **recipe)
