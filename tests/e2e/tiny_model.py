"""A model folder to serve: the weights of a reference model, and a small byte-level tokenizer with a
chat template, written here."""
import json
import os
import pathlib
import shutil

END = 500
START = 501
TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
MERGES = ["t h", "th e", "i n", "e r", "a n", "o n", "an d", "in g"]


def byte_alphabet():
    """Byte-level spelling of each byte: printable Latin-1 for itself, the others from U+0100."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spelled = {byte: chr(byte) for byte in own}
    others = (byte for byte in range(256) if byte not in spelled)
    spelled.update({byte: chr(0x100 + i) for i, byte in enumerate(others)})
    return [spelled[byte] for byte in range(256)]


def tokenizer():
    tokens = byte_alphabet() + [merge.replace(" ", "") for merge in MERGES]
    added = [
        {"id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for number, content in ((END, "<|end|>"), (START, "<|start|>"))
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": {token: number for number, token in enumerate(tokens)}, "merges": MERGES},
    }


def write(reference, folder):
    source = pathlib.Path(reference) / "models" / "qwen3-moe-tiny"
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    config = json.loads((source / "config.json").read_text())
    config["eos_token_id"] = END
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": END}))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<|end|>", "chat_template": TEMPLATE}))
    shutil.copyfile(source / "model.safetensors", folder / "model.safetensors")
    os.chmod(folder / "model.safetensors", 0o644)
    return folder
