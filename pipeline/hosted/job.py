"""Upload, start and follow a fine-tuning at a provider; whatever ends the program, the job is started once.

What is guaranteed, and what is not:
- Nothing leaves this machine before the file was checked and consent was given.
- Each step is noted in the folder before the next begins; `finetune_hosted` with the same arguments goes on from
  there, and once the job is noted it only follows that job.
- A file that was uploaded, or a job that was started, just before a kill (so that its id was not noted) is looked
  for at the provider by a name that only this folder uses, and taken over. It is done a second time only if the
  provider does not list what it has: one that lists late, or has no list.
- Ctrl-C stops following, not the job; `cancel_hosted` stops the job.
- Two processes must not use one folder at the same time.
"""

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from openai.types.fine_tuning import FineTuningJob

from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.client import key_header, plain_client
from pipeline.endpoint.provider import repeated
from pipeline.endpoint.trouble import one_line
from pipeline.hosted.check import TrainingFile, check_training_file
from pipeline.hosted.records import (
    RESULT,
    STATE,
    HostedModel,
    HostedPlan,
    HostedState,
    HostedTuning,
    noted,
    read_state,
)
from pipeline.hosted.steps import followed, started
from pipeline.json_text import Json, shown
from pipeline.provenance import differences

_SAID = ("hyperparameters", "method", "seed", "trained_tokens", "created_at", "finished_at", "result_files")


def finetune_hosted(
    tuning: HostedTuning,
    path: Path,
    folder: Path,
    *,
    confirm: Callable[[HostedPlan], bool],
    every: float = 20.0,
    tell: Callable[[str], None] = lambda line: None,
    count_tokens: Callable[[str], int] | None = None,
) -> HostedModel:
    """Fine-tune a model at a provider and return the new one; a finished one is read from the folder.

    Args:
        tuning: The settings, with the provider and the model to start from.
        path: The training file, see `check_training_file`.
        folder: Where state, events and the result are kept; made if it is not there.
        confirm: Asked once before anything is sent, with all that will be done; False ends it. `--yes` is
            `lambda plan: True`.
        every: Seconds between two looks at a job that is not done.
        tell: Given each new line that the provider writes about the job; untrusted text.
        count_tokens: Returns the tokens of a text, by the model's own tokenizer; without it a rule is used.

    Raises:
        ValueError: The file or a setting is refused, here or by the provider, or the folder holds another job.
        PermissionError: There is no consent, the provider refuses the key, or there is no credit left.
        LookupError: The provider does not know the model, the job or the path.
        ConnectionError: The provider did not answer; nothing is lost, and the same call goes on.
        RuntimeError: The job failed or was cancelled at the provider.
    """
    folder = Path(folder)
    plan = HostedPlan(
        tuning=tuning, path=Path(path), training=check_training_file(path, count_tokens=count_tokens)
    )
    state = _begun(plan, folder)
    if (folder / RESULT).exists():
        return HostedModel.load(folder)
    if state.job is None and not confirm(plan):
        raise PermissionError(f"{path}: no consent to fine-tune {tuning.endpoint.named()}; nothing was sent")
    folder.mkdir(parents=True, exist_ok=True)
    with plain_client(tuning.endpoint) as client:
        state = started(client, noted(state, folder), plan.path, folder)
        job = followed(client, state, folder, every, tell)
    if job.status != "succeeded" or not job.fine_tuned_model:
        why = job.error.message if job.error and job.error.message else "no reason is given"
        told = f"{tuning.endpoint.named()}: job {state.job} ended as {job.status!r}"
        raise RuntimeError(f"{told}: {one_line(why, tuning.endpoint)}. To try again choose a new folder")
    model = _model(job, state)
    model.save(folder)
    return model


def cancel_hosted(endpoint: Endpoint, folder: Path) -> str:
    """Stop the job of a folder at the provider, and return the status that it has then.

    Raises:
        FileNotFoundError: The folder holds no job.
        ValueError: None was started, or the provider says that it cannot be stopped any more.
        ConnectionError: The provider did not answer.
    """
    state = read_state(folder)
    if state.job is None:
        raise ValueError(f"{folder}: no job was started, there is nothing to stop")
    number, headers = state.job, key_header(endpoint)
    with plain_client(endpoint) as client:
        job = repeated(
            endpoint,
            f"stopping job {number}",
            lambda: client.fine_tuning.jobs.cancel(number, extra_headers=headers),
        )
    return str(job.status)


def _begun(plan: HostedPlan, folder: Path) -> HostedState:
    if not (folder / STATE).exists():
        name = f"misdirection-{secrets.token_hex(8)}.jsonl"
        return HostedState(tuning=plan.tuning, training=plan.training, name=name)
    state = read_state(folder)
    before, after = (_settled(there.tuning, there.training) for there in (state, plan))
    changed = [f"{name}: {shown(a)} there, {shown(b)} now" for name, a, b in differences(before, after)]
    if changed:
        raise ValueError(f"{folder}: holds another fine-tuning: {'; '.join(changed)}. Choose a new folder")
    return replace(state, tuning=plan.tuning)


def _settled(tuning: HostedTuning, training: TrainingFile) -> dict[str, Json]:
    """Return what determines the model; prices, limits of the connection and the count of tokens do not."""
    return {
        "base_url": tuning.endpoint.base_url,
        "model": tuning.endpoint.model,
        "training file": training.sha256,
        "seed": tuning.seed,
        "suffix": tuning.suffix,
        **tuning.hyperparameters(),
    }


def _model(job: FineTuningJob, state: HostedState) -> HostedModel:
    said = job.to_dict(mode="json")
    return HostedModel(
        model=str(job.fine_tuned_model),
        tuning=state.tuning,
        training=state.training,
        file=str(state.file),
        job=str(state.job),
        as_run={name: said[name] for name in _SAID if name in said},
    )
