"""Open every peer that is there on a model under study, and say of the others why not."""

from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from io import StringIO

from activations import Subject
from experiments.benchmarks.peers import by_nnsight, by_repeng, by_steering_vectors, by_transformer_lens
from experiments.benchmarks.peers.contract import Peer

Opening = Callable[[Subject, str], Peer]
"""Makes a peer from a subject and the version of the package."""

PEERS: Mapping[str, Opening] = {
    "steering-vectors": by_steering_vectors.opened,
    "repeng": by_repeng.opened,
    "nnsight": by_nnsight.opened,
    "transformer-lens": by_transformer_lens.opened,
}
"""By the name of the package on PyPI."""

FOREIGN = (ImportError, LookupError, AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError)
"""What another library may raise when it does not fit the model or the installed versions."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The peers of one run.

    Attributes:
        peers: Those that work.
        absent: For each of the others the reason, by its package's name.
    """

    peers: tuple[Peer, ...] = ()
    absent: dict[str, str] = field(default_factory=dict)


def open_peers(subject: Subject, packages: Mapping[str, Opening] = PEERS) -> Opened:
    """Open every installed peer on the subject; one that fails is named with what it said."""
    peers, absent = [], {}
    for package, opened in packages.items():
        try:
            with redirect_stdout(StringIO()):
                peers.append(opened(subject, version(package)))
        except PackageNotFoundError:
            absent[package] = "not installed"
        except FOREIGN as error:
            absent[package] = f"{type(error).__name__}: {error}"
    return Opened(peers=tuple(peers), absent=absent)
