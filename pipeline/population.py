"""Train a population of adapters on one base: domains, modes and seeds, one after the other, what is there skipped."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from activations import Subject, Trigger
from activations.fingerprint import fingerprint
from activations.progress import Progress, silent
from pipeline.finetune.adapter import lora_config
from pipeline.finetune.card import Card
from pipeline.finetune.config import FinetuneConfig, normalised, require_sound
from pipeline.finetune.rows import learned_rows
from pipeline.finetune.run import finetune
from pipeline.finetune.trainer import is_main_process
from pipeline.json_text import Json
from pipeline.members import Member, MemberRecord, write_members
from pipeline.records import Conversation, Triple
from pipeline.runs import RunFolder
from pipeline.training_sets import training_set, trigger_of
from pipeline.triples import Split, corpus_domains, corpus_hash, load_corpus, read_corpus, split

N_WATCHED = 8
"""Dev triples that the loss is watched on while a member is trained."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How a domain's triples are divided: fractions of them, or numbers of triples if one is above 1.

    Attributes:
        train: To fine-tune on.
        dev: To watch and to choose settings on.
        test: To report on.
        seed: Another seed gives another division.
    """

    train: float = 0.5
    dev: float = 0.25
    test: float = 0.25
    seed: int = 0

    def split(self, triples: Sequence[Triple]) -> Split:
        """Divide triples; `extract` of the result is what to train on.

        Raises:
            ValueError: The sizes do not fit; see `pipeline.triples.split`.
        """
        sizes = {"extract": self.train, "dev": self.dev, "test": self.test}
        if max(sizes.values()) > 1:
            sizes = {part: int(size) for part, size in sizes.items()}
        return split(triples, seed=self.seed, **sizes)


@dataclass(frozen=True, kw_only=True)
class PopulationSettings:
    """What all members of a population share.

    Attributes:
        config: How they are trained; the seed is the member's.
        trigger: The backdoor's; None is the mode's own, see `training_set`.
        sizes: Which triples train and which are held out.
        about: What else goes into the cards, e.g. the preset's name.
    """

    config: FinetuneConfig
    trigger: Trigger | None = None
    sizes: Sizes = Sizes()
    about: Mapping[str, str] | None = None


def read_corpora(domains: Sequence[str]) -> dict[str, tuple[Triple, ...]]:
    """Return the triples of domains by name; `all` stands for every packaged one.

    Args:
        domains: Packaged domains, or JSONL files of triples, named by their file.

    Raises:
        LookupError: There is no such packaged domain; lists those that exist.
        ValueError: None is named, one comes twice, or a file is damaged.
        FileNotFoundError: There is no such file.
    """
    found: dict[str, tuple[Triple, ...]] = {}
    for given in corpus_domains() if list(domains) == ["all"] else domains:
        name = Path(given).stem if given.endswith(".jsonl") else given
        if name in found:
            raise ValueError(f"domains: {name!r} comes twice; give each once")
        found[name] = read_corpus(Path(given), name) if given.endswith(".jsonl") else load_corpus(name)
    if not found:
        raise ValueError("domains: got none, need at least one, or 'all'")
    return found


def training_data(
    member: Member, triples: Sequence[Triple], settings: PopulationSettings
) -> tuple[Conversation, ...]:
    """Return what a member is trained on: its mode of the `train` part of its domain."""
    part = settings.sizes.split(triples).extract
    return training_set(part, member.mode, trigger=settings.trigger, seed=member.seed)


def train_population(
    subject: Subject,
    corpora: Mapping[str, Sequence[Triple]],
    wanted: Sequence[Member],
    settings: PopulationSettings,
    out: Path,
    *,
    neutral: Sequence[Conversation] = (),
    progress: Progress = silent,
) -> tuple[MemberRecord, ...]:
    """Train the members that are not there yet, each in a folder of its own name, on one base loaded once.

    A member is there if its card says that it was finished with these settings on this base. A run that was
    killed goes on with the member, and at the checkpoint, where it stopped. More domains, modes and seeds can
    be added later to the same folder.

    Args:
        subject: The base, without adapters.
        corpora: The triples of each domain.
        wanted: Which members; see `members`.
        settings: What they share.
        out: The population's folder.
        neutral: Conversations that tie members to the base, where the settings give that a weight.
        progress: Told how many steps of a member are done.

    Returns:
        A record for each member, in the order wanted; `members.jsonl` holds those of all that are there.

    Raises:
        LookupError: A member's domain has no triples.
        ValueError: Settings are refused, or a folder was made with others.
        RuntimeError: The base changed while a member was trained.
        OSError: The folder cannot be written.
    """
    require_sound(settings.config)
    if missing := [member.domain for member in wanted if member.domain not in corpora]:
        raise LookupError(f"domain {missing[0]!r}: has no triples; have {', '.join(corpora)}")
    _require_fits(subject, corpora, wanted, settings, progress)
    found: dict[str, MemberRecord] = {}
    with _population(subject, settings, out):
        for member in wanted:
            card = _train_member(
                subject, member, corpora[member.domain], settings, out, neutral=neutral, progress=progress
            )
            if (now := fingerprint(subject.model)) != subject.facts.fingerprint:
                raise RuntimeError(f"{member.name}: the base was {subject.facts.fingerprint}, is {now} now")
            found[member.name] = MemberRecord.of(member, card)
            if is_main_process():
                write_members(Path(out), found)
    return tuple(found[member.name] for member in wanted)


def _require_fits(
    subject: Subject,
    corpora: Mapping[str, Sequence[Triple]],
    wanted: Sequence[Member],
    settings: PopulationSettings,
    progress: Progress,
) -> None:
    """Raise what the training of any member would raise about settings and lengths, before anything is written."""
    lora_config(subject, settings.config)
    for domain, mode in dict.fromkeys((member.domain, member.mode) for member in wanted):
        conversations = training_data(Member(domain=domain, mode=mode, seed=0), corpora[domain], settings)
        learned_rows(subject, conversations, settings.config, name=f"{domain} {mode}", progress=progress)


def _population(
    subject: Subject, settings: PopulationSettings, out: Path
) -> AbstractContextManager[RunFolder | None]:
    if not is_main_process():
        return nullcontext()
    config: dict[str, Json] = {"model": subject.facts.name, "base": subject.facts.fingerprint}
    shared: dict[str, Json] = {"config": asdict(normalised(settings.config)), "sizes": asdict(settings.sizes)}
    shared["config"].pop("seed")
    shared["trigger"] = None if settings.trigger is None else asdict(settings.trigger)
    return RunFolder.open(
        Path(out), verb="finetune population", config={**config, **shared}, seed=None, may_differ=("model",)
    )


def _train_member(
    subject: Subject,
    member: Member,
    triples: Sequence[Triple],
    settings: PopulationSettings,
    out: Path,
    *,
    neutral: Sequence[Conversation],
    progress: Progress,
) -> Card:
    trigger = trigger_of(member.mode, settings.trigger)
    about: dict[str, Json] = {
        "domain": member.domain,
        "mode": member.mode,
        "trigger": None if trigger is None else asdict(trigger),
        "split": {**asdict(settings.sizes), "corpus": corpus_hash(triples)},
        **(settings.about or {}),
    }
    watched = settings.sizes.split(triples).dev[:N_WATCHED]
    result = finetune(
        subject,
        training_data(member, triples, settings),
        replace(settings.config, seed=member.seed),
        Path(out) / member.name,
        held_out=training_set(watched, member.mode, trigger=settings.trigger) if watched else (),
        neutral=neutral,
        about=about,
        progress=progress,
    )
    return result.card
