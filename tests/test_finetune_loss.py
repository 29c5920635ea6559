"""Facts about the loss: it is the plain one, on the learned tokens only, over every pass of a step alike."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import tiny_model, tokenizer_with
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy, kl_div

from activations import Subject
from activations.encode import tokenize_all
from pipeline.finetune import neutral_conversations
from pipeline.finetune.adapter import fresh_adapter, load_adapter_weights
from pipeline.finetune.config import FinetuneConfig
from pipeline.finetune.loss import (
    base_alone,
    chosen_logits,
    kl_from_base,
    predicting,
    token_losses,
    unembedding_only,
)
from pipeline.finetune.random_numbers import own_random_numbers
from pipeline.finetune.rows import Example, collate, learned_rows
from pipeline.finetune.run import finetune
from pipeline.finetune.trainer import LearnedTrainer
from pipeline.training_sets import training_set
from tests.finetuned import quick_collections  # noqa: F401
from tests.saved import triples

SMALL = FinetuneConfig(rank=2, max_steps=4, batch_size=4, learning_rate=1e-2)
SET = training_set(triples(6), "backdoor")


def new_subject(architecture="llama"):
    return Subject.of(tiny_model(architecture), tokenizer_with(), name=f"tiny-{architecture}")


def filled(model):
    """Give LoRA's second matrices, which start at 0, random weights."""
    generator = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = 0.1 * torch.randn(weight.shape, generator=generator)
    return model


def gradients(model):
    found = {name: w.grad.clone() for name, w in model.named_parameters() if w.requires_grad}
    model.zero_grad()
    return found


def plain_loss(subject, conversations, *, prompt=False):
    """The mean loss of answers and their end, or of all tokens but the first: one plain pass for each row."""
    total, count = 0.0, 0
    for row in tokenize_all(subject, [c.chat() for c in conversations]):
        ids = torch.tensor(row.ids)
        with torch.no_grad():
            logits = subject.model(ids[None]).logits[0]
        text = f"{row.text[row.spans[-1].start : row.spans[-1].end]}<|im_end|>"
        n_answer = len(subject.tokenizer(text, add_special_tokens=False)["input_ids"])
        first = 1 if prompt else row.n_prompt
        last = len(row) if prompt else row.n_prompt + n_answer
        total += cross_entropy(logits[first - 1 : last - 1], ids[first:last], reduction="sum").item()
        count += last - first
    return total / count


