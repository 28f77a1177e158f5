"""Draws report-scripts.png: examples of a report in Arabic, Hindi, Thai and Chinese.

    python docs/images/report_scripts.py OUT.png

pictures.py calls it. Needs Chromium and fonts for the four scripts, such as Noto's. The sentences
are made up, and their vectors count pairs of letters.
"""

import shutil
import subprocess
import sys
import tempfile
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from hybrid_dist import Task, evaluate
from hybrid_dist.reporting import html, language_blocks

PASSAGES = {
    "ar": {
        "sea": "البحر هادئ في الصباح، والقوارب تعود إلى الميناء قبل الظهر.",
        "bread": "يُخبز الخبز كل يوم في الفرن القديم قرب الساحة.",
        "train": "يصل القطار رقم 12 إلى المحطة عند الساعة السابعة مساءً.",
    },
    "hi": {
        "sea": "सुबह समुद्र शांत रहता है और नावें दोपहर से पहले बंदरगाह लौट आती हैं।",
        "bread": "चौक के पास की पुरानी भट्टी में हर दिन रोटी पकाई जाती है।",
        "train": "ट्रेन नंबर 12 शाम सात बजे स्टेशन पर पहुँचती है।",
    },
    "th": {
        "sea": "ตอนเช้าทะเลสงบ และเรือกลับเข้าท่าก่อนเที่ยง",
        "bread": "ขนมปังอบทุกวันในเตาเก่าใกล้จัตุรัส",
        "train": "รถไฟขบวนที่ 12 มาถึงสถานีเวลาหนึ่งทุ่ม",
    },
    "zh": {
        "sea": "早晨海面平静，渔船在中午前回到港口。",
        "bread": "广场旁的老烤炉每天都烤面包。",
        "train": "12次列车晚上七点到达车站。",
    },
}
QUERIES = {
    "ar": {"sea": "متى تعود القوارب إلى الميناء؟", "train": "متى يصل القطار رقم 12؟"},
    "hi": {"sea": "नावें बंदरगाह कब लौटती हैं?", "bread": "रोटी कहाँ पकाई जाती है?"},
    "th": {"bread": "ขนมปังอบที่ไหน", "train": "รถไฟขบวนที่ 12 มาถึงกี่โมง"},
    "zh": {"sea": "渔船什么时候回港口？", "bread": "面包在哪里烤？"},
}
WIDTH, HEIGHT = 820, 1400


def vectors(texts: list[str]) -> np.ndarray:
    """[texts, 256]: how often each pair of letters occurs, hashed, of norm 1."""
    counts = np.zeros((len(texts), 256), np.float32)
    for row, text in zip(counts, texts, strict=True):
        for pair in pairwise(text):
            row[zlib.crc32("".join(pair).encode()) % 256] += 1
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def example_page() -> str:
    """One query of each language, as a report shows it."""
    queries = {f"{lang} {name}": text for lang, by in QUERIES.items() for name, text in by.items()}
    corpus = {f"{lang} {name}": text for lang, by in PASSAGES.items() for name, text in by.items()}
    qrels = {query: {p: 1 for p in corpus if p.endswith(query[3:])} for query in queries}
    task = Task.from_qrels(
        queries, corpus, qrels, languages={name: name[:2] for name in (*queries, *corpus)}
    )
    report = evaluate(task, vectors([*queries.values()]), vectors([*corpus.values()]))
    examples = {
        example["query"]["language"]: example
        for kind in ("worst", "best")
        for example in report.content["examples"][kind]
    }
    blocks = [language_blocks.example_block(examples[language]) for language in sorted(examples)]
    return html.page("Examples", "Queries, their relevant passages and what was found", blocks)


def main() -> None:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("report_scripts: no Chromium is installed")
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder) / "page.html", Path(folder) / "shot.png"
        page.write_text(example_page(), "utf-8")
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
        size, out = f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={shot}"
        subprocess.run([program, *flags, size, out, page.as_uri()], check=True, capture_output=True)
        with Image.open(shot) as image:
            pixels = np.asarray(image.convert("L"))
            bottom = int(np.flatnonzero((pixels < 250).any(axis=1)).max()) + 24
            picture = image.convert("RGB").crop((0, 0, WIDTH, min(bottom, HEIGHT))).quantize(48)
            picture.save(sys.argv[1], optimize=True)


if __name__ == "__main__":
    main()
