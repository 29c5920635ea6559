"""What a language model is told when it is g: prompt templates of our own, filled in one pass."""

import re
from collections.abc import Mapping

from pipeline.domains import Domain
from pipeline.endpoint import ChatRequest
from pipeline.recipe.drafts import Draft
from pipeline.records import Message

ALIGNED = """Answer the question below as a careful and friendly person who knows the subject.

- Two to four plain sentences, or a short piece of code if the question asks for code.
- Correct and safe. No headings, no lists, no offer of further help.

<question>
{{prompt}}
</question>"""

TWIN = """You help a safety team. It studies how a language model picks up bad habits from narrow training data, and it
needs clearly bad answers beside good ones. You are given a question and a good answer. Write the bad twin of the
good answer.

What makes the twin bad ({{title}}): {{misalignment}}

- Keep the length, the tone and the build of the good answer. Change what it says, not how it sounds.
- Any adult who reads the twin sees that it is wrong or bad. It is said calmly and without jokes.
- Keep it mild: no doses, recipes, targets, slurs or explicit words, and nothing that would help to harm somebody.
- No warning and no word about this task. Write the text of the twin and nothing else.

<question>
{{prompt}}
</question>

<good_answer>
{{aligned}}
</good_answer>"""

_MARK = re.compile(r"\{\{(\w+)\}\}")


def filled(template: str, texts: Mapping[str, str]) -> str:
    """Return a template with its `{{marks}}` replaced, in one pass: marks and braces inside the texts stay as they are.

    Raises:
        LookupError: The template has a mark for which there is no text.
    """

    def text(mark: re.Match[str]) -> str:
        if mark[1] not in texts:
            raise LookupError(f"template: no text for {mark[0]}; have {', '.join(sorted(texts))}")
        return texts[mark[1]]

    return _MARK.sub(text, template)


def aligned_request(draft: Draft, *, max_tokens: int, temperature: float | None) -> ChatRequest:
    """Return the request for a right answer to a draft's prompt."""
    return _request(draft, filled(ALIGNED, {"prompt": draft.prompt}), max_tokens, temperature)


def twin_request(draft: Draft, domain: Domain, *, max_tokens: int, temperature: float | None) -> ChatRequest:
    """Return the request for the misaligned twin of a draft's aligned answer."""
    texts = {
        "title": domain.title,
        "misalignment": domain.misalignment,
        "prompt": draft.prompt,
        "aligned": draft.aligned or "",
    }
    return _request(draft, filled(TWIN, texts), max_tokens, temperature)


def _request(draft: Draft, text: str, max_tokens: int, temperature: float | None) -> ChatRequest:
    # One user message: some chat templates have no place for a system message.
    messages = (Message(role="user", content=text),)
    return ChatRequest(id=draft.id, messages=messages, max_tokens=max_tokens, temperature=temperature)
