"""Turns the dictionaries into one table of facts from which dialogues are phrased."""

import hashlib
import re
from collections import Counter

import english
import wordnet

HELD_OUT_SHARE = 0.01
CONCRETE = {"animal", "artifact", "body", "food", "object", "person", "plant", "phenomenon", "substance"}
COMMON = 40  # a word seen this often counts as common and is never held out


def held_out(key):
    """A hundredth of all entries, the same hundredth each time, whatever the order."""
    digest = hashlib.sha256(("held out:" + key).encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


def usable(part):
    return 8 <= len(part) <= 220 and part.count("(") == part.count(")") and "`" not in part


class Lexicon:
    def __init__(self, folder, texts):
        """texts: running text by which words are weighed and countability is judged."""
        self.synsets = wordnet.read_synsets(folder)
        self.senses = wordnet.read_senses(folder)
        self.tags = wordnet.read_tag_counts(folder)
        self.irregular = wordnet.read_irregular(folder)
        self.countability = english.Countability()
        self.frequency = Counter()
        for text in texts:
            self.countability.read(text)
            self.frequency.update(re.findall(r"[a-z]+", text.lower()))
        for record in self.synsets.values():
            gloss = "; ".join(record["definition"] + record["examples"])
            self.countability.read(gloss)
            self.frequency.update(set(re.findall(r"[a-z]+", gloss.lower())))

    def weight(self, pos, lemma):
        """How common a word is: occurrences in text, and ten times those in the tagged corpora."""
        tagged = sum(self.tags[(pos, lemma.lower(), sense)] for sense in range(1, 6))
        text = self.frequency[lemma] if " " not in lemma else 0
        share = 1.0
        if " " not in lemma:
            others = sum(self.tags[(p, lemma.lower(), s)] for p in "nvar" for s in range(1, 6))
            share = (tagged + 1) / (others + 1)
        return tagged * 10 + text * share

    def ancestors(self, key, limit=8):
        found = []
        while len(found) < limit:
            links = self.synsets[key]["links"].get("hypernyms")
            if not links:
                break
            key = (links[0][0], links[0][1])
            found.append(self.synsets[key]["words"][0])
        return found

    def linked(self, record, name, limit):
        """First words of the linked synsets, the more common ones first."""
        words = []
        for pos, offset, _, _ in record["links"].get(name, []):
            target = self.synsets[(pos, offset)]
            if target["wanted"] and target["words"][0][0].islower():
                words.append(target["words"][0])
        words.sort(key=lambda word: -self.weight("n", word))
        return list(dict.fromkeys(words))[:limit]

    def sense(self, pos, lemma, offset):
        key = (pos, offset)
        record = self.synsets[key]
        definition = [part for part in record["definition"] if usable(part)]
        if not record["wanted"] or not definition or definition[0] != record["definition"][0]:
            return None
        word = next((w for w in record["words"] if w.lower() == lemma), lemma)
        number = [w.lower() for w in record["words"]].index(lemma) + 1 if lemma in [w.lower() for w in record["words"]] else 0
        antonyms = [
            self.synsets[(p, o)]["words"][target - 1]
            for p, o, source, target in record["links"].get("antonyms", [])
            if source in (0, number) and target
        ]
        return {
            "word": word,
            "definition": definition[:3],
            "examples": [e for e in record["examples"] if 12 < len(e) < 110][:2],
            "synonyms": [w for w in record["words"] if w != word][:4],
            "antonyms": antonyms[:2],
            "is": self.ancestors(key) if pos == "n" else [],
            "kinds": self.linked(record, "hyponyms", 6),
            "parts": self.linked(record, "parts", 6),
            "file": record["file"],
            "key": f"{pos}{offset}",
        }

    def entries(self, pos):
        """-> (entries for training, held-out senses); a held-out synset occurs in no entry."""
        kept, held = [], []
        for (letter, lemma), offsets in self.senses.items():
            if letter != pos or not re.match(r"^[a-z][a-z' -]*$", lemma) or len(lemma) < 2:
                continue
            weight = self.weight(pos, lemma)
            senses = []
            for index, offset in enumerate(offsets[:3]):
                rare = index > 0 and self.tags[(pos, lemma, index + 1)] * 8 < self.tags[(pos, lemma, 1)]
                record = None if rare and index > 0 else self.sense(pos, lemma, offset)
                if record is None:
                    if index == 0:
                        break
                    continue
                common = max(self.weight(pos, w) for w in self.synsets[(pos, offset)]["words"]) >= COMMON
                if held_out(record["key"]) and not common:
                    held.append(record)
                    if index == 0:
                        break
                    continue
                senses.append(record)
            if senses:
                kept.append({"lemma": senses[0]["word"], "weight": round(weight, 1), "senses": senses})
        return kept, held


def nouns_and_names(lexicon):
    """Common nouns get countability; capitalised single individuals become names."""
    entries, held = lexicon.entries("n")
    nouns, names = [], []
    for entry in entries:
        first = entry["senses"][0]
        record = lexicon.synsets[("n", int(first["key"][1:]))]
        instance = record["links"].get("instance_of")
        if instance:
            longest = max(record["words"], key=len)
            part_of = [lexicon.synsets[(p, o)]["words"][0] for p, o, _, _ in record["links"].get("part_of", [])]
            names.append({
                "name": longest if first["file"] == "person" else entry["lemma"],
                "definition": first["definition"], "file": first["file"], "part_of": part_of[:1],
                "is": lexicon.synsets[(instance[0][0], instance[0][1])]["words"][0],
                "weight": entry["weight"], "key": first["key"],
            })  # fmt: skip
        elif entry["lemma"][0].islower() and not re.match(r"(genus|family|order|class|phylum|suborder) ", entry["lemma"]):
            for sense in entry["senses"]:
                gloss = sense["definition"][0]
                counted = lexicon.countability.counted(entry["lemma"], sense["file"])
                bare = re.sub(r"^\([^)]*\)\s*", "", gloss) or gloss
                sense["phrase"] = english.noun_phrase(bare, lexicon.countability, counted)
                sense["counted"] = counted
                match = re.match(r"^\((?!of )([a-z ]{3,24})\)\s", gloss)
                sense["domain"] = match.group(1) if match else ""
            entry["plural_form"] = english.looks_plural(entry["lemma"])
            entry["plural"] = english.plural(entry["lemma"], lexicon.irregular["n"])
            entry["irregular"] = entry["lemma"] in lexicon.irregular["n"]
            if first["file"] in CONCRETE:
                entry["weight"] = round(entry["weight"] * 2, 1)
            nouns.append(entry)
    unique = {}
    for name in names:
        if re.match(r"^[A-Z][\w.' -]+$", name["name"]):
            unique.setdefault(name["key"], name)
    return nouns, list(unique.values()), held


def build(folder, texts, foldoc, elements, capitals, countries):
    """-> (facts for training, held-out senses and entries as (name, text) pairs)."""
    lexicon = Lexicon(folder, texts)
    nouns, names, held = nouns_and_names(lexicon)
    facts = {"nouns": nouns, "names": names}
    for letter, label in (("v", "verbs"), ("a", "adjectives"), ("r", "adverbs")):
        facts[label], more = lexicon.entries(letter)
        held += more
    for entry in facts["verbs"]:
        entry["past"] = lexicon.irregular["v"].get(entry["lemma"], [])
    facts["foldoc"] = [entry for entry in foldoc if not held_out("foldoc:" + entry["name"])]
    facts["elements"], facts["capitals"], facts["countries"] = elements, capitals, countries
    unique = {record["key"]: record for record in held}
    texts = [(r["word"], "; ".join(r["definition"])) for r in unique.values()]
    texts += [(e["name"], " ".join(e["text"])) for e in foldoc if held_out("foldoc:" + e["name"])]
    return facts, texts