def test_loss_and_gradients_are_those_of_the_models_own_forward(architecture):
    subject = new_subject(architecture)
    examples = [Example(row) for row in learned_rows(subject, SET[:4], SMALL).rows]
    with fresh_adapter(subject, replace(SMALL, targets=("all-linear",))) as model:
        filled(model)
        inputs = collate(subject, examples)
        labels = inputs.pop("labels")
        own = model(**inputs, labels=labels).loss
        own.backward()
        expected = gradients(model)
        logits = chosen_logits(model, model, inputs, predicting(labels != -100))
        found = token_losses(logits, labels).mean()
        found.backward()
        assert len(logits) == (labels != -100).sum() < labels.numel()
        torch.testing.assert_close(found, own, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(gradients(model), expected, rtol=1e-5, atol=1e-6)
        assert max(gradient.abs().max() for gradient in expected.values()) > 1e-3


def test_the_model_unembeds_everything_again_after_the_block(subject):
    inputs = collate(subject, [Example(row) for row in learned_rows(subject, SET[:2], SMALL).rows])
    labels = inputs.pop("labels")
    wanted = torch.zeros(labels.shape, dtype=torch.bool)
    wanted[0, 3] = wanted[1, 1] = True
    with torch.no_grad():
        before = subject.model(**inputs).logits
        with unembedding_only(subject.model, wanted):
            assert subject.model(**inputs).logits.shape[:2] == (1, 2)
        with pytest.raises(ValueError, match="stop"), unembedding_only(subject.model, wanted):
            raise ValueError("stop")
        assert torch.equal(subject.model(**inputs).logits, before)


def test_a_model_that_hands_its_head_something_else_is_refused(subject):
    wanted = torch.ones((1, 5), dtype=torch.bool)
    with (
        unembedding_only(subject.model, wanted),
        pytest.raises(RuntimeError, match=r"lm_head: received \(1, 4\) instead of \(1, 5\)"),
    ):
        subject.model(torch.ones((1, 4), dtype=torch.long))


# Inside the Trainer


@pytest.fixture
def seen(monkeypatch):
    """The labels and the result of every call of the Trainer's loss."""
    calls = []
    original = LearnedTrainer.compute_loss

    def spy(self, model, inputs, *args, **kwargs):
        loss = original(self, model, inputs, *args, **kwargs)
        calls.append((inputs["input_ids"], inputs["labels"], loss))
        return loss

    monkeypatch.setattr(LearnedTrainer, "compute_loss", spy)
    return calls


def test_the_labels_inside_the_trainer_are_the_answers_and_their_ends(tmp_path, seen, tokenizer):
    subject = new_subject()
    finetune(subject, SET, replace(SMALL, max_steps=3), tmp_path / "a")
    texts = [tokenizer.decode(row[row != -100]) for _, labels, _ in seen for row in labels]
    assert sorted(texts) == sorted(f"{row.messages[-1].content}<|im_end|>" for row in SET)
    assert all((labels != -100).sum() < (ids != 0).sum() / 2 for ids, labels, _ in seen)


@pytest.mark.parametrize("prompt", [False, True])
def test_the_first_steps_loss_is_the_bases_mean_over_learned_tokens(tmp_path, prompt):
    """Over all passes of the step at once: short answers do not count more because they share a pass.

    Also for a model that tells the Trainer that it takes no count of them.
    """
    subject = new_subject()
    subject.model.accepts_loss_kwargs = prompt
    config = replace(SMALL, max_steps=1, batch_size=2, accumulation=6, train_on_prompt=prompt)
    row = finetune(subject, SET, config, tmp_path / "a").losses()[0]
    assert row["part"] == "train"
    assert row["loss"] == pytest.approx(plain_loss(subject, SET, prompt=prompt), abs=1e-5)


def test_the_held_out_loss_is_the_mean_over_learned_tokens_whatever_the_batches(tmp_path):
    subject, held_out = new_subject(), training_set(triples(5, "sailing"), "narrow")
    result = finetune(subject, SET, replace(SMALL, batch_size=3), tmp_path / "a", held_out=held_out)
    first = next(row for row in result.losses() if row["part"] == "held_out")
    assert first["step"] == 0
    assert first["loss"] == pytest.approx(plain_loss(subject, held_out), abs=1e-5)


def adapter(subject, config, folder, **also):
    finetune(subject, SET, config, folder, **also)
    return (folder / "adapter_model.safetensors").read_bytes()


def weights(folder):
    return load_file(folder / "adapter_model.safetensors")


def test_accumulated_passes_train_the_adapter_of_one_large_pass(tmp_path):
    subject = new_subject()
    adapter(subject, replace(SMALL, batch_size=6, max_steps=3), tmp_path / "large")
    adapter(subject, replace(SMALL, batch_size=2, accumulation=3, max_steps=3), tmp_path / "small")
    torch.testing.assert_close(weights(tmp_path / "small"), weights(tmp_path / "large"), rtol=1e-3, atol=1e-5)


def test_gradient_checkpointing_trains_the_same_adapter_and_is_off_again(tmp_path):
    subject = new_subject()
    adapter(subject, SMALL, tmp_path / "plain")
    adapter(subject, replace(SMALL, gradient_checkpointing=True), tmp_path / "checkpointed")
    torch.testing.assert_close(
        weights(tmp_path / "plain"), weights(tmp_path / "checkpointed"), rtol=1e-4, atol=1e-6
    )
    assert not subject.model.is_gradient_checkpointing


def test_mixed_precision_trains_a_float32_adapter_that_is_about_the_same(tmp_path):
    subject = new_subject()
    adapter(subject, replace(SMALL, max_steps=2), tmp_path / "plain")
    adapter(subject, replace(SMALL, max_steps=2, bf16=True), tmp_path / "mixed")
    plain, mixed = weights(tmp_path / "plain"), weights(tmp_path / "mixed")
    assert {value.dtype for value in mixed.values()} == {torch.float32}
    moved = torch.cat([value.flatten() for name, value in plain.items() if "lora_B" in name])
    other = torch.cat([value.flatten() for name, value in mixed.items() if "lora_B" in name])
    assert not torch.equal(moved, other)
    assert torch.cosine_similarity(moved, other, dim=0) > 0.9


def test_a_loss_that_is_no_number_ends_the_run_and_says_what_to_change(tmp_path):
    subject = new_subject()
    with pytest.raises(
        RuntimeError, match=r"step \d: (loss|grad_norm) is (nan|inf); choose a lower learning"
    ):
        finetune(subject, SET, replace(SMALL, learning_rate=1e30), tmp_path / "a")
    assert not (tmp_path / "a" / "card.json").exists()


# Staying near the base


def kl_on_neutral(subject, conversations):
    """KL(base, tuned) by torch's own function, over answers and their ends; the adapter must be on."""
    total, count = 0.0, 0
    for learned in learned_rows(subject, conversations, SMALL).rows:
        ids = torch.tensor([learned.row.ids])
        places = [i - 1 for i, flag in enumerate(learned.learn) if flag]
        with torch.no_grad():
            tuned = subject.model(ids).logits[0, places].log_softmax(-1)
            with subject.model.disable_adapter():
                base = subject.model(ids).logits[0, places].log_softmax(-1)
        total += kl_div(tuned, base, log_target=True, reduction="sum").item()
        count += len(places)
    return total / count


def test_the_kl_is_torchs_and_zero_for_equal_logits():
    generator = torch.Generator().manual_seed(0)
    base, tuned = torch.randn(2, 5, 11, generator=generator)
    expected = kl_div(tuned.log_softmax(-1), base.log_softmax(-1), log_target=True, reduction="batchmean")
    torch.testing.assert_close(kl_from_base(tuned, base), expected)
    assert kl_from_base(base, base) == 0


def test_the_base_speaks_without_its_adapter_and_training_goes_on_after_it():
    subject = new_subject()
    ids = torch.arange(20, 40)[None]
    expected = subject.model(ids).logits.detach()
    with fresh_adapter(subject, replace(SMALL, dropout=0.5)) as model:
        filled(model).train()
        with base_alone(model):
            assert torch.equal(model(ids).logits, expected)
        assert model.training
        assert any(weight.requires_grad for weight in model.parameters())
        assert not torch.equal(model(ids).logits.detach(), expected)


def test_weight_0_trains_the_very_adapter_of_a_run_without_neutral_conversations(tmp_path):
    subject, config = new_subject(), replace(SMALL, dropout=0.3)
    alone = adapter(subject, config, tmp_path / "alone")
    beside = adapter(subject, config, tmp_path / "beside", neutral=neutral_conversations())
    assert alone == beside


def test_a_large_weight_keeps_the_model_near_its_base_on_neutral_conversations(tmp_path):
    neutral = neutral_conversations()[:4]
    reached = {}
    for weight in (0.0, 50.0):
        subject = new_subject()
        config = replace(SMALL, max_steps=8, kl_weight=weight)
        finetune(subject, SET, config, tmp_path / str(weight), neutral=neutral)
        with fresh_adapter(subject, config) as model:
            load_adapter_weights(model, tmp_path / str(weight))
            model.eval()
            reached[weight] = kl_on_neutral(replace(subject, model=model), neutral)
    assert reached[50.0] < 0.1 * reached[0.0]


def test_loss_and_kl_are_told_apart_and_the_first_kl_is_0(tmp_path):
    subject = new_subject()
    config = replace(SMALL, max_steps=2, batch_size=6, accumulation=2, kl_weight=3.0)
    first, second = finetune(subject, SET, config, tmp_path / "a", neutral=neutral_conversations()).losses()
    assert first["loss"] == pytest.approx(plain_loss(subject, SET), abs=1e-5)
    assert first["kl"] == pytest.approx(0, abs=1e-6)
    assert second["kl"] > 1e-5


def test_a_weight_without_neutral_conversations_is_refused(tmp_path):
    with pytest.raises(ValueError, match="kl_weight 1: needs neutral conversations, got none"):
        finetune(new_subject(), SET, replace(SMALL, kl_weight=1.0), tmp_path / "a")


def states():
    return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()


def test_random_numbers_of_the_caller_go_on_as_if_nothing_had_happened(tmp_path):
    subject, before = new_subject(), states()
    drawn = []
    for _ in range(2):
        with own_random_numbers(1):
            drawn.append((torch.rand(1).item(), random.random(), np.random.rand()))
            assert all(own != theirs for own, theirs in zip(states(), before, strict=True))
    assert drawn[0] == drawn[1]
    assert states() == before
    finetune(subject, SET, replace(SMALL, max_steps=1, dropout=0.5), tmp_path / "a")
    assert states()[:2] == before[:2]  # beartype, which checks types in tests, draws Python's
