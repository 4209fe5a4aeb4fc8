"""The founding experiment as one would write it in PyTorch: one checkpoint, loaded in bf16 and cast to bf16.

    python xtask/bench/experiment.py CHECKPOINT

Compares state dicts, logits, and the outputs of every module.
"""

import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

transformers.utils.logging.disable_progress_bar()
checkpoint = sys.argv[1]
how = {"attn_implementation": "eager"}
a = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16, **how).eval()
b = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, **how).to(torch.bfloat16).eval()
ids = AutoTokenizer.from_pretrained(checkpoint)("Gravity is", return_tensors="pt").input_ids

outputs = {"a": {}, "b": {}}


def keep(arm, name):
    def hook(module, args, output):
        output = output[0] if isinstance(output, tuple) else output
        if isinstance(output, torch.Tensor):
            outputs[arm][name] = output.detach().clone()

    return hook


for arm, model in (("a", a), ("b", b)):
    for name, module in model.named_modules():
        if name:
            module.register_forward_hook(keep(arm, name))
with torch.inference_mode():
    x, y = a(ids, use_cache=False).logits, b(ids, use_cache=False).logits

states = a.state_dict(), b.state_dict()
print("weights identical", sum(torch.equal(states[0][k], states[1][k]) for k in states[0]), "of", len(states[0]))
print("logits equal", (x == y).float().mean().item(), "mean |a-b|", (x - y).abs().mean().item())
for name, output in outputs["a"].items():
    delta = (output.float() - outputs["b"][name].float()).abs()
    print(f"{name:45s} mean {delta.mean().item():.6g} max {delta.max().item():.6g}")
