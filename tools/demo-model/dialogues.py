"""Draws dialogues from the facts: what is asked, in which words, after which system prompt."""

import itertools
import random

import english
import handwritten
import phrasing
from phrasing import a, fill, listing

# Shares of the subjects; definitions of nouns are what the model is for.
SUBJECTS = {
    "noun": 56, "verb": 7, "adjective": 6, "adverb": 1, "name": 7, "foldoc": 4, "country": 3,
    "element": 2, "fact": 5, "arithmetic": 4, "identity": 2.5, "small_talk": 1.5, "unknown": 1,
}  # fmt: skip


def emphasis(weight, concrete=False):
    """How often a word is asked about: rare words a little, common ones no more than some 60 times that."""
    if weight < 12:
        return 0.15
    return max(4.0 if concrete else 2.0, min(10.0, weight**0.3))


class Sampler:
    def __init__(self, entries, weight):
        self.entries = entries
        self.cumulative = list(itertools.accumulate(weight(e) for e in entries))

    def draw(self, rng):
        return rng.choices(self.entries, cum_weights=self.cumulative)[0]


class Dialogues:
    """Every method asking something returns (question, answer sentences, noun entry or None)."""

    def __init__(self, facts, seed):
        self.rng = random.Random(seed)
        self.facts = facts
        concrete = {"animal", "artifact", "body", "food", "object", "person", "plant", "phenomenon", "substance"}
        self.samplers = {
            "noun": Sampler(facts["nouns"], lambda e: emphasis(e["weight"], e["senses"][0]["file"] in concrete)),
            "verb": Sampler(facts["verbs"], lambda e: emphasis(e["weight"])),
            "adjective": Sampler(facts["adjectives"], lambda e: emphasis(e["weight"])),
            "adverb": Sampler(facts["adverbs"], lambda e: emphasis(e["weight"])),
            "name": Sampler(facts["names"], lambda e: min(8.0, 0.3 + e["weight"] ** 0.5)),
        }
        best = {}
        for group in ("nouns", "verbs", "adjectives", "adverbs"):
            for entry in facts[group]:
                if entry["weight"] > best.get(entry["lemma"], ("", -1.0))[1]:
                    best[entry["lemma"]] = (group, entry["weight"])
        self.best = {lemma: group for lemma, (group, _) in best.items()}
        self.foldoc = [(e, s) for e in facts["foldoc"] for s in [phrasing.foldoc_sentences(e)] if s]
        self.capital_pairs = sorted(facts["capitals"].items())
        self.countries = [c for c in facts["countries"] if "(" not in c["name"] and c["continent"]]
        self.subjects, self.subject_weights = list(SUBJECTS), list(SUBJECTS.values())

    # nouns

    def ask_noun(self, entry=None, style=None):
        rng = self.rng
        entry = entry or self.samplers["noun"].draw(rng)
        kind = rng.random()
        if kind > 0.68:
            made = self.ask_about_noun(entry)
            if made:
                return made
        words = phrasing.noun_words(entry, rng)
        style = style or rng.choices(["normal", "long", "short"], [72, 16, 12])[0]
        extras = phrasing.extra_sentences(entry, rng)
        first = phrasing.definition_sentence(entry)
        if style == "short":
            return fill(rng, phrasing.DEFINE_SHORT, **words), [first], entry
        if style == "long":
            return fill(rng, phrasing.DEFINE_LONG, **words), [first] + extras[:3], entry
        count = rng.choices([0, 1, 2], [40, 45, 15])[0]
        return fill(rng, phrasing.DEFINE, **words), [first] + extras[:count], entry

    def ask_about_noun(self, entry):
        makers = [self.is_a, self.is_a, self.synonym, self.examples, self.parts, self.use, self.kind,
                  self.which_word, self.plural, self.opposite, self.in_a_sentence]  # fmt: skip
        self.rng.shuffle(makers)
        for maker in makers:
            made = maker(entry)
            if made:
                return made
        return None

    def is_a(self, entry):
        rng = self.rng
        sense = entry["senses"][0]
        if entry["plural_form"] or not sense["counted"]:
            return None
        parents = [p for p in sense["is"] if p not in phrasing.VAGUE and p.islower()]
        if not parents:
            return None
        name = a(entry["lemma"])
        if rng.random() < 0.5:
            parent = rng.choice(parents[:5])
            question = f"Is {name} {a(parent)}?"
            answers = [f"Yes, {name} is {a(parent)}."]
            if parent != parents[0] and rng.random() < 0.4:
                answers = [f"Yes, {name} is a kind of {parents[0]}, and so it is {a(parent)}."]
            return question, answers, entry
        other = self.samplers["noun"].draw(rng)["senses"][0]
        wrong = [p for p in other["is"] if p not in phrasing.VAGUE and p.islower() and p not in sense["is"]]
        if not wrong or other["file"] == sense["file"] or not other["counted"]:
            return None
        parent = rng.choice(wrong[:3])
        return f"Is {name} {a(parent)}?", [f"No, {name} is not {a(parent)}. It is a kind of {parents[0]}."], entry

    def synonym(self, entry):
        words = [w for w in entry["senses"][0]["synonyms"] if w.islower()]
        if not words:
            return None
        x = entry["lemma"]
        question = fill(self.rng, ["What is another word for {x}?", "Give me a synonym for {x}.", "What is a synonym of {x}?",
                                   "Which word means the same as {x}?", "Is there another word for {x}?"], x=x)  # fmt: skip
        if len(words) > 1 and self.rng.random() < 0.4:
            return question, [f"Other words for {x} are {listing(words[:3])}."], entry
        return question, [f"Another word for {x} is {words[0]}."], entry

    def examples(self, entry):
        kinds = entry["senses"][0]["kinds"]
        if len(kinds) < 2 or not entry["senses"][0]["counted"]:
            return None
        x = entry["lemma"]
        if self.rng.random() < 0.5:
            kind = self.rng.choice(kinds)
            question = fill(self.rng, ["Give me an example of {a}.", "Name {a}.", "What is an example of {a}?", "Name one kind of {x}."],
                            a=a(x), x=x)  # fmt: skip
            return question, [f"{a(kind)[0].upper()}{a(kind)[1:]} is a kind of {x}."], entry
        question = fill(self.rng, ["What kinds of {x} are there?", "Name some kinds of {x}.", "Give me examples of {p}.",
                                   "List some {p}.", "Name three kinds of {x}."], x=x, p=entry["plural"])  # fmt: skip
        return question, [f"Some kinds of {x} are the {listing(kinds[:3]).replace(', ', ', the ').replace(' and ', ' and the ')}."], entry

    def parts(self, entry):
        answer = phrasing.parts_sentence(entry, 4)
        if not answer:
            return None
        question = fill(self.rng, ["What are the parts of {a}?", "What parts does {a} have?", "Name some parts of {a}."], a=a(entry["lemma"]))
        return question, [answer], entry

    def use(self, entry):
        answer = phrasing.use_of(entry)
        if not answer:
            return None
        words = phrasing.noun_words(entry)
        be, do = ("are", "do") if entry["plural_form"] else ("is", "does")
        question = fill(self.rng, [f"What {be} {words['a']} used for?", f"What {be} {words['a']} for?", "What do you do with {a}?",
                                   "How do people use {a}?", f"What purpose {do} {words['a']} have?"], **words)  # fmt: skip
        return question, [answer], entry

    def kind(self, entry):
        sense = entry["senses"][0]
        parents = [p for p in sense["is"][:1] if p not in phrasing.VAGUE and p.islower()]
        if not parents or entry["plural_form"]:
            return None
        name = a(entry["lemma"], sense["counted"])
        question = fill(self.rng, ["What kind of thing is {n}?", "What sort of thing is {n}?", "Which group does {n} belong to?"], n=name)
        return question, [english.sentence(f"{name} is a kind of {parents[0]}")], entry

    def which_word(self, entry):
        sense = entry["senses"][0]
        if entry["weight"] < 20 or len(sense["phrase"]) > 110 or entry["plural_form"]:
            return None
        question = fill(self.rng, ["What do you call {d}?", "What is the word for {d}?", "Which word means: {d}?",
                                   "What is the name for {d}?"], d=sense["phrase"])  # fmt: skip
        name = a(entry["lemma"], sense["counted"])
        return question, [self.rng.choice([f"That is {name}.", f"It is called {name}."])], entry

    def plural(self, entry):
        sense = entry["senses"][0]
        if entry["plural_form"] or not sense["counted"] or (not entry["irregular"] and self.rng.random() < 0.8):
            return None
        question = fill(self.rng, ["What is the plural of {x}?", "How do you say more than one {x}?"], x=entry["lemma"])
        return question, [f"The plural of {entry['lemma']} is {entry['plural']}."], entry

    def opposite(self, entry):
        words = entry["senses"][0]["antonyms"]
        if not words:
            return None
        question = fill(self.rng, ["What is the opposite of {x}?", "Give me the opposite of {x}.", "What is an antonym of {x}?"], x=entry["lemma"])
        return question, [f"The opposite of {entry['lemma']} is {words[0]}."], entry

    def in_a_sentence(self, entry):
        examples = entry["senses"][0]["examples"]
        if not examples:
            return None
        question = fill(self.rng, ["Use the word {x} in a sentence.", "Give me an example sentence with {x}.", "How is the word {x} used?"],
                        x=entry["lemma"])  # fmt: skip
        return question, [english.sentence(self.rng.choice(examples))], entry

    # other words

    def ask_meaning(self, group):
        rng = self.rng
        plural = {"verb": "verbs", "adjective": "adjectives", "adverb": "adverbs"}[group]
        entry = self.samplers[group].draw(rng)
        roll = rng.random()
        if roll < 0.15:
            made = self.opposite(entry)
        elif roll < 0.27:
            made = self.synonym(entry)
        elif roll < 0.37:
            made = self.in_a_sentence(entry)
        elif roll < 0.45 and group == "verb" and entry["past"]:
            forms = [w for w in entry["past"] if not w.endswith(("ing", "s"))]
            made = (f"What is the past tense of {entry['lemma']}?",
                    [f"The past forms of {entry['lemma']} are {listing(forms)}." if len(forms) > 1 else
                     f"The past tense of {entry['lemma']} is {forms[0]}."], None) if forms else None  # fmt: skip
        else:
            made = None
        if made:
            return made[0], made[1], None
        templates = [("What does the {g} {x} mean?", 3), ("What is the meaning of the {g} {x}?", 2)]
        if self.best.get(entry["lemma"]) == plural:
            templates += [("What does {x} mean?", 8), ("What does the word {x} mean?", 4), ("Define {x}.", 4),
                          ("Explain the word {x}.", 3), ("What is the meaning of {x}?", 3)]  # fmt: skip
        if group == "verb":
            templates += [("What does it mean to {x}?", 6)]
        if group == "adjective":
            templates += [("What does it mean to be {x}?", 3)]
        first = phrasing.meaning_sentence(entry, plural)
        extras = phrasing.meaning_extras(entry, plural)
        return fill(rng, templates, x=entry["lemma"], g=group), [first] + extras[: rng.choices([0, 1, 2], [45, 35, 20])[0]], None

    def ask_name(self):
        rng = self.rng
        entry = self.samplers["name"].draw(rng)
        name, first = entry["name"], phrasing.name_sentence(entry)
        if entry["file"] in ("location", "object") and entry["part_of"] and rng.random() < 0.3:
            return f"Where is {name}?", [f"{name} is in {entry['part_of'][0]}."], None
        if entry["file"] == "person":
            templates = [("Who was {x}?", 8), ("Who is {x}?", 5), ("Tell me about {x}.", 3), ("What do you know about {x}?", 1),
                         ("Can you tell me who {x} was?", 1), ("What is {x} known for?", 1)]  # fmt: skip
        else:
            templates = [("What is {x}?", 8), ("Tell me about {x}.", 3), ("What do you know about {x}?", 2)]
        return fill(rng, templates, x=name), [first] + phrasing.name_extras(entry)[: rng.randrange(3)], None

    def ask_foldoc(self):
        rng = self.rng
        entry, sentences = rng.choice(self.foldoc)
        templates = ["What is {x} in computing?", "What does {x} mean in computing?", "Explain the computing term {x}.",
                     "What is {x} (computing)?", "Tell me about {x} in computing."]  # fmt: skip
        return fill(rng, templates, x=entry["name"]), sentences[: rng.choice([1, 2, 3])], None

    # facts

    def ask_country(self):
        rng = self.rng
        if rng.random() < 0.65:
            country, capital = rng.choice(self.capital_pairs)
            if rng.random() < 0.75:
                question = fill(rng, ["What is the capital of {c}?", "what is the capital of {c}", "Name the capital of {c}.",
                                      "Which city is the capital of {c}?", "Tell me the capital of {c}."], c=country)  # fmt: skip
                return question, [f"The capital of {country} is {capital}."], None
            return f"Which country has {capital} as its capital?", [f"{capital} is the capital of {country}."], None
        country = rng.choice(self.countries)
        name = country["name"]
        continent = "Oceania" if country["continent"] == "Australia" and name != "Australia" else country["continent"]
        roll = rng.random()
        if roll < 0.5 or not country["nationality"]:
            question = fill(rng, ["Where is {c}?", "On which continent is {c}?", "In which part of the world is {c}?"], c=name)
            region = country["region"] if country["region"] not in ("", continent) else ""
            return question, [f"{name} is in {continent}." if not region else f"{name} is in {region}, in {continent}."], None
        return f"What is the nationality of people from {name}?", [f"People from {name} are {country['nationality']}."], None

    def ask_element(self):
        rng = self.rng
        element = rng.choice(self.facts["elements"])
        name = element["name"]
        name = name[0].lower() + name[1:]
        roll = rng.randrange(4)
        if roll == 0:
            return fill(rng, ["What is the symbol of {x}?", "What is the chemical symbol for {x}?"], x=name), [f"The chemical symbol of {name} is {element['symbol']}."], None
        if roll == 1:
            return f"What is the atomic number of {name}?", [f"The atomic number of {name} is {element['number']}."], None
        if roll == 2:
            return f"Which element has the symbol {element['symbol']}?", [f"{element['symbol']} is the symbol of {name}."], None
        about = [s + "." for s in element["text"].rstrip(".").split(". ")][:2]
        return f"Tell me about the element {name}.", about, None

    def ask_arithmetic(self):
        rng = self.rng
        low, high = rng.choice([(0, 10), (0, 10), (0, 20), (1, 100)])
        x, y = rng.randint(low, high), rng.randint(low, high)
        roll = rng.randrange(7)
        if roll < 2:
            symbol, word, value = "+", "plus", x + y
        elif roll < 4:
            x, y = max(x, y), min(x, y)
            symbol, word, value = "-", "minus", x - y
        elif roll < 5:
            x, y = rng.randint(0, 12), rng.randint(0, 12)
            symbol, word, value = "*", "times", x * y
        elif roll < 6:
            if x == y:
                return f"Is {x} equal to {y}?", [f"Yes, {x} is equal to {y}."], None
            return f"Which is larger, {x} or {y}?", [f"{max(x, y)} is larger than {min(x, y)}."], None
        else:
            if rng.random() < 0.5:
                return f"What number comes after {x}?", [f"The number after {x} is {x + 1}."], None
            parity = "even" if x % 2 == 0 else "odd"
            return f"Is {x} even or odd?", [f"{x} is {parity}."], None
        question = fill(rng, ["What is {x} {s} {y}?", "What is {x} {w} {y}?", "{x} {s} {y} = ?", "How much is {x} {w} {y}?", "Calculate {x} {s} {y}."],
                        x=x, y=y, s=symbol, w=word)  # fmt: skip
        return question, [f"{x} {word} {y} is {value}."], None

    def ask_unknown(self):
        rng = self.rng
        while True:
            word = "".join(rng.choice(["bl", "gr", "sn", "fl", "tr", "z", "v", "kl", "pl", "dr", "m", "w"]) + rng.choice("aeiou")
                           + rng.choice(["rf", "mp", "nk", "zz", "b", "x", "lt", "gg", "p", "nd"]) for _ in range(rng.choice([1, 2, 2])))  # fmt: skip
            if word not in self.best:
                break
        question = fill(rng, ["What is {a}?", "What does {x} mean?", "Define {x}.", "Tell me about {x}."], a=a(word), x=word)
        return question, [rng.choice([f"I do not know the word {word}.", f"I do not know what {word} means. It may not be an English word."])], None

    def ask_table(self, table):
        questions, answers = self.rng.choice(table)
        answers = [answers] if isinstance(answers, str) else answers
        return self.rng.choice(questions), [self.rng.choice(answers)], None

    # dialogues

    def ask(self, style):
        subject = self.rng.choices(self.subjects, self.subject_weights)[0]
        if subject == "noun":
            return self.ask_noun(style=style)
        if subject in ("verb", "adjective", "adverb"):
            return self.ask_meaning(subject)
        tables = {"fact": handwritten.FACTS, "identity": handwritten.IDENTITY, "small_talk": handwritten.SMALL_TALK}
        if subject in tables:
            return self.ask_table(tables[subject])
        return getattr(self, "ask_" + subject)()

    def follow_up(self, entry, said):
        """A further question about the noun of the turn before, which 'it' stands for."""
        rng = self.rng
        extras = [s for s in phrasing.extra_sentences(entry, rng) if s not in said]
        options = []
        if extras:
            options.append((rng.choice(["Tell me more.", "Tell me more about it.", "What else?", "Go on.", "Anything else?"]), extras[:2]))
        made = self.synonym(entry)
        if made:
            options.append((rng.choice(["What is another word for it?", "Is there another word for it?", "What else is it called?"]), made[1]))
        made = self.is_a(entry)
        if made:
            options.append((made[0].replace(f"Is {a(entry['lemma'])} ", "Is it "), made[1]))
        made = self.examples(entry)
        if made:
            options.append((rng.choice(["Give me an example.", "Can you name some kinds?", "Which kinds are there?"]), made[1]))
        made = self.use(entry)
        if made:
            options.append((rng.choice(["What is it used for?", "What is it for?"]), made[1]))
        if not options:
            return None
        options.append((rng.choice(["Say that in one sentence.", "In one sentence, please.", "In short?"]), [phrasing.definition_sentence(entry)]))
        question, answers = rng.choice(options)
        return question, answers, entry

    def write(self, question):
        """Questions as people type them: some without capitals, some without the final mark."""
        roll = self.rng.random()
        if roll < 0.08 and question.isascii():
            question = question[0].lower() + question[1:]
        if 0.05 < roll < 0.12:
            question = question.rstrip("?.!")
        return question

    def draw(self, turns=None):
        """-> [(role, text), ...]."""
        rng = self.rng
        messages, style = [], None
        roll = rng.random()
        if roll < 0.28:
            messages.append(("system", rng.choice(handwritten.GENERAL_SYSTEM_PROMPTS)))
        elif roll < 0.38:
            messages.append(("system", rng.choice(handwritten.SHORT_SYSTEM_PROMPTS)))
            style = "short"
        elif roll < 0.44:
            messages.append(("system", rng.choice(handwritten.LONG_SYSTEM_PROMPTS)))
            style = "long"
        turns = turns or rng.choices([1, 2, 3, 4, 5], [60, 22, 10, 5, 3])[0]
        entry, said = None, []
        for _ in range(turns):
            made = None
            if entry and rng.random() < 0.5:
                made = self.follow_up(entry, said)
            elif said and rng.random() < 0.08:
                made = self.ask_table(handwritten.SMALL_TALK[6:7])
            elif entry and rng.random() < 0.25:
                other = self.samplers["noun"].draw(rng)
                words = phrasing.noun_words(other)
                extras = phrasing.extra_sentences(other, rng)[: rng.randrange(2)]
                made = fill(rng, ["And {a}?", "What about {a}?", "And what is {a}?", "How about {a}?"], **words), [phrasing.definition_sentence(other)] + extras, other
            question, answers, entry = made or self.ask(style)
            if style == "short":
                answers = answers[:1]
            said = said + answers
            messages += [("user", self.write(question)), ("assistant", " ".join(answers))]
        return messages
