#!/usr/bin/env python3
"""Records what PyTorch computes in one forward pass of a decoder, as a trace that `ulpscope diff` and
`ulpscope explain --trace` read.

    pip install torch transformers safetensors
    python capture.py HuggingFaceTB/SmolLM2-135M --recipe 'load(bf16)' --prompt 'Gravity is' --out theirs.safetensors
    ulpscope trace HuggingFaceTB/SmolLM2-135M --recipe 'load(bf16)' --prompt 'Gravity is' --out ours.safetensors
    ulpscope diff ours.safetensors theirs.safetensors
    ulpscope explain HuggingFaceTB/SmolLM2-135M --trace theirs.safetensors

`diff` says where the two part; `explain --trace` says why: it judges each operation on the recording's own inputs, so that
an order of summation is told from a fault.

MODEL is a hub id (`org/name`, `org/name@revision`) or a directory in Hugging Face layout. A recipe is `load(DTYPE)`
followed by any of `.to(DTYPE)`, `.half()`, `.bfloat16()`, `.float()`, `.double()`, as in ulpscope. `--attention eager`
records scores and probabilities as well, which sdpa, the default, does not keep.

A model that was changed by hand is recorded from Python, before or after which nothing of it is different:

    import capture
    sites = capture.capture(model, ids)                       # {site: tensor}, in forward order
    capture.write("theirs.safetensors", sites, capture.about("my model", "load(bf16)", model, ids))

The file is safetensors; its keys are sites, its tensors are bit for bit what the model held, `[1, T, C]` or, by head,
`[1, H, T, ...]`. Modules are observed with forward hooks and go by their own path. What has no module is observed where
it passes by:

- `model.rotary_emb.cos`, `.sin`: the two outputs of the rotary module;
- `self_attn.q_rope`, `.k_rope`: what `apply_rotary_pos_emb` returns, `[1, H, T, D]`;
- `self_attn.q_scaled`: the queries that attention is given, where a family scales them after rotation;
- `self_attn.scores`: what eager attention hands to softmax, so scaled and with the additive mask;
- `self_attn.probs`: the second result of eager attention;
- `self_attn.context`, `resid_mid`, `mlp.product`: the inputs of `o_proj`, `post_attention_layernorm`, `down_proj`.

`LAYERS` says this for each family, by `model_type`. A model of another family is refused.
"""

import argparse
import contextlib
import json
import re
import sys

import torch
import transformers

DTYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16", "f64": "float64"}
# Where each family's blocks show what: site, what is seen, and of which module. Generated from ulpscope's description of
# the families: `ULPSCOPE_UPDATE=1 cargo test --workspace --test script` writes it anew.
# <layers>
LAYERS = json.loads("""
[
 {"families": ["llama","mistral","ministral","qwen2"], "hooks": [
  ["input_layernorm","output","input_layernorm"],
  ["self_attn.q_proj","output","self_attn.q_proj"],
  ["self_attn.k_proj","output","self_attn.k_proj"],
  ["self_attn.v_proj","output","self_attn.v_proj"],
  ["self_attn.q_rope","rotated query","self_attn"],
  ["self_attn.k_rope","rotated key","self_attn"],
  ["self_attn.scores","scores","self_attn"],
  ["self_attn.probs","probs","self_attn"],
  ["self_attn.context","input","self_attn.o_proj"],
  ["self_attn.o_proj","output","self_attn.o_proj"],
  ["resid_mid","input","post_attention_layernorm"],
  ["post_attention_layernorm","output","post_attention_layernorm"],
  ["mlp.gate_proj","output","mlp.gate_proj"],
  ["mlp.up_proj","output","mlp.up_proj"],
  ["mlp.act_fn","output","mlp.act_fn"],
  ["mlp.product","input","mlp.down_proj"],
  ["mlp.down_proj","output","mlp.down_proj"],
  ["","output",""]
 ]},
 {"families": ["ministral3"], "hooks": [
  ["input_layernorm","output","input_layernorm"],
  ["self_attn.q_proj","output","self_attn.q_proj"],
  ["self_attn.k_proj","output","self_attn.k_proj"],
  ["self_attn.v_proj","output","self_attn.v_proj"],
  ["self_attn.q_rope","rotated query","self_attn"],
  ["self_attn.k_rope","rotated key","self_attn"],
  ["self_attn.q_scaled","query","self_attn"],
  ["self_attn.scores","scores","self_attn"],
  ["self_attn.probs","probs","self_attn"],
  ["self_attn.context","input","self_attn.o_proj"],
  ["self_attn.o_proj","output","self_attn.o_proj"],
  ["resid_mid","input","post_attention_layernorm"],
  ["post_attention_layernorm","output","post_attention_layernorm"],
  ["mlp.gate_proj","output","mlp.gate_proj"],
  ["mlp.up_proj","output","mlp.up_proj"],
  ["mlp.act_fn","output","mlp.act_fn"],
  ["mlp.product","input","mlp.down_proj"],
  ["mlp.down_proj","output","mlp.down_proj"],
  ["","output",""]
 ]},
 {"families": ["qwen3"], "hooks": [
  ["input_layernorm","output","input_layernorm"],
  ["self_attn.q_proj","output","self_attn.q_proj"],
  ["self_attn.q_norm","output","self_attn.q_norm"],
  ["self_attn.k_proj","output","self_attn.k_proj"],
  ["self_attn.k_norm","output","self_attn.k_norm"],
  ["self_attn.v_proj","output","self_attn.v_proj"],
  ["self_attn.q_rope","rotated query","self_attn"],
  ["self_attn.k_rope","rotated key","self_attn"],
  ["self_attn.scores","scores","self_attn"],
  ["self_attn.probs","probs","self_attn"],
  ["self_attn.context","input","self_attn.o_proj"],
  ["self_attn.o_proj","output","self_attn.o_proj"],
  ["resid_mid","input","post_attention_layernorm"],
  ["post_attention_layernorm","output","post_attention_layernorm"],
  ["mlp.gate_proj","output","mlp.gate_proj"],
  ["mlp.up_proj","output","mlp.up_proj"],
  ["mlp.act_fn","output","mlp.act_fn"],
  ["mlp.product","input","mlp.down_proj"],
  ["mlp.down_proj","output","mlp.down_proj"],
  ["","output",""]
 ]}
]
""")
# </layers>


