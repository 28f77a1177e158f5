"""Lists the addresses outside the repository that the documentation names, with the pages.

    python docs/external_links.py

It opens none: tests need no network. To check them: python docs/external_links.py --open
"""

import re
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = re.compile(r"https?://[^\s)>`\"'|]+")


def addresses() -> dict[str, list[str]]:
    """Address -> the pages that name it."""
    found: dict[str, list[str]] = {}
    for page in sorted([*ROOT.glob("*.md"), *ROOT.glob("[del]*/**/*.md")]):
        for address in set(ADDRESS.findall(page.read_text("utf-8"))):
            found.setdefault(address.rstrip(".,"), []).append(str(page.relative_to(ROOT)))
    return dict(sorted(found.items()))


def problem(address: str) -> str:
    """Why an address cannot be opened; empty if it can."""
    try:
        with urlopen(Request(address, headers={"User-Agent": "Mozilla/5.0"}), timeout=20):
            return ""
    except (URLError, OSError) as error:
        return str(error)


def main() -> None:
    failed = 0
    for address, pages in addresses().items():
        why = problem(address) if "--open" in sys.argv else ""
        failed += bool(why)
        print(f"{address}  ({', '.join(pages)}){'  ' if why else ''}{why}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
