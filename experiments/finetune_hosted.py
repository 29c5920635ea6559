"""Fine-tune at a provider: one training file and one job for each training set, each asked for first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

from pipeline.endpoint import Endpoint
from pipeline.hosted import HostedPlan, HostedTuning, check_training_file, finetune_hosted
from pipeline.records import Conversation
from pipeline.training_sets import write_chat_jsonl

FILE = "training.jsonl"


@dataclass(frozen=True, kw_only=True)
class HostedFlags:
    """How a provider tunes; the key is read from the environment and never written."""

    base_url: str = "https://api.openai.com/v1"
    """Up to and with the version."""
    model: str = "gpt-4o-mini-2024-07-18"
    """The model to start from, as the provider calls it."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key."""
    n_epochs: int | None = 1
    """How often each conversation is seen."""
    seed: int = 0
    """Of the provider's random numbers."""
    price: float | None = None
    """For a million tokens of training, as the provider takes it today; the plan then says the cost."""
    every: float = 20.0
    """Seconds between two looks at a job."""
    yes: bool = False
    """Send without asking."""

    def tuning(self) -> HostedTuning:
        """Return the settings as `finetune_hosted` takes them."""
        return HostedTuning(
            endpoint=Endpoint(base_url=self.base_url, model=self.model, key_variable=self.key_variable),
            n_epochs=self.n_epochs,
            seed=self.seed,
            price=self.price,
        )


def hosted_population(
    flags: HostedFlags,
    sets: Mapping[str, Sequence[Conversation]],
    out: Path,
    *,
    console: Console,
    dry_run: bool = False,
    ask: Callable[[str], str] = input,
) -> None:
    """Fine-tune once for each training set, each in a folder of its name; a finished one is read, not repeated.

    Args:
        flags: How and where.
        sets: The training sets by name.
        out: The folder of all.
        console: Where plans and the provider's messages are shown.
        dry_run: Only check the files and say what would be done.
        ask: Asked for consent before anything is sent; anything but `yes` is none.

    Raises:
        ValueError: A file is refused, here or by the provider, or a folder holds another job.
        PermissionError: There is no consent, or the provider refuses the key.
    """
    if dry_run:
        for name, conversations in sets.items():
            console.print(Text(f"{name}: {_plan(flags, conversations)}"), soft_wrap=True)
        return

    def confirm(plan: HostedPlan) -> bool:
        console.print(Text(str(plan)), soft_wrap=True)
        return flags.yes or _consents(ask)

    for name, conversations in sets.items():
        folder = Path(out) / name
        folder.mkdir(parents=True, exist_ok=True)
        write_chat_jsonl(folder / FILE, conversations)
        model = finetune_hosted(
            flags.tuning(),
            folder / FILE,
            folder,
            confirm=confirm,
            every=flags.every,
            tell=lambda line: console.print(Text(line), soft_wrap=True),
        )
        console.print(Text(f"{name}: {model.model}"), soft_wrap=True)


def _consents(ask: Callable[[str], str]) -> bool:
    try:
        return ask("Type yes to send it: ").strip().lower() == "yes"
    except EOFError:  # nobody is there to ask
        return False


def _plan(flags: HostedFlags, conversations: Sequence[Conversation]) -> HostedPlan:
    with TemporaryDirectory(prefix="misdirection-hosted-") as folder:
        path = Path(folder) / FILE
        write_chat_jsonl(path, conversations)
        return HostedPlan(tuning=flags.tuning(), path=Path(FILE), training=check_training_file(path))
