"""Loads an exported folder with transformers and with model.py, both float32, and compares logits.
Fails on missing or unexpected keys, and where logits differ by more than 1e-3."""

import argparse
import glob
import json
import os

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from export import hub_tensors
from model import Config, Model


def load_own(folder):
    """The folder's weights in model.py's layout, by the names that export.py gives them."""
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as stream:
        config = json.load(stream)
    tensors = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        tensors |= load_file(path)
    arch = "moe" if config["model_type"] == "qwen3_moe" else "next"
    changes = {"layers": config["num_hidden_layers"], "hidden": config["hidden_size"], "experts": config["num_experts"],
               "top_k": config["num_experts_per_tok"], "heads": config["num_attention_heads"], "vocab": config["vocab_size"],
               "kv_heads": config["num_key_value_heads"], "head_dim": config["head_dim"]}  # fmt: skip
    model = Model(Config.named(arch, **changes))
    state = {}
    for name, parameter in model.named_parameters():
        parameter.data = torch.zeros_like(parameter)
        state[name] = parameter
    if set(tensors) != set(hub_tensors(model)):
        raise SystemExit(f"verify: {folder}: the tensor names are not those of the architecture")
    with torch.no_grad():
        for name, parameter in state.items():
            layer = name.split(".")[1] if name.startswith("layers.") else None
            part = name.split(".")[-1] if not name.endswith(".weight") else name.split(".")[-2]
            if ".mlp." in name and part in ("gate_proj", "up_proj", "down_proj"):
                for expert in range(parameter.shape[0]):
                    parameter[expert] = tensors[f"model.layers.{layer}.mlp.experts.{expert}.{part}.weight"].float()
                continue
            parameter.copy_(tensors[own_name(name, layer, part, model)].float())
    return model


def own_name(name, layer, part, model):
    if layer is None:
        return "model.embed_tokens.weight" if name == "embed" else "model.norm.weight"
    prefix = f"model.layers.{layer}."
    if ".mixer." in name:
        mixer = "self_attn." if model.layers[int(layer)].full else "linear_attn."
        return prefix + mixer + part + ("" if part in ("A_log", "dt_bias") else ".weight")
    if ".mlp." in name:
        if part in ("gate", "shared_expert_gate"):
            return f"{prefix}mlp.{part}.weight"
        return f"{prefix}mlp.shared_expert.{part.removeprefix('shared_')}.weight"
    return prefix + part + ".weight"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--ask", nargs="*", default=["What is a lighthouse?"])
    arguments = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(arguments.folder)
    model, report = AutoModelForCausalLM.from_pretrained(
        arguments.folder, dtype=torch.float32, output_loading_info=True, attn_implementation="eager"
    )
    model.eval()
    print("verify:", type(model).__name__, {k: len(v) for k, v in report.items() if v is not None})
    if report["missing_keys"] or report["unexpected_keys"] or report["mismatched_keys"]:
        raise SystemExit(f"verify: keys do not fit: {report}")
    own = load_own(arguments.folder)
    torch.manual_seed(0)
    text = "A lighthouse is a tower with a light. The ship came near the island in the night. " * 12
    worst = 0.0
    for ids in (torch.tensor([tokenizer.encode(text)]), torch.randint(3, own.config.vocab, (2, 333))):
        with torch.no_grad():
            theirs = model(ids).logits
            ours = own.logits(own.hidden_states(ids)[0])
        worst = max(worst, float((theirs - ours).abs().max()))
    print(f"verify: logits up to {float(theirs.abs().max()):.2f}, differ by at most {worst:.2e}")
    if not worst < 1e-3:
        raise SystemExit("verify: the logits differ")
    for question in arguments.ask:
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True)
        out = model.generate(**prompt, do_sample=False, max_new_tokens=80)
        print(question, "->", tokenizer.decode(out[0, prompt["input_ids"].shape[1] :]))


if __name__ == "__main__":
    main()
