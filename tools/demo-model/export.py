"""Writes a trained model as a folder in the hub's file format: BF16 shards of at most 15 MB with an
index, config.json, generation_config.json, tokenizer files."""

import json
import os
import shutil

import torch
from safetensors.torch import save_file

SHARD_BYTES = 14_900_000  # a shard and its header stay under 15 MB
EXPERT_PARTS = ("gate_proj", "up_proj", "down_proj")


def hub_tensors(model):
    """Hub name -> tensor, one matrix per expert and projection."""
    tensors = {"model.embed_tokens.weight": model.embed}
    for index, layer in enumerate(model.layers):
        prefix = f"model.layers.{index}."
        tensors[prefix + "input_layernorm.weight"] = layer.input_layernorm.weight
        mixer = prefix + ("self_attn." if layer.full else "linear_attn.")
        for name, parameter in layer.mixer.named_parameters():
            name = name.removesuffix(".weight")
            bare = name in ("A_log", "dt_bias")
            tensors[mixer + name + ("" if bare else ".weight")] = parameter
        tensors[prefix + "post_attention_layernorm.weight"] = layer.post_attention_layernorm.weight
        for name, parameter in layer.mlp.named_parameters():
            if name in EXPERT_PARTS:
                for expert in range(parameter.shape[0]):
                    tensors[f"{prefix}mlp.experts.{expert}.{name}.weight"] = parameter[expert]
            elif name in ("gate", "shared_expert_gate"):
                tensors[f"{prefix}mlp.{name}.weight"] = parameter
            else:
                tensors[f"{prefix}mlp.shared_expert.{name.removeprefix('shared_')}.weight"] = parameter
    tensors["model.norm.weight"] = model.norm.weight
    return {name: t.detach().to(torch.bfloat16).cpu().contiguous() for name, t in tensors.items()}


def hub_config(config):
    common = {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "decoder_sparse_step": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "hidden_size": config.hidden,
        "initializer_range": 0.02,
        "intermediate_size": config.expert_width * config.top_k,
        "max_position_embeddings": config.context,
        "mlp_only_layers": [],
        "moe_intermediate_size": config.expert_width,
        "norm_topk_prob": True,
        "num_attention_heads": config.heads,
        "num_experts": config.experts,
        "num_experts_per_tok": config.top_k,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.kv_heads,
        "output_router_logits": False,
        "rms_norm_eps": config.eps,
        "rope_scaling": None,
        "rope_theta": config.rope_theta,
        "router_aux_loss_coef": 0.01,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": config.vocab,
    }
    if config.arch == "moe":
        own = {
            "architectures": ["Qwen3MoeForCausalLM"],
            "model_type": "qwen3_moe",
            "max_window_layers": config.layers,
            "sliding_window": None,
            "use_sliding_window": False,
        }
    else:
        own = {
            "architectures": ["Qwen3NextForCausalLM"],
            "model_type": "qwen3_next",
            "full_attention_interval": config.full_interval,
            "linear_conv_kernel_dim": config.conv_width,
            "linear_key_head_dim": config.linear_head_dim,
            "linear_num_key_heads": config.linear_key_heads,
            "linear_num_value_heads": config.linear_value_heads,
            "linear_value_head_dim": config.linear_head_dim,
            "partial_rotary_factor": config.rotary_share,
            "shared_expert_intermediate_size": config.shared_width,
        }
    return dict(sorted((common | own).items()))


GENERATION = {
    "do_sample": True,
    "eos_token_id": [2, 0],
    "max_new_tokens": 128,
    "pad_token_id": 0,
    "temperature": 0.3,
    "top_k": 20,
    "top_p": 0.9,
}


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=2)
        stream.write("\n")


def write_shards(folder, tensors):
    shards, size = [{}], 0
    for name, tensor in tensors.items():
        bytes_ = tensor.numel() * 2
        if size + bytes_ > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += bytes_
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    index = {}
    for name, shard in zip(names, shards):
        save_file(shard, os.path.join(folder, name), metadata={"format": "pt"})
        os.chmod(os.path.join(folder, name), 0o644)
        index |= {tensor: name for tensor in shard}
    total = sum(t.numel() * 2 for t in tensors.values())
    write_json(os.path.join(folder, "model.safetensors.index.json"), {"metadata": {"total_size": total}, "weight_map": index})


def export(model, folder, tokenizer_folder):
    os.makedirs(folder, exist_ok=True)
    write_shards(folder, hub_tensors(model))
    write_json(os.path.join(folder, "config.json"), hub_config(model.config))
    write_json(os.path.join(folder, "generation_config.json"), GENERATION)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(os.path.join(tokenizer_folder, name), os.path.join(folder, name))
