"""Reads the other reference packages: FOLDOC, GCIDE, the elements, kgeography and ruby-countries."""

import glob
import gzip
import os
import re


def read_dictd(path):
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as stream:
        return stream.read()


def entries_of(text):
    """dictd text -> (headwords joined by ' | ', indented body) pairs: heads start in column 0."""
    head, body = [], []
    for line in text.split("\n"):
        if line and not line[0].isspace():
            if body:
                yield " | ".join(head), "\n".join(body)
                head, body = [], []
            head.append(line.strip())
        elif head:
            body.append(line)
    if head and body:
        yield " | ".join(head), "\n".join(body)


def paragraphs_of(body):
    blocks = re.split(r"\n\s*\n", body)
    return [" ".join(block.split()) for block in blocks if block.strip()]


def clean_foldoc(paragraph):
    paragraph = re.sub(r"\{\(http[^}]*\)\}|<?https?://\S+>?", "", paragraph)
    paragraph = re.sub(r"\{([^{}|]*)(\|[^{}]*)?\}", r"\1", paragraph)
    paragraph = re.sub(r"^(\d+\.\s*)?(<[^>]*>\s*)?(/[^/]*/\s*)?(\([^)]{1,40}\)\s*)?", "", paragraph)
    return re.sub(r"__|\s+([.,;])", r"\1", paragraph).strip()


def read_foldoc(root):
    """-> [{"name", "alias", "text": [paragraph, ...]}] of entries that define something in prose."""
    text = read_dictd(os.path.join(root, "dict-foldoc/usr/share/dictd/foldoc.dict.dz"))
    found = []
    for name, body in entries_of(text):
        if name.startswith("00-") or len(name) > 60:
            continue
        name, _, alias = name.partition(" | ")
        paragraphs = [clean_foldoc(p) for p in paragraphs_of(body)]
        paragraphs = [
            p for p in paragraphs
            if len(p) > 40 and not re.match(r"^[\[(]|See\b|E-mail|Home|Usenet", p)
            and "\\" not in p and p[-1] in ".!?"
        ]  # fmt: skip
        if paragraphs and not re.search(r"\b(fuck|shit|sex\w*|porn\w*)\b", body, re.I):
            found.append({"name": name, "alias": alias, "text": paragraphs[:4]})
    return found


GCIDE_CLASSES = {
    "n": "noun", "a": "adjective", "v. t": "verb", "v. i": "verb", "adv": "adverb",
    "prep": "preposition", "conj": "conjunction", "pron": "pronoun",
}  # fmt: skip


def clean_gcide(text):
    text = re.sub(r"\[[^\]]*\]", "", text)
    text = re.sub(r"\s--\s?[A-Z][\w. &']*\.?", "", text)
    text = re.sub(r"[{}]", "", text)
    text = re.sub(r"^\s*(\d+\.|\([a-z]\))\s*", "", text)
    text = re.sub(r"^(\([A-Z][^)]*\)\s*)", "", text)
    return re.sub(r"\s+([.,;:])", r"\1", " ".join(text.split())).strip()


def read_gcide(root, unwanted):
    """-> [{"name", "class", "senses": [...]}] of entries in use (not marked obsolete)."""
    text = read_dictd(os.path.join(root, "dict-gcide/usr/share/dictd/gcide.dict.dz"))
    found = []
    for head, body in entries_of(text):
        match = re.match(r"^([A-Z][\w' -]*?) \\[^\\]*\\,? *(?:\([^)]*\),? *)?([a-z]+(?:\. [a-z])?)\.", head)
        if not match or match.group(2) not in GCIDE_CLASSES:
            continue
        if unwanted.search(body) or unwanted.search(head):
            continue
        senses = []
        for block in re.split(r"\n\s*\n", re.sub(r"\[(1913 Webster|PJC|WordNet[^\]]*|Webster[^\]]*)\]", "", body)):
            if re.search(r"\[(Obs|R|Archaic|Scot|Prov|Cant|Slang)\b", block) or "Syn:" in block:
                continue
            if re.match(r"^\s{6,}", block):
                continue
            sense = clean_gcide(block)
            if 25 < len(sense) < 500 and sense[0].isupper() and sense[-1] in ".;" and "]" not in sense:
                senses.append(sense.rstrip(";.") + ".")
        if senses:
            found.append({"name": match.group(1), "class": GCIDE_CLASSES[match.group(2)], "senses": senses[:3]})
    return found


def read_elements(root):
    """-> [{"name", "symbol", "number", "weight", "text"}]."""
    text = read_dictd(os.path.join(root, "dict-elements/usr/share/dictd/elements.dict.dz"))
    found = []
    for block in re.split(r"\n\n+", text):
        match = re.match(r"^(\w+)\nSymbol: (\w+)\nAtomic number: (\d+)\nAtomic weight: ([\d.()]+)\n(.*)", block, re.S)
        if match:
            name, symbol, number, weight, about = match.groups()
            found.append({"name": name, "symbol": symbol, "number": int(number),
                          "weight": weight, "text": " ".join(about.split())})  # fmt: skip
    return found


def read_capitals(root):
    """-> {country: capital} from kgeography's map of the world."""
    path = os.path.join(root, "kgeography-data/usr/share/kgeography/world.kgm")
    with open(path, encoding="utf-8") as stream:
        text = stream.read()
    pairs = re.findall(r"<name>([^<]*)</name>\s*<flag>[^<]*</flag>\s*<capital>([^<]*)</capital>", text)
    return {name: capital for name, capital in pairs if capital and not name.isupper()}


def read_countries(root):
    """-> [{"name", "continent", "region", "currency", "nationality"}] from ruby-countries."""
    pattern = os.path.join(root, "ruby-countries/usr/share/rubygems-integration/all/gems/*/lib/countries/data/countries/??.yaml")
    found = []
    for path in sorted(glob.glob(pattern)):
        with open(path, encoding="utf-8") as stream:
            text = stream.read()

        def field(key):
            match = re.search(rf"^  {key}: *'?\"?([^'\"\n]+)", text, re.M)
            return match.group(1).strip() if match else ""

        found.append({"name": field("name"), "continent": field("continent"), "region": field("subregion"),
                      "currency": field("currency_code"), "nationality": field("nationality")})  # fmt: skip
    return [country for country in found if country["name"]]
