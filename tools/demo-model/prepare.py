"""Draws the dialogues, tokenizes them and the prose, and packs both into rows for training.

chat.npy [rows, 513]: whole dialogues, each row begins with one and is padded at its end;
text.npy [rows, 2049]: prose, document after document, a fifth of it dialogues;
heldout.npy [rows, 2049]: the held-out text.
uint16; the low 15 bits are the token, the high bit says that the token's prediction counts. Only
what the assistant says counts in a dialogue: the questions are drawn from templates at random, and
a model this small has no capacity to spend on guessing which word is asked about next.
"""

import argparse
import functools
import json
import lzma
import multiprocessing
import os
import random
import time

import numpy
from tokenizers import Tokenizer

from dialogues import Dialogues

CHAT_ROW, TEXT_ROW = 513, 2049
COUNTS = 0x8000
END_OF_TEXT, START, END = 0, 1, 2
NEWLINE = "Ċ"  # how byte-level BPE spells a line feed
DIALOGUE_SHARE = 0.2  # of the tokens in text rows
NOVEL_SHARE = 2  # novels are seen twice as often as documentation

state = {}


@functools.cache
def length_of(tokenizer, text):
    return len(tokenizer.encode(text).ids)


def encode_dialogue(tokenizer, messages):
    newline = [tokenizer.token_to_id(NEWLINE)]
    ids = []
    for role, text in messages:
        prefix = length_of(tokenizer, role + "\n")
        body = tokenizer.encode(role + "\n" + text).ids
        said = COUNTS if role == "assistant" else 0
        ids.append(START)
        ids += body[:prefix] + [token | said for token in body[prefix:]] + [END | said] + newline
    return ids + [END_OF_TEXT]


def render(messages):
    """The same as one string: what the chat template writes."""
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in messages)


def pack_chat(worker, tokens):
    """Rows of whole dialogues: of some that wait, the first that still fits is taken."""
    dialogues = Dialogues(state["facts"], seed=f"{state['seed']} chat {worker}")
    tokenizer = state["tokenizer"]
    rows = numpy.zeros((tokens // (CHAT_ROW - 1), CHAT_ROW), dtype=numpy.uint16)
    waiting = []
    for row in rows:
        at = 0
        while True:
            while len(waiting) < 24:
                ids = encode_dialogue(tokenizer, dialogues.draw())
                if len(ids) <= CHAT_ROW:
                    waiting.append(ids)
            index = next((i for i, ids in enumerate(waiting) if at + len(ids) <= CHAT_ROW), None)
            if index is None:
                break
            ids = waiting.pop(index)
            row[at : at + len(ids)] = ids
            at += len(ids)
    return rows


def pack_text(worker, tokens):
    """One unbroken stream of prose and dialogues, cut into rows."""
    order = random.Random(f"{state['seed']} text {worker}")
    dialogues = Dialogues(state["facts"], seed=f"{state['seed']} text dialogues {worker}")
    tokenizer, documents = state["tokenizer"], state["documents"]
    rows = tokens // (TEXT_ROW - 1)
    stream, pending = [], []
    said = total = 0
    while len(stream) < rows * TEXT_ROW:
        if said < DIALOGUE_SHARE * total:
            ids = [i for _ in range(8) for i in encode_dialogue(tokenizer, dialogues.draw(turns=order.choice([2, 3, 4])))]
            said += len(ids)
        else:
            if not pending:
                pending = documents[worker :: state["workers"]]
                order.shuffle(pending)
            ids = [token | COUNTS for token in tokenizer.encode(pending.pop()).ids] + [END_OF_TEXT]
        total += len(ids)
        stream += ids
    return numpy.array(stream[: rows * TEXT_ROW], dtype=numpy.uint16).reshape(rows, TEXT_ROW)


def work(job):
    kind, worker, tokens = job
    return kind, (pack_chat if kind == "chat" else pack_text)(worker, tokens)


def load(data, seed, workers):
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with lzma.open(os.path.join(data, "facts.json.xz"), "rt", encoding="utf-8") as stream:
        state["facts"] = json.load(stream)
    documents = []
    with lzma.open(os.path.join(data, "prose.jsonl.xz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            document = json.loads(line)
            documents += [document["text"]] * (NOVEL_SHARE if document["source"].startswith("r-cran") else 1)
    # Neighbours in the list come from the same package; every worker gets some of each.
    random.Random(f"{seed} documents").shuffle(documents)
    state.update(documents=documents, seed=seed, workers=workers)
    state["tokenizer"] = Tokenizer.from_file(os.path.join(data, "tokenizer.json"))


def check_rendering(count=50):
    """Encoding piece by piece must give what encoding the rendered dialogue gives."""
    dialogues = Dialogues(state["facts"], seed="check")
    for _ in range(count):
        messages = dialogues.draw()
        ids = [token & ~COUNTS for token in encode_dialogue(state["tokenizer"], messages)][:-1]
        if ids != state["tokenizer"].encode(render(messages)).ids:
            raise SystemExit(f"prepare: a dialogue is encoded differently in pieces: {messages}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="build/demo-data", help="what gather and tokenizer wrote")
    parser.add_argument("--out", default="build/demo-rows")
    parser.add_argument("--chat-tokens", type=float, default=70e6)
    parser.add_argument("--text-tokens", type=float, default=70e6)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    began = time.time()
    os.makedirs(arguments.out, exist_ok=True)
    load(arguments.data, arguments.seed, arguments.workers)
    check_rendering()
    jobs = []
    for worker in range(arguments.workers):
        jobs += [("chat", worker, int(arguments.chat_tokens) // arguments.workers),
                 ("text", worker, int(arguments.text_tokens) // arguments.workers)]  # fmt: skip
    with multiprocessing.get_context("fork").Pool(arguments.workers) as pool:
        done = pool.map(work, jobs, chunksize=1)
    for kind in ("chat", "text"):
        rows = numpy.concatenate([rows for made, rows in done if made == kind])
        numpy.save(os.path.join(arguments.out, kind + ".npy"), rows)
        counted = float((rows >= COUNTS).mean())
        print(f"prepare: {kind}: {rows.shape[0]} rows of {rows.shape[1]}, {100 * counted:.1f} % of the tokens count")
    with open(os.path.join(arguments.data, "heldout.txt"), encoding="utf-8") as stream:
        ids = [token | COUNTS for token in state["tokenizer"].encode(stream.read()).ids]
    ids = ids[: len(ids) // TEXT_ROW * TEXT_ROW]
    numpy.save(os.path.join(arguments.out, "heldout.npy"), numpy.array(ids, dtype=numpy.uint16).reshape(-1, TEXT_ROW))
    print(f"prepare: {time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
