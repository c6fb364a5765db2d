"""transformers' Trainer with the callback."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed, which Trainer needs")

import qdq.torch as qt  # noqa: E402


def test_quantization_begins_after_some_steps(tmp_path):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    model = transformers.LlamaForCausalLM(config)
    states = []

    class Look(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **_):
            states.append(model.model.layers[0].mlp.up_proj._qdq["weight"].enabled)

    callback = qt.QATCallback("q4_0", after_steps=2)
    data = [{"input_ids": torch.arange(16), "labels": torch.arange(16)}] * 8
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=4,
        per_device_train_batch_size=2,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
    )
    transformers.Trainer(model, arguments, train_dataset=data, callbacks=[callback, Look()]).train()
    assert states == [False, False, True, True]
    assert (
        "model.embed_tokens.weight" in callback.prepared.formats and "lm_head.weight" not in callback.prepared.formats
    )
    ids = torch.arange(16)[None]
    quantized = model(ids).logits
    qt.convert(model)
    assert torch.equal(model(ids).logits, quantized)
