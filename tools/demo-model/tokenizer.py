"""Trains the byte-level BPE tokenizer on the gathered text and writes tokenizer.json and
tokenizer_config.json. The split pattern is the one of the Qwen models (digits one by one)."""

import argparse
import json
import lzma
import os

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from dialogues import Dialogues

VOCABULARY = 8192
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{%- for message in messages %}\n"
    "    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n"
    "{%- endif %}"
)


def texts(data, dialogue_count):
    with lzma.open(os.path.join(data, "prose.jsonl.xz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]
    with lzma.open(os.path.join(data, "facts.json.xz"), "rt", encoding="utf-8") as stream:
        dialogues = Dialogues(json.load(stream), seed=0)
    for _ in range(dialogue_count):
        for _, text in dialogues.draw():
            yield text


def train(data, dialogue_count):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts(data, dialogue_count), trainer)
    return tokenizer


def configuration():
    special = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {str(i): {"content": text} | special for i, text in enumerate(SPECIAL)},
        "additional_special_tokens": SPECIAL[1:],
        "bos_token": None,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "model_max_length": 2048,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="build/demo-data")
    parser.add_argument("--dialogues", type=int, default=60000)
    arguments = parser.parse_args()
    tokenizer = train(arguments.data, arguments.dialogues)
    tokenizer.save(os.path.join(arguments.data, "tokenizer.json"))
    with open(os.path.join(arguments.data, "tokenizer_config.json"), "w", encoding="utf-8") as stream:
        json.dump(configuration(), stream, indent=2, ensure_ascii=False)
        stream.write("\n")
    sample = "What is a lighthouse? A lighthouse is a tower with a light that gives warning of shoals to passing ships."
    print(f"tokenizer: {tokenizer.get_vocab_size()} entries,", tokenizer.encode(sample).tokens)


if __name__ == "__main__":
    main()
