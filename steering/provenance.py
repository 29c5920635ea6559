"""Say which base model and which version of the toolkit a direction belongs to."""

from importlib.metadata import PackageNotFoundError, version

from activations import SubjectFacts

FACTS_OF_THE_BASE = ("fingerprint", "d_model", "n_layers", "template")


def code_version() -> str:
    """Return the installed version of this toolkit, or "not installed" when it runs from a plain checkout."""
    try:
        return version("misdirection")
    except PackageNotFoundError:
        return "not installed"


def base_differences(one: SubjectFacts, other: SubjectFacts) -> list[str]:
    """Return, in words, the facts by which two subjects are not the same base model.

    Adapters may differ, since a direction of a tuned model may be used in its base. So may name and revision:
    the same weights can be loaded from a hub and from a folder.
    """
    found = [(fact, getattr(one, fact), getattr(other, fact)) for fact in FACTS_OF_THE_BASE]
    differences = [f"{fact} {left!r} is not {right!r}" for fact, left, right in found if left != right]
    if differences and one.name != other.name:
        differences.append(f"name {one.name!r} is not {other.name!r}")
    return differences
