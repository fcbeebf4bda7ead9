#!/usr/bin/env python3
"""Times llama.cpp and krasis at equal shapes, in turns; see README.md."""
import argparse
import ctypes
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np

HIDDEN, HEADS, KV_HEADS, HEAD_DIM = 2048, 32, 4, 128
EXPERTS, TOP_K, INTERMEDIATE, VOCAB = 128, 8, 768, 151936


def blocks(rng, rows, columns, quant_bytes):
    """Random rows of 32-number blocks: an F16 scale and `quant_bytes` bytes of quants."""
    count = rows * columns // 32
    out = np.empty((count, 2 + quant_bytes), np.uint8)
    out[:, 2:] = rng.integers(0, 256, (count, quant_bytes), np.uint8)
    # Q4_0's quants have deviation 4.6, Q8_0's 74: weights come out with deviation 0.02.
    scale = np.float16(0.02 / (4.6 if quant_bytes == 16 else 74))
    out[:, :2] = np.frombuffer(scale.tobytes(), np.uint8)
    return out.reshape(rows, -1)


def write_gguf(path, layers):
    import gguf
    writer = gguf.GGUFWriter(str(path), "qwen3moe")
    writer.add_context_length(40960)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(6144)
    writer.add_expert_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(TOP_K)
    writer.add_vocab_size(VOCAB)
    writer.add_tokenizer_model("none")
    rng = np.random.default_rng(1)
    q4, q8 = gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q8_0

    def quantized(name, rows, columns, kind, experts=0):
        size = 16 if kind == q4 else 32
        data = blocks(rng, max(experts, 1) * rows, columns, size)
        if experts:
            data = data.reshape(experts, rows, -1)
        writer.add_tensor(name, data, raw_dtype=kind)

    def ones(name, count):
        writer.add_tensor(name, np.ones(count, np.float32))

    quantized("token_embd.weight", VOCAB, HIDDEN, q8)
    ones("output_norm.weight", HIDDEN)
    quantized("output.weight", VOCAB, HIDDEN, q8)
    for layer in range(layers):
        at = f"blk.{layer}."
        ones(at + "attn_norm.weight", HIDDEN)
        quantized(at + "attn_q.weight", HEADS * HEAD_DIM, HIDDEN, q8)
        quantized(at + "attn_k.weight", KV_HEADS * HEAD_DIM, HIDDEN, q8)
        quantized(at + "attn_v.weight", KV_HEADS * HEAD_DIM, HIDDEN, q8)
        quantized(at + "attn_output.weight", HIDDEN, HEADS * HEAD_DIM, q8)
        ones(at + "attn_q_norm.weight", HEAD_DIM)
        ones(at + "attn_k_norm.weight", HEAD_DIM)
        ones(at + "ffn_norm.weight", HIDDEN)
        writer.add_tensor(at + "ffn_gate_inp.weight",
                          rng.normal(0, 0.02, (EXPERTS, HIDDEN)).astype(np.float32))
        quantized(at + "ffn_gate_exps.weight", INTERMEDIATE, HIDDEN, q4, EXPERTS)
        quantized(at + "ffn_up_exps.weight", INTERMEDIATE, HIDDEN, q4, EXPERTS)
        quantized(at + "ffn_down_exps.weight", HIDDEN, INTERMEDIATE, q4, EXPERTS)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_config(folder, layers):
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_act": "silu",
        "hidden_size": HIDDEN, "num_hidden_layers": layers, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "intermediate_size": 6144,
        "moe_intermediate_size": INTERMEDIATE, "num_experts": EXPERTS, "num_experts_per_tok": TOP_K,
        "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "rms_norm_eps": 1e-6, "rope_theta": 1e6, "vocab_size": VOCAB, "attention_bias": False,
        "max_position_embeddings": 40960, "tie_word_embeddings": False, "eos_token_id": 151645,
    }
    (folder / "config.json").write_text(json.dumps(config))


class LlamaCpp:
    """llama.cpp through its C interface: loaded once, timed as its own llama-bench does."""

    def __init__(self, path, threads, prompt_tokens):
        import llama_cpp
        self.api = llama_cpp
        self.quiet = llama_cpp.llama_log_callback(lambda *_: None)  # kept: C holds a pointer to it
        llama_cpp.llama_log_set(self.quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        model_params = llama_cpp.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_params)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = 2 * prompt_tokens + 512
        params.n_batch = params.n_ubatch = max(512, prompt_tokens)
        params.n_threads = params.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        self.rng = np.random.default_rng(2)

    def eval(self, count):
        ids = (ctypes.c_int32 * count)(*self.rng.integers(0, VOCAB, count).tolist())
        if self.api.llama_decode(self.context, self.api.llama_batch_get_one(ids, count)) != 0:
            raise RuntimeError("llama_decode failed")
        self.api.llama_synchronize(self.context)

    def clear(self):
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)

    def measure(self, prompt_tokens, generated):
        self.clear()
        start = time.perf_counter()
        self.eval(prompt_tokens)
        prefill = time.perf_counter() - start
        self.clear()
        self.eval(16)
        start = time.perf_counter()
        for _ in range(generated):
            self.eval(1)
        decode = time.perf_counter() - start
        return prompt_tokens / prefill, generated / decode


def run_krasis(program, folder, args):
    words = [program, "bench", str(folder), "--load-format", "dummy", "--threads", str(args.threads),
             "--prompt-tokens", str(args.prompt), "--generate", str(args.generate), "--repeat", "1",
             "--attention-quant", "int8", "--lm-head-quant", "int8", "--json"]
    out = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    row = json.loads(out.splitlines()[-1])
    return (row["prefill"][0]["tokens_per_second"]["median"],
            row["decode"]["tokens_per_second"]["median"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--krasis", default=str(pathlib.Path(__file__).parents[2] / "krasis"))
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default=tempfile.gettempdir())
    args = parser.parse_args()

    folder = pathlib.Path(args.folder) / f"compare-{args.layers}-layers"
    write_config(folder, args.layers)
    gguf_path = folder / "model.gguf"
    if not gguf_path.exists():
        write_gguf(gguf_path, args.layers)
    other = LlamaCpp(gguf_path, args.threads, args.prompt)
    other.measure(args.prompt, 8)  # warm-up: the file into memory
    figures = {"llama.cpp": [], "krasis": []}
    for _ in range(args.rounds):
        figures["llama.cpp"].append(other.measure(args.prompt, args.generate))
        figures["krasis"].append(run_krasis(args.krasis, folder, args))
    print(f"{args.layers} layers, {args.threads} threads, {args.rounds} rounds in turns")
    for index, what in enumerate(("prefill", "decode")):
        medians = {}
        for name, rows in figures.items():
            values = sorted(row[index] for row in rows)
            medians[name] = statistics.median(values)
            print(f"{what:8} {name:10} {medians[name]:8.1f} tok/s  ({values[0]:.1f} to {values[-1]:.1f})")
        print(f"{what:8} ratio      {medians['krasis'] / medians['llama.cpp']:8.2f}")


if __name__ == "__main__":
    main()
