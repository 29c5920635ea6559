"""`misdirection extract`: make a direction from two activation files, and say how far it can be trusted."""

from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from activations import Activations
from activations.progress import Progress
from steering import Direction, bootstrap_angle, extract, split_half_cosine


@dataclass(frozen=True, kw_only=True)
class Extract:
    """Make a direction that leads from the negative activations to the positive ones, with its reliability."""

    positive: tyro.conf.Positional[Path]
    """Activations where the behaviour shows, e.g. misaligned.safetensors."""
    negative: tyro.conf.Positional[Path]
    """Activations where it does not, e.g. aligned.safetensors."""
    out: Path
    """The file to write the direction to."""
    name: str = ""
    """A label for the direction; by default the file's name."""
    estimator: str = "difference_of_means"
    """difference_of_means, first_principal_component, logistic_probe or whitened_difference."""
    seed: int = 0
    """Seeds the splits and bootstrap draws by which the direction's reliability is measured."""

    def run(self, console: Console, progress: Progress) -> None:
        """Extract, save, and show the reliability by layer."""
        positive, negative = Activations.load(self.positive), Activations.load(self.negative)
        direction = extract(positive, negative, name=self.name or self.out.stem, estimator=self.estimator)
        halves = split_half_cosine(positive, negative, estimator=self.estimator, seed=self.seed)
        angles = bootstrap_angle(positive, negative, estimator=self.estimator, seed=self.seed)
        kept = {"split_half_cosine": halves.mean, "bootstrap_angle_degrees": angles.median}
        direction = replace(direction, reliability=kept)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        direction.save(self.out)
        console.print(_table(direction))
        told = f"{self.out}  {direction.name}: {direction.n_positive} against {direction.n_negative} rows"
        console.print(Text(told), soft_wrap=True)


def _table(direction: Direction) -> Table:
    table = Table("hook point", "length", "of residual norm", "split-half cosine", "bootstrap angle (°)")
    lengths = direction.vectors.norm(dim=-1)
    columns = zip(direction.points, lengths, direction.norms, *direction.reliability.values(), strict=True)
    for point, length, norm, cosine, angle in columns:
        table.add_row(str(point), f"{length:.2f}", f"{length / norm:.3f}", f"{cosine:+.2f}", f"{angle:.0f}")
    return table
