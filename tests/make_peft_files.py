"""Makes adapters in `peft_files` with the PEFT that is installed: `python make_peft_files.py NAME`, once per release of PEFT.

Each is a folder that PEFT wrote, and `expected.json` holds the logits that PEFT then computed with it over `peft_base.IDS`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import peft_base

HERE = Path(__file__).resolve().parent / "peft_files"


def model() -> Any:
    made = LlamaForCausalLM(LlamaConfig(**peft_base.CONFIG))
    made.config._attn_implementation = "eager"
    strange = made.load_state_dict({name: torch.from_numpy(value) for name, value in peft_base.weights()}, strict=False)
    assert set(strange.missing_keys) <= {"lm_head.weight"}, strange
    made.tie_weights()
    return made.eval()


def configurations() -> dict[str, Any]:
    soft = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 3}
    return {
        "lora": peft.LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj"]),
        "prompt-tuning": peft.PromptTuningConfig(**soft),
        "p-tuning": peft.PromptEncoderConfig(**soft, encoder_hidden_size=8),
        "prefix-tuning": peft.PrefixTuningConfig(**soft),
    }


def main(name: str) -> None:
    generator = torch.Generator().manual_seed(20)
    for method, config in configurations().items():
        wrapped = peft.get_peft_model(model(), config)
        with torch.no_grad():
            for value in wrapped.parameters():
                if value.requires_grad:
                    value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
        folder = HERE / f"{name}-{method}"
        wrapped.eval().peft_config["default"].base_model_name_or_path = "org/tiny-base"
        wrapped.save_pretrained(str(folder), safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)
        try:
            with torch.no_grad():
                logits = wrapped(input_ids=torch.tensor([peft_base.IDS])).logits[0, -1]
        except Exception as error:  # a release that cannot run its own method on this model still wrote the file
            sys.stderr.write(f"{folder.name}: {type(error).__name__}: {error}\n")
            continue
        (folder / "expected.json").write_text(json.dumps({"peft": peft.__version__, "logits": np.round(logits.numpy(), 6).tolist()}))


if __name__ == "__main__":
    main(sys.argv[1])
