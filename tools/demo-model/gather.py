"""Downloads the packages, unpacks them, and writes the training material to --out:
prose.jsonl.xz (documents), facts.json.xz (dictionary facts), heldout.txt (never trained on).
"""

import argparse
import json
import lzma
import os
import subprocess

import dictionaries
import facts
import prose
import wordnet

PACKAGES = (
    ["wordnet-base", "dict-foldoc", "dict-gcide", "dict-elements", "kgeography-data", "ruby-countries",
     "r-cran-janeaustenr", "r-cran-tokenizers", "freeciv-data"]
    + list(prose.HTML_SOURCES) + list(prose.MARKUP_SOURCES) + list(prose.TEXT_SOURCES)
)  # fmt: skip

# The held-out file is handed on with the model, so it takes no text under the GFDL, which would
# have to be handed on with it; those entries are merely left out of training.
NOT_HANDED_ON = {"foldoc", "kstars-data", "gimp-help-en"}


def unpack(work):
    """Fetches what is missing with apt-get and unpacks each package into work/root/PACKAGE."""
    os.makedirs(work + "/deb", exist_ok=True)
    root = work + "/root"
    for package in PACKAGES:
        target = os.path.join(root, package)
        if os.path.isdir(target):
            continue
        subprocess.run(["apt-get", "download", "-qq", package], cwd=work + "/deb", check=True)
        deb = next(n for n in sorted(os.listdir(work + "/deb")) if n.startswith(package + "_"))
        subprocess.run(["dpkg-deb", "-x", f"{work}/deb/{deb}", target], check=True)
        os.remove(f"{work}/deb/{deb}")
    return root


def gcide_documents(entries, per_document=12):
    """Dictionary pages: neighbouring entries, one paragraph each."""
    for start in range(0, len(entries), per_document):
        page = entries[start : start + per_document]
        lines = [f"{e['name']} ({e['class']}): {' '.join(e['senses'])}" for e in page]
        yield {"source": "dict-gcide", "name": f"page {start}", "text": "\n\n".join(lines)}


def write_jsonl(path, rows):
    with lzma.open(path, "wt", encoding="utf-8", preset=6) as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def held_out_text(documents, entries, limit_bytes=1_000_000):
    """Documents and entries one after the other, so that every window holds several kinds of text."""
    pieces = [d["text"] for d in documents if d["source"] not in NOT_HANDED_ON]
    lines = [f"{word}: {text}." for word, text in entries]
    pages = ["\n\n".join(lines[i : i + 12]) for i in range(0, len(lines), 12)]
    mixed = []
    step = max(1, len(pages) // max(1, len(pieces)))
    for index, piece in enumerate(pieces):
        mixed.append(piece[:20000])
        mixed += pages[index * step : (index + 1) * step]
    mixed += pages[len(pieces) * step :]
    text = ""
    for piece in mixed:
        if len((text + piece).encode()) > limit_bytes - 2:
            break
        text += piece + "\n\n"
    return text.rstrip("\n") + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", default="build/demo-work", help="scratch folder for packages (2 GB)")
    parser.add_argument("--out", default="build/demo-data")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    root = unpack(os.path.abspath(arguments.work))

    documents = list(prose.read_documents(root))
    gcide = dictionaries.read_gcide(root, wordnet.UNWANTED)
    documents += gcide_documents(gcide)
    kept = [d for d in documents if not facts.held_out(f"{d['source']}:{d['name']}:{d['text'][:80]}")]
    held = [d for d in documents if facts.held_out(f"{d['source']}:{d['name']}:{d['text'][:80]}")]

    foldoc = dictionaries.read_foldoc(root)
    texts = [d["text"] for d in kept if d["source"].startswith("r-cran")]
    texts += [" ".join(e["senses"]) for e in gcide]
    table, entries = facts.build(
        os.path.join(root, "wordnet-base/usr/share/wordnet"), texts, foldoc,
        dictionaries.read_elements(root), dictionaries.read_capitals(root), dictionaries.read_countries(root),
    )  # fmt: skip
    kept += [
        {"source": "dict-foldoc", "name": e["name"], "text": f"{e['name']}\n\n" + "\n\n".join(e["text"])}
        for e in table["foldoc"] if len(" ".join(e["text"])) > 200
    ]  # fmt: skip

    write_jsonl(arguments.out + "/prose.jsonl.xz", kept)
    with lzma.open(arguments.out + "/facts.json.xz", "wt", encoding="utf-8", preset=6) as stream:
        stream.write(json.dumps(table, ensure_ascii=False))
    foldoc_names = {e["name"] for e in foldoc}
    text = held_out_text(held, [e for e in entries if e[0] not in foldoc_names])
    with open(arguments.out + "/heldout.txt", "w", encoding="utf-8") as stream:
        stream.write(text)
    print(f"gather: {len(kept)} documents, {sum(len(d['text']) for d in kept)} characters;",
          ", ".join(f"{len(v)} {k}" for k, v in table.items()),
          f"; held out {len(held)} documents, {len(entries)} entries, {len(text.encode())} bytes written")  # fmt: skip


if __name__ == "__main__":
    main()
