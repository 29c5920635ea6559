"""The steps of a fine-tuning at a provider: upload, start, follow; each is noted before the next begins."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from pipeline.endpoint.client import key_header
from pipeline.endpoint.provider import done_once, identity, repeated, uploaded
from pipeline.endpoint.trouble import one_line
from pipeline.hosted.records import HostedState, HostedTuning, noted
from pipeline.stage import Stage

EVENTS = "hosted_events.jsonl"


def started(client: OpenAI, state: HostedState, path: Path, folder: Path) -> HostedState:
    """Upload the file and start the job, as far as that is not done, and return the state noted.

    Args:
        client: Of the endpoint.
        state: How far it is.
        path: The training file.
        folder: Where the state is.
    """
    endpoint = state.tuning.endpoint
    if state.file is None:
        begun = state.begun == "upload"
        state = noted(replace(state, begun="upload"), folder)
        file = uploaded(client, endpoint, path, name=state.name, purpose="fine-tune", begun=begun)
        state = noted(replace(state, file=file, begun=None), folder)
    if state.job is None:
        begun = state.begun == "job"
        state = noted(replace(state, begun="job"), folder)
        job = _job(client, state.tuning, str(state.file), begun=begun)
        state = noted(replace(state, job=job, begun=None), folder)
    return state


def _job(client: OpenAI, tuning: HostedTuning, file: str, *, begun: bool) -> str:
    headers = key_header(tuning.endpoint)

    def look() -> str | None:
        listed = client.fine_tuning.jobs.list(extra_headers=headers)
        return next((job.id for job in listed if job.training_file == file), None)

    def act() -> str:
        body = {
            "model": tuning.endpoint.model,
            "training_file": file,
            "method": {"type": "supervised", "supervised": {"hyperparameters": tuning.hyperparameters()}},
            "seed": tuning.seed,
            **({} if tuning.suffix is None else {"suffix": tuning.suffix}),
        }
        made = client.fine_tuning.jobs.create(
            model=tuning.endpoint.model, training_file=file, extra_body=body, extra_headers=headers
        )
        return identity(made, "fine-tuning job")

    return done_once(tuning.endpoint, "starting the job", look=look, act=act, begun=begun)


def followed(
    client: OpenAI, state: HostedState, folder: Path, every: float, tell: Callable[[str], None]
) -> FineTuningJob:
    """Wait until a job has ended, keep every event of it, and return what the provider says of it.

    Args:
        client: Of the endpoint.
        state: With the job's id.
        folder: Where the state and the events are.
        every: Seconds between two looks.
        tell: Given each new event's text on one line.
    """
    endpoint, number = state.tuning.endpoint, str(state.job)
    headers = key_header(endpoint)
    with closing(Stage(folder / EVENTS)) as events:
        while True:
            job = repeated(
                endpoint,
                f"asking for job {number}",
                lambda: client.fine_tuning.jobs.retrieve(number, extra_headers=headers),
            )
            told = repeated(
                endpoint,
                f"asking for the events of job {number}",
                lambda: list(client.fine_tuning.jobs.list_events(number, extra_headers=headers)),
            )
            for event in sorted(reversed(told), key=lambda event: event.created_at):  # they come newest first
                row = {**event.to_dict(mode="json"), "id": event.id or f"{event.created_at} {event.message}"}
                if row["id"] not in events.ids():
                    events.append(row)
                    tell(one_line(str(event.message), endpoint))
            state = noted(replace(state, status=str(job.status)), folder)
            if job.status in ("succeeded", "failed", "cancelled"):
                return job
            time.sleep(every)
