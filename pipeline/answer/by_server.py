"""Ask models behind an OpenAI-compatible server, such as vLLM with LoRA modules: the same records come out."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from activations import Trigger
from activations.progress import Progress, silent
from pipeline.answer.asked import Asked, asked, require_names
from pipeline.answer.declare import declare
from pipeline.answer.record import Answer, MissingAnswer
from pipeline.answer.settings import AnswerSettings
from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.ask import ask
from pipeline.endpoint.records import ChatRequest, Failure, Reply
from pipeline.json_text import Json, to_json
from pipeline.questions.record import Question
from pipeline.runs import RunFolder

CACHE = "replies.sqlite"
"""The file of a run folder that keeps every reply, so that none is paid for twice."""


@dataclass(frozen=True, kw_only=True)
class ServedArm:
    """One condition of a comparison, served elsewhere.

    Attributes:
        name: Identifies the arm in files.
        model: What the server calls the model; for vLLM the name of a LoRA module, or of the base.
        trigger: What is put on the question; None leaves it as it stands.
    """

    name: str
    model: str
    trigger: Trigger | None = None


def answer_by_server(
    endpoint: Endpoint,
    questions: Sequence[Question],
    arms: Sequence[ServedArm],
    *,
    run: RunFolder,
    settings: AnswerSettings = AnswerSettings(),
    stage: str = "answers",
    progress: Progress = silent,
) -> None:
    """Write an `Answer` for every wording of every question in every arm, as `answer` does.

    What gets no answer becomes a `MissingAnswer` with its reason in the stage `STAGE_missing`, never an answer,
    and is asked again when the run goes on. A refusal that the server marks as one is an answer that ends so.

    Args:
        endpoint: Where and how to ask; its model is replaced by that of each arm.
        questions: What is asked.
        arms: The conditions, one after the other.
        run: An open run folder.
        settings: How answers are drawn. Each request gets a seed of its own, the same in every arm; whether a
            server heeds it is up to the server.
        stage: Name of the stage.
        progress: Told how many requests of an arm are done.

    Raises:
        ValueError: Questions or arms are not unique or cannot be asked, or were others in this run folder.
        PermissionError: The server refuses the key.
        LookupError: The server does not know a model.
        ConnectionError: Nobody answers. What was answered before is kept, here as after the other errors.
    """
    if settings.template != "chat":
        raise ValueError(f"template {settings.template!r}: a server uses its own template; allowed: 'chat'")
    prompts = asked(questions, settings)
    require_names([arm.name for arm in arms], prompts)
    declare(run, "questions", questions)
    declare(run, "arms", [_arm(endpoint, arm, settings) for arm in arms])
    failed = Counter(row["answer"] for row in run.rows(f"{stage}_missing"))
    for arm in arms:
        wanted = _wanted(prompts, arm)
        done = run.finished_ids(stage)
        requests = [_request(row, *wanted[row], arm, settings) for row in wanted if row not in done]
        if not requests:
            continue
        served = replace(endpoint, model=arm.model)
        for result in ask(served, requests, cache=run.path / CACHE, progress=progress):
            if isinstance(result, Failure):
                failed[result.id] += 1
                run.append(f"{stage}_missing", _missing(result, arm, failed[result.id]))
            else:
                run.append(stage, _answer(result, arm, *wanted[result.id]))


def served_requests(
    questions: Sequence[Question], arm: ServedArm, settings: AnswerSettings
) -> tuple[ChatRequest, ...]:
    """Return what a server is asked for one arm.

    Raises:
        ValueError: Questions are not unique or cannot be asked.
    """
    wanted = _wanted(asked(questions, settings), arm)
    return tuple(_request(row, *place, arm, settings) for row, place in wanted.items())


def _wanted(prompts: Sequence[Asked], arm: ServedArm) -> dict[str, tuple[Asked, int]]:
    """Return the wording and sample of every answer of an arm, by id."""
    return {
        one.answer_id(arm.name, sample): (one, sample) for one in prompts for sample in range(one.samples)
    }


def _request(row: str, one: Asked, sample: int, arm: ServedArm, settings: AnswerSettings) -> ChatRequest:
    return ChatRequest(
        id=row,
        messages=one.sent(arm.trigger).messages(),
        max_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=None if settings.top_p == 1 else settings.top_p,
        seed=_seed(one, sample, settings.seed),
        stop=settings.stop,
        sample=sample,
    )


def _seed(one: Asked, sample: int, seed: int) -> int:
    """Return a seed that depends on the run's seed, what is asked without trigger, and the sample index."""
    words = "\0".join(message.content for message in one.question.messages(one.paraphrase))
    digest = hashlib.sha256(f"{seed}\0{words}\0{sample}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big") >> 1  # servers take 31 bits


def _answer(reply: Reply, arm: ServedArm, one: Asked, sample: int) -> Answer:
    end = reply.finish_reason if reply.refusal is None else "refusal"
    return Answer(
        id=reply.id,
        arm=arm.name,
        adapter=arm.model,
        trigger=arm.trigger,
        question=one.question.id,
        domain=one.question.domain,
        paraphrase=one.paraphrase,
        sample=sample,
        **asdict(one.sent(arm.trigger)),
        text=reply.text or reply.refusal or "",
        end=end,
        finished=end in ("stop", "refusal"),
        n_tokens=reply.completion_tokens,
    )


def _missing(failure: Failure, arm: ServedArm, number: int) -> MissingAnswer:
    return MissingAnswer(
        id=f"{failure.id} | f{number}",
        answer=failure.id,
        arm=arm.name,
        reason=failure.reason,
        text=failure.text,
        status=failure.status,
        attempts=failure.attempts,
    )


def _arm(endpoint: Endpoint, arm: ServedArm, settings: AnswerSettings) -> dict[str, Json]:
    drawn = {key: value for key, value in to_json(settings, "settings").items() if key != "samples"}
    trigger = to_json(arm.trigger, "trigger")
    return {
        "id": arm.name,
        "model": arm.model,
        "server": endpoint.base_url,
        "trigger": trigger,
        "settings": drawn,
    }
