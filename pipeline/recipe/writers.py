"""Language models that are g: behind an endpoint or on this machine, asked and answering in the same records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from activations import Subject
from activations.chat import Chat, Template, render
from activations.progress import Progress
from pipeline.endpoint import ChatRequest, Endpoint, Failure, Reply, ask
from pipeline.json_text import Json
from steering import Sampling, generate


@runtime_checkable
class Writer(Protocol):
    """A language model that writes answers."""

    def write(self, requests: Sequence[ChatRequest], progress: Progress) -> Iterator[Reply | Failure]:
        """Yield what each request ends in, in the order in which they finish."""
        ...

    def settings(self) -> dict[str, Json]:
        """Return which model it is and what else decides its answers, for the run's facts and the data card."""
        ...


@dataclass(frozen=True, kw_only=True)
class EndpointWriter:
    """A model behind a server that speaks OpenAI's protocol.

    Attributes:
        endpoint: Where it is.
        cache: The file that keeps replies, so that none is paid twice; None keeps none.
    """

    endpoint: Endpoint
    cache: Path | None = None

    def write(self, requests: Sequence[ChatRequest], progress: Progress) -> Iterator[Reply | Failure]:
        """Yield what each request ends in, in the order in which they finish."""
        return ask(self.endpoint, requests, cache=self.cache, progress=progress)

    def settings(self) -> dict[str, Json]:
        """Return address and model."""
        return {"writer": "endpoint", "base_url": self.endpoint.base_url, "model": self.endpoint.model}


@dataclass(frozen=True, kw_only=True)
class LocalWriter:
    """A model in this process.

    Attributes:
        subject: The model.
        seed: Of the sampling; the same request draws the same answer whatever is asked beside it.
        template: `plain` for a tokenizer without chat template.
    """

    subject: Subject
    seed: int = 0
    template: Template = "chat"

    def write(self, requests: Sequence[ChatRequest], progress: Progress) -> Iterator[Reply | Failure]:
        """Yield what each request ends in, as batches finish; a prompt that is too long ends in a failure."""
        sizes = [self._size(chat) for chat in _chats(requests)]
        limit = self.subject.context_length
        fitting: dict[tuple[int, float], list[ChatRequest]] = {}
        for request, size in zip(requests, sizes, strict=True):
            if limit is not None and size + request.max_tokens > limit:
                text = f"{size} tokens and {request.max_tokens} new ones, the context holds {limit}"
                yield Failure(id=request.id, reason="refused_request", text=text, attempts=0)
            else:
                fitting.setdefault((request.max_tokens, request.temperature or 0.0), []).append(request)
        for (max_tokens, temperature), alike in fitting.items():
            yield from self._answers(alike, max_tokens, temperature, progress)

    def _size(self, chat: Chat) -> int:
        text = render(self.subject.tokenizer, chat, self.template).text
        encoded = self.subject.tokenizer(text, add_special_tokens=self.template == "plain", verbose=False)
        return len(encoded["input_ids"])

    def settings(self) -> dict[str, Json]:
        """Return the model's name and fingerprint, and the seed."""
        facts = self.subject.facts
        return {
            "writer": "local",
            "model": facts.name,
            "fingerprint": facts.fingerprint,
            "adapters": list(facts.adapters),
            "seed": self.seed,
            "template": self.template,
        }

    def _answers(
        self, requests: Sequence[ChatRequest], max_tokens: int, temperature: float, progress: Progress
    ) -> Iterator[Reply]:
        answers = generate(
            self.subject,
            _chats(requests),
            max_new_tokens=max_tokens,
            sampling=Sampling(temperature=temperature, seed=self.seed),
            names=[request.id for request in requests],
            template=self.template,
            progress=progress,
        )
        for answer in answers:
            yield Reply(
                id=requests[answer.row].id,
                text=answer.text,
                finish_reason="stop" if answer.finished else "length",
                model=self.subject.facts.name,
                completion_tokens=len(answer.ids),
            )


def _chats(requests: Sequence[ChatRequest]) -> list[list[dict[str, str]]]:
    return [
        [{"role": turn.role, "content": turn.content} for turn in request.messages] for request in requests
    ]
