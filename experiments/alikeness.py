"""How alike the domains' directions are, between what noise allows and what chance reaches."""

from collections.abc import Mapping

from activations import HookPoint
from experiments.summary import CosineFloor, CosineRow, Cosines, ReliabilityRow
from pipeline.poles import Poles
from steering import (
    Direction,
    bootstrap_angle,
    cosine_ceiling,
    cosine_table,
    isotropic_floor,
    shuffled_floor,
    shuffled_null,
    split_half_cosine,
)

DRAWS = 200


def alikeness(
    directions: Mapping[str, Direction], poles: Mapping[str, Poles], layer: int, seed: int
) -> tuple[Cosines, tuple[ReliabilityRow, ...]]:
    """Return the cosines between all pairs of domains at one layer, and how stable each direction is.

    Args:
        directions: For each domain its direction.
        poles: For each domain the activations that it was extracted from.
        layer: Where to compare, after this block.
        seed: Of splits, bootstrap draws and label shuffles.
    """
    point = HookPoint(layer)
    table = cosine_table(list(directions.values()), point)
    domains = list(directions)
    here = {d: Poles(p.misaligned.at_points([point]), p.aligned.at_points([point])) for d, p in poles.items()}
    halves = {
        d: split_half_cosine(p.misaligned, p.aligned, n_splits=DRAWS, seed=seed) for d, p in here.items()
    }
    angles = {d: bootstrap_angle(p.misaligned, p.aligned, n_draws=DRAWS, seed=seed) for d, p in here.items()}
    nulls = {d: shuffled_null(p.misaligned, p.aligned, n_draws=DRAWS, seed=seed) for d, p in here.items()}
    floors = [
        shuffled_floor(nulls[other], directions[d].select([point])).values[0]
        for d in domains
        for other in domains
        if other != d
    ]
    rows = tuple(
        CosineRow(
            a=a,
            b=b,
            cosine=float(table.cosines[i, j]),
            ceiling=cosine_ceiling(halves[a].mean[0], halves[b].mean[0]),
            n=min(directions[a].n_positive, directions[b].n_positive),
        )
        for i, a in enumerate(domains)
        for j, b in enumerate(domains)
        if i < j
    )
    floor = CosineFloor(
        random_95=isotropic_floor(directions[domains[0]].subject.d_model),
        shuffled_95=max(floors, default=None),
        n_draws=DRAWS,
    )
    reliability = tuple(
        ReliabilityRow(
            domain=domain,
            layer=layer,
            split_half=halves[domain].mean[0],
            low=halves[domain].low[0],
            high=halves[domain].high[0],
            angle_median=angles[domain].median[0],
            n=directions[domain].n_positive,
        )
        for domain in domains
    )
    return Cosines(layer=layer, rows=rows, floor=floor), reliability
