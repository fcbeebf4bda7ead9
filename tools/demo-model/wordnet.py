"""Reads WordNet's database files (formats: wndb(5WN), cntlist(5WN)) into plain records."""

import os
import re
from collections import Counter, defaultdict

PARTS_OF_SPEECH = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}

LEXICOGRAPHER_FILES = {
    3: "tops", 4: "act", 5: "animal", 6: "artifact", 7: "attribute", 8: "body", 9: "cognition",
    10: "communication", 11: "event", 12: "feeling", 13: "food", 14: "group", 15: "location",
    16: "motive", 17: "object", 18: "person", 19: "phenomenon", 20: "plant", 21: "possession",
    22: "process", 23: "quantity", 24: "relation", 25: "shape", 26: "state", 27: "substance",
    28: "time",
}  # fmt: skip

POINTERS = {
    "@": "hypernyms", "@i": "instance_of", "~": "hyponyms", "%p": "parts", "#p": "part_of",
    "!": "antonyms", "&": "similar",
}  # fmt: skip

# A record whose gloss says one of these is left out: slurs, abuse and sex are not demo material.
UNWANTED = re.compile(
    r"\b(slur|offensive|derogat\w*|disparag\w*|vulgar\w*|obscen\w*|ethnic|sexual\w*|genital\w*|"
    r"prostitut\w*|intercourse|penis|vagina\w*|racial|racist|nazi\w*|rape\w*|orgasm\w*|erotic|"
    r"pornogra\w*|masturbat\w*|homosexual\w*|lesbian\w*|incest\w*|whore\w*|slang|contempt\w*|"
    r"excrement|feces|suicide|anus|scrotum|coitus|nigg\w*)\b",
    re.I,
)


def clean_lemma(lemma):
    """WordNet writes spaces as underscores and adjective positions as a suffix such as (a)."""
    return re.sub(r"\((a|p|ip)\)$", "", lemma).replace("_", " ")


def split_gloss(gloss):
    """-> (list of definition parts, list of example sentences)."""
    examples = [text.strip(" .;,") for text in re.findall(r'"([^"]+)"', gloss)]
    body = re.sub(r';?\s*"[^"]*"(\s*-\s*[^;]*)?', "", gloss)
    parts = [part.strip(" .;:,") for part in body.split(";")]
    return [part for part in parts if part and '"' not in part], examples


def parse_data_line(line, pos):
    """One line of data.POS -> (offset, record)."""
    fields, gloss = line.split(" | ", 1)
    field = fields.split()
    offset, file_number, word_count = int(field[0]), int(field[1]), int(field[3], 16)
    words = [clean_lemma(field[4 + 2 * i]) for i in range(word_count)]
    at = 4 + 2 * word_count
    pointer_count = int(field[at])
    at += 1
    links = defaultdict(list)
    for _ in range(pointer_count):
        symbol, target, target_pos, source_target = field[at : at + 4]
        at += 4
        if symbol in POINTERS:
            source_word = int(source_target[:2], 16)
            target_word = int(source_target[2:], 16)
            links[POINTERS[symbol]].append((target_pos, int(target), source_word, target_word))
    definition, examples = split_gloss(gloss.strip())
    record = {
        "pos": pos,
        "file": LEXICOGRAPHER_FILES.get(file_number, ""),
        "words": words,
        "definition": definition,
        "examples": examples,
        "links": links,
        "wanted": bool(definition) and not UNWANTED.search(gloss),
    }
    return offset, record


def read_synsets(folder):
    """-> {(pos letter, offset): record}; satellites ('s') are filed under 'a'."""
    synsets = {}
    for name, letter in PARTS_OF_SPEECH.items():
        with open(os.path.join(folder, "data." + name), encoding="latin-1") as lines:
            for line in lines:
                if not line.startswith("  "):
                    offset, record = parse_data_line(line, letter)
                    synsets[(letter, offset)] = record
    return synsets


def read_senses(folder):
    """-> {(pos letter, lower-case lemma): [offset of sense 1, of sense 2, ...]}."""
    senses = {}
    for name, letter in PARTS_OF_SPEECH.items():
        with open(os.path.join(folder, "index." + name), encoding="latin-1") as lines:
            for line in lines:
                if line.startswith("  "):
                    continue
                field = line.split()
                count = int(field[2])
                senses[(letter, field[0].replace("_", " "))] = [int(x) for x in field[-count:]]
    return senses


def read_tag_counts(folder):
    """-> Counter of (pos letter, lemma, sense number): times seen in the tagged corpora."""
    counts = Counter()
    letters = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
    with open(os.path.join(folder, "cntlist.rev"), encoding="latin-1") as lines:
        for line in lines:
            key, sense, count = line.split()
            lemma, rest = key.split("%")
            counts[(letters[rest[0]], lemma.replace("_", " "), int(sense))] += int(count)
    return counts


def read_irregular(folder):
    """-> {"n": {base: irregular form}, "v": {...}}: mouse -> mice, go -> went."""
    irregular = {}
    for name, letter in (("noun", "n"), ("verb", "v")):
        forms = defaultdict(list)
        with open(os.path.join(folder, name + ".exc"), encoding="latin-1") as lines:
            for line in lines:
                form, *bases = line.split()
                for base in bases:
                    if "_" not in form:
                        forms[base].append(form)
        irregular[letter] = {base: words for base, words in forms.items()}
    return irregular