def hooks_of(family: str) -> list[tuple[str, str, str]]:
    """Where the blocks of a family show what: (site, what is seen, module), in forward order."""
    for group in LAYERS:
        if family in group["families"]:
            return [tuple(hook) for hook in group["hooks"]]
    known = ", ".join(family for group in LAYERS for family in group["families"])
    raise ValueError(f"model_type `{family}` is not known; known are {known}")


def dtype_of(name: str) -> torch.dtype | str:
    if name == "auto":
        return "auto"
    if name not in DTYPES:
        raise ValueError(f"`{name}` is no dtype; known are auto, {', '.join(DTYPES)}")
    return getattr(torch, DTYPES[name])


def build(model: str, recipe: str, attention: str, **options) -> torch.nn.Module:
    """Carries out a recipe. `options` go to `from_pretrained`."""
    if not re.fullmatch(r"load\(\w+\)(\.to\(\w+\)|\.(half|bfloat16|float|double)\(\))*", recipe):
        raise ValueError(f"`{recipe}` is no recipe; one looks like load(f32).to(bf16)")
    (_, dtype), *steps = re.findall(r"(\w+)\((\w*)\)", recipe)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        model, dtype=dtype_of(dtype), attn_implementation=attention, **options
    )
    for call, argument in steps:
        loaded = loaded.to(dtype_of(argument)) if call == "to" else getattr(loaded, call)()
    return loaded.eval()


