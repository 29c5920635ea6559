"""The conditions of a sweep: directions from domains or files, their grid, and the controls of the chosen one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from activations import Activations, HookPoint, Subject, parse_where
from activations.chat import Chat
from activations.collect import data_hash
from activations.hooks import check_layers
from activations.progress import Progress
from experiments.sweep_config import SweepConfig
from experiments.sweep_summary import Choice
from pipeline.poles import Poles, capture_poles
from pipeline.propensity import answered
from pipeline.records import Triple
from pipeline.runs import RunFolder
from pipeline.triples import Split, load_corpus, read_corpus
from steering import Cell, Direction, additions, extract, random_directions, shuffled_directions


@dataclass(frozen=True, eq=False)
class Candidates:
    """What is swept.

    Attributes:
        directions: Those that are tried, each under its own name.
        poles: For each extracted direction the activations behind it; empty for directions from files.
        layers: The layers that are tried.
    """

    directions: tuple[Direction, ...]
    poles: Mapping[str, Poles]
    layers: tuple[int, ...]

    def named(self, name: str) -> Direction:
        """Return the direction with this name."""
        return next(direction for direction in self.directions if direction.name == name)


def candidates(
    run: RunFolder, subject: Subject, parts: Mapping[str, Split], config: SweepConfig, progress: Progress
) -> Candidates:
    """Return the directions to sweep: read from files, or extracted from each domain's extract triples.

    Activations and directions are kept in the run folder; a second call reads them.

    Raises:
        ValueError: A file is no direction, does not fit the model, was read from the triples of a domain that is
            swept, or two have one name.
        LookupError: A layer is not in the model, or not in a direction.
    """
    if config.directions:
        found = read_directions(config, subject)
        return Candidates(found, {}, default_layers(config, found, subject.facts.n_layers))
    layers = default_layers(config, (), subject.facts.n_layers)
    poles = {
        domain: _kept_poles(run, subject, domain, part.extract, layers, progress)
        for domain, part in parts.items()
    }
    own = [extract(p.misaligned, p.aligned, name=d, estimator=config.estimator) for d, p in poles.items()]
    # One unit for all, so that a coefficient means a step of the same length whatever the direction.
    norms = torch.stack([direction.norms for direction in own]).mean(dim=0)
    directions = tuple(replace(direction, norms=norms) for direction in own)
    folder = run.path / "directions"
    folder.mkdir(exist_ok=True)
    for direction in directions:
        direction.save(folder / f"{direction.name}.safetensors")
    return Candidates(directions, poles, layers)


def default_layers(config: SweepConfig, found: Sequence[Direction], n_layers: int) -> tuple[int, ...]:
    """Return the layers to sweep: those asked for, or every fourth that all direction files have.

    Raises:
        IndexError: The model lacks a layer that was asked for.
        LookupError: A direction lacks it, or the directions share none.
    """
    check_layers([HookPoint(layer) for layer in config.layers], n_layers)
    for direction in found if config.layers else ():
        direction.select(config.layers)
    usual = tuple(range(2, n_layers - 1, 4)) or (n_layers // 2,)
    return config.layers or (_shared_layers(found, usual) if found else usual)


def read_directions(config: SweepConfig, subject: Subject) -> tuple[Direction, ...]:
    """Return the directions of the files, checked against the model and the triples they will be tried on."""
    read_from = {data_hash(_chats(corpus)): name for name, corpus in _corpora(config).items()}
    found: dict[str, Direction] = {}
    for path in config.directions:
        direction = Direction.load(Path(path), subject.facts)
        if direction.name in found or re.fullmatch(r"(random|shuffled) \d+", direction.name):
            raise ValueError(f"{path}: the name {direction.name!r} is taken; give each direction its own")
        for data in direction.data:
            if data in read_from:
                raise ValueError(
                    f"{path}: was read from all triples of {read_from[data]!r}, test ones included; sweep it on "
                    f"other domains, or sweep {read_from[data]!r} without --directions"
                )
        found[direction.name] = direction
    return tuple(found.values())


def grid(some: Candidates, config: SweepConfig) -> tuple[Cell, ...]:
    """Return the cells that the choice is made from: directions x layers x coefficients."""
    return additions(
        some.directions, some.layers, config.coefficients, unit=config.unit, where=parse_where(config.where)
    )


def doses(some: Candidates, chosen: Choice, config: SweepConfig) -> tuple[Cell, ...]:
    """Return the cells of the dose-response: the chosen direction and layer at every strength, ascending."""
    direction, where = some.named(chosen.direction), parse_where(config.where)
    return additions([direction], [chosen.layer], config.strengths(), unit=config.unit, where=where)


@dataclass(frozen=True, eq=False)
class Tested:
    """The conditions that the test triples are scored under, beside the base."""

    real: Cell
    random: tuple[Cell, ...]
    shuffled: tuple[Cell, ...]

    def all(self) -> tuple[Cell, ...]:
        """Return all of them."""
        return (self.real, *self.random, *self.shuffled)


def tested(some: Candidates, chosen: Choice, config: SweepConfig) -> Tested:
    """Return the chosen cell and its controls: random and label-shuffled directions with a step of its length."""
    direction = some.named(chosen.direction).select([chosen.layer])
    shuffled: tuple[Direction, ...] = ()
    if config.shuffles():
        here = some.poles[direction.name]
        draws = shuffled_directions(
            here.misaligned.at_points(direction.points),
            here.aligned.at_points(direction.points),
            config.shuffles(),
            config.seed,
            estimator=config.estimator,
        )
        shuffled = tuple(replace(draw, norms=direction.norms) for draw in draws)
    random = random_directions(direction, config.n_random, config.seed)
    real, *controls = additions(
        [direction, *random, *shuffled],
        [chosen.layer],
        [chosen.coefficient],
        unit=config.unit,
        where=parse_where(config.where),
    )
    return Tested(real, tuple(controls[: len(random)]), tuple(controls[len(random) :]))


def _kept_poles(
    run: RunFolder,
    subject: Subject,
    domain: str,
    triples: Sequence[Triple],
    layers: Sequence[int],
    progress: Progress,
) -> Poles:
    folder = run.path / "activations"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{domain}.{side}.safetensors" for side in ("misaligned", "aligned")]
    if not all(path.exists() for path in paths):
        points = [HookPoint(layer) for layer in layers]
        poles = capture_poles(subject, triples, points=points, progress=progress)
        poles.misaligned.save(paths[0])
        poles.aligned.save(paths[1])
    return Poles(*(Activations.load(path) for path in paths))


def _shared_layers(directions: Sequence[Direction], usual: Sequence[int]) -> tuple[int, ...]:
    shared = set.intersection(*({point.layer for point in direction.points} for direction in directions))
    if not shared:
        raise LookupError(f"directions {', '.join(d.name for d in directions)}: no layer is in all of them")
    return tuple(layer for layer in usual if layer in shared) or tuple(sorted(shared))


def _corpora(config: SweepConfig) -> dict[str, tuple[Triple, ...]]:
    return {
        given: read_corpus(Path(given), given) if given.endswith(".jsonl") else load_corpus(given)
        for given in config.domains
    }


def _chats(triples: Sequence[Triple]) -> list[Chat]:
    """Return the chats of both poles in the order in which `capture_poles` reads them."""
    return [*(answered(t, t.misaligned) for t in triples), *(answered(t, t.aligned) for t in triples)]
