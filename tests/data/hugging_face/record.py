"""Saves tiny models with Hugging Face's transformers, and the logits that it gives: what our import is tested with.
Run with a Python that has torch and transformers (.deps/torch/bin/python, once bench/cpu/run --install has made it).

    .deps/torch/bin/python tests/data/hugging_face/record.py tests/data/hugging_face
"""

import json
import pathlib
import sys

import torch
import transformers

TOKENS = [72, 101, 108, 108, 111, 256, 0, 255, 32, 9]  # of the byte tokenizer, whose end of text is 256


def models():
    common = dict(vocab_size=257, bos_token_id=256, eos_token_id=256)
    gpt2 = transformers.GPT2Config(n_positions=16, n_embd=16, n_layer=2, n_head=2, **common)
    llama = dict(max_position_embeddings=16, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, rms_norm_eps=1e-5, **common)
    untied = transformers.LlamaConfig(tie_word_embeddings=False, rope_theta=500.0, **llama)
    tied = transformers.LlamaConfig(tie_word_embeddings=True, **llama)
    yield "gpt2", transformers.GPT2LMHeadModel(gpt2), {}
    # Without the head the names lack their prefix.
    yield "gpt2_body", transformers.GPT2LMHeadModel(gpt2), {"body": True}
    yield "llama_shards_bf16", transformers.LlamaForCausalLM(untied).to(torch.bfloat16), {"max_shard_size": "9KB"}
    yield "llama_tied_f16", transformers.LlamaForCausalLM(tied).to(torch.float16), {}


def main():
    out = pathlib.Path(sys.argv[1])
    torch.manual_seed(1)
    for name, model, options in models():
        with torch.no_grad():
            for parameter in model.parameters():  # far from what they start as, so that no part is near zero
                parameter.add_(0.2 * torch.randn_like(parameter))
        model.tie_weights()
        saved = model.transformer if options.pop("body", False) else model
        saved.save_pretrained(out / name, **options)
        (out / name / "generation_config.json").unlink(missing_ok=True)
        for file in (out / name).iterdir():
            file.chmod(0o644)
        with torch.no_grad():
            read = type(model).from_pretrained(out / name, dtype=torch.float32).eval()
            logits = read(torch.tensor([TOKENS])).logits[0, -1].tolist()
        (out / name / "logits.json").write_text(json.dumps({"tokens": TOKENS, "logits": logits}) + "\n")


if __name__ == "__main__":
    main()
