"""PyTorch's side of `cargo xtask bench`: takes turns with `ulpscope bench --turns`, line by line.

    python xtask/bench/turns.py CHECKPOINT THREADS

Prints one line about itself, then answers each line of stdin with a JSON list of seconds:

- `RECIPE TOKENS REPEAT`: forward passes, one before that does not count;
- `audit RECIPE RECIPE TOKENS PROMPTS REPEAT`, or `compare` for audit: the audit job: both models with a forward hook on every module, every output
  compared by mean and largest absolute difference, KL of the logits. The models are loaded before the clock starts.
"""

import json
import os
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

transformers.utils.logging.disable_progress_bar()
checkpoint, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
models = {}


def load(recipe):
    if recipe not in models:
        steps = [step.split("(")[1] for step in recipe.rstrip(")").replace(")", "").split(".")]
        model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=DTYPES[steps[0]], attn_implementation="sdpa")
        for step in steps[1:]:
            model = model.to(DTYPES[step])
        models[recipe] = model.eval()
    return models[recipe]


def prompt(model, tokens, seed=0):
    return torch.tensor([[(i * 7919 + seed * 104729 + 17) % model.config.vocab_size for i in range(tokens)]])


def timed(job, repeat):
    job()
    seconds = []
    for _ in range(repeat):
        begun = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - begun)
    return seconds


def forward(recipe, tokens, repeat):
    model = load(recipe)
    ids = prompt(model, tokens)
    return timed(lambda: model(ids, use_cache=False).logits, repeat)


def audit(a, b, tokens, prompts, repeat):
    pair = [load(a), load(b)]
    outputs, found = {}, {}

    def keep(name):
        def hook(module, args, output):
            output = output[0] if isinstance(output, tuple) else output
            if isinstance(output, torch.Tensor):
                outputs[name] = output

        return hook

    def compare(name):
        def hook(module, args, output):
            output = output[0] if isinstance(output, tuple) else output
            if isinstance(output, torch.Tensor):
                delta = (outputs.pop(name).float() - output.float()).abs()
                found[name] = (delta.mean().item(), delta.max().item())

        return hook

    hooks = []
    for model, make in zip(pair, (keep, compare)):
        hooks += [m.register_forward_hook(make(name)) for name, m in model.named_modules() if name]

    def job():
        for seed in range(prompts):
            ids = prompt(pair[0], tokens, seed)
            p, q = (torch.log_softmax(m(ids, use_cache=False).logits.float(), -1) for m in pair)
            (p.exp() * (p - q)).sum(-1).mean().item()

    try:
        return timed(job, repeat)
    finally:
        for hook in hooks:
            hook.remove()


print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__, "threads": threads}), flush=True)
with torch.inference_mode():
    for line in sys.stdin:
        match line.split():
            case [recipe, tokens, repeat]:
                answer = forward(recipe, int(tokens), int(repeat))
            case ["audit" | "compare", a, b, tokens, prompts, repeat]:
                answer = audit(a, b, int(tokens), int(prompts), int(repeat))
            case _:
                sys.exit(f"{line!r} asks for nothing known")
        print(json.dumps(answer), flush=True)