def below(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if name else prefix


def site_order(layers: int, attention: str = "eager", family: str = "llama") -> list[str]:
    """All sites in the order of the forward pass."""
    order = ["model.embed_tokens", "model.rotary_emb.cos", "model.rotary_emb.sin"]
    for layer in range(layers):
        for site, how, _ in hooks_of(family):
            if attention == "eager" or how not in ("scores", "probs"):
                order.append(below(f"model.layers.{layer}", site))
    return [*order, "model.norm", "lm_head"]


def first(output: object) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


@contextlib.contextmanager
def replaced(owner: object, name: str, value: object):
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextlib.contextmanager
def replaced_entry(table: object, key: str, value: object):
    original = table[key]
    table[key] = value
    try:
        yield
    finally:
        table[key] = original


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors have the same shape, dtype and bits. `torch.equal` holds no NaN equal to itself."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


def capture(model: torch.nn.Module, ids: list[int]) -> dict[str, torch.Tensor]:
    """Every site of one prompt, in forward order, each tensor in the dtype the model holds it in.

    A site that the model does not pass is left out: `site_order` tells which there should be.
    """
    family, attention = model.config.model_type, model.config._attn_implementation
    hooks = hooks_of(family)
    # What attention's functions show has no module of its own.
    inside = {how: site for site, how, _ in hooks if how not in ("output", "input")}
    seen: dict[str, torch.Tensor] = {}
    block = ""

    def keep(site: str, tensor: torch.Tensor) -> None:
        assert site not in seen, f"{site} was passed twice"
        seen[site] = tensor.detach().clone()

    def keep_inside(how: str, tensor: torch.Tensor) -> None:
        if how in inside:
            keep(below(block, inside[how]), tensor)

    def after(name: str):
        return lambda module, args, output: keep(name, first(output))

    def before(name: str):
        return lambda module, args: keep(name, args[0])

    def rotary_hook(module, args, output) -> None:
        keep("model.rotary_emb.cos", output[0])
        keep("model.rotary_emb.sin", output[1])

    def enter(name: str):
        def remember(module, args) -> None:
            nonlocal block
            block = name

        return remember

    handles = [
        model.model.embed_tokens.register_forward_hook(after("model.embed_tokens")),
        model.model.rotary_emb.register_forward_hook(rotary_hook),
        model.model.norm.register_forward_hook(after("model.norm")),
        model.lm_head.register_forward_hook(after("lm_head")),
    ]
    for index, layer in enumerate(model.model.layers):
        prefix = f"model.layers.{index}"
        handles.append(layer.register_forward_pre_hook(enter(prefix)))
        modules = dict(layer.named_modules())
        for site, how, name in hooks:
            if name in modules and how == "output":
                handles.append(modules[name].register_forward_hook(after(below(prefix, site))))
            if name in modules and how == "input":
                handles.append(modules[name].register_forward_pre_hook(before(below(prefix, site))))

    # The functions that attention calls are globals of the file that its class is in.
    code = sys.modules[type(model.model.layers[0].self_attn).__module__]
    rotate, eager = code.apply_rotary_pos_emb, code.eager_attention_forward
    softmax = torch.nn.functional.softmax

    def seen_rotate(*args, **kwargs):
        query, key = rotate(*args, **kwargs)
        keep_inside("rotated query", query)
        keep_inside("rotated key", key)
        return query, key

    def seen_softmax(scores, *args, **kwargs):
        keep_inside("scores", scores)
        return softmax(scores, *args, **kwargs)

    def seen_eager(module, query, *args, **kwargs):
        keep_inside("query", query)
        with replaced(torch.nn.functional, "softmax", seen_softmax):
            output, probs = eager(module, query, *args, **kwargs)
        keep_inside("probs", probs)
        return output, probs

    # Eager attention is not in this table.
    functions = code.ALL_ATTENTION_FUNCTIONS if attention != "eager" and "query" in inside else {attention: None}
    fused = functions[attention]

    def seen_fused(module, query, *args, **kwargs):
        keep_inside("query", query)
        return fused(module, query, *args, **kwargs)

    try:
        with (
            torch.no_grad(),
            replaced(code, "apply_rotary_pos_emb", seen_rotate),
            replaced(code, "eager_attention_forward", seen_eager),
            replaced_entry(functions, attention, seen_fused),
        ):
            logits = model(torch.tensor([ids], device=model.device), use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    if not same_bits(seen["lm_head"], logits):
        raise ValueError("the logits are not what lm_head gave: the model changes them after it")
    order = site_order(len(model.model.layers), attention, family)
    return {site: seen[site] for site in order if site in seen}


def about(name: str, recipe: str, model: torch.nn.Module, ids: list[int], prompt: str | None = None) -> dict[str, str]:
    """What a trace says about where it comes from."""
    given = {} if prompt is None else {"prompt": prompt}
    return {
        "model": name,
        "recipe": recipe,
        "attention": model.config._attn_implementation,
        "ids": json.dumps(ids),
        **given,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": str(model.device),
        "threads": str(torch.get_num_threads()),
    }


def write(path: str, sites: dict[str, torch.Tensor], about: dict[str, str]) -> None:
    from safetensors.torch import save_file

    save_file({site: tensor.cpu().contiguous() for site, tensor in sites.items()}, path, metadata=about)


def main() -> None:
    description, rest = __doc__.split("\n\n", 1)
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, epilog=rest, formatter_class=layout)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--recipe", default="load(bf16)")
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", default="Gravity is")
    prompt.add_argument("--ids", metavar="1,17,250", help="token ids instead of a prompt")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="threads of PyTorch; their number can change the order of sums")
    parser.add_argument("--out", required=True, metavar="FILE")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    name, _, revision = args.model.partition("@")
    options = {"revision": revision} if revision else {}
    if args.ids:
        text, ids = None, [int(part) for part in args.ids.split(",")]
    else:
        text = args.prompt
        ids = transformers.AutoTokenizer.from_pretrained(name, **options).encode(text)
    try:
        model = build(name, args.recipe, args.attention, **options).to(device=args.device)
        sites = capture(model, ids)
    except ValueError as error:
        sys.exit(f"error: {error}")
    write(args.out, sites, about(args.model, args.recipe, model, ids, text))
    missing = set(site_order(len(model.model.layers), args.attention, model.config.model_type)) - set(sites)
    print(f"{len(sites)} sites written to {args.out}")
    if missing:
        print(f"not captured: {', '.join(sorted(missing))}", file=sys.stderr)


if __name__ == "__main__":
    main()
