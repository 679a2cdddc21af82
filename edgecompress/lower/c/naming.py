"""Names from a model made safe: C identifiers, file names, text inside comments."""

from __future__ import annotations

import re
import unicodedata


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KEYWORDS = _words("""
auto break case char const continue default do double else enum extern float for goto if inline int long register restrict return short signed
sizeof static struct switch typedef union unsigned void volatile while asm bool catch class delete explicit export false friend mutable namespace new
operator private protected public template this throw true try typename using virtual wchar_t alignas alignof constexpr decltype noexcept nullptr
static_assert thread_local typeof and or not xor main
""")
# a header of this name beside the sources would hide the tool chain's own; some systems cannot hold the last four as files
TAKEN_FILES = _words("""
assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib
stdnoreturn string strings tgmath threads time uchar wchar wctype unistd memory new arm_math cmsis_gcc con prn aux nul
""")
MAX_IDENTIFIER = 40


def c_identifier(name: str, fallback: str = "model") -> str:
    """A C and C++ identifier of at most 40 characters, also safe as a file's stem. Different names may give the same one."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    identifier = re.sub(r"[^A-Za-z0-9]+", "_", ascii_name).strip("_")[:MAX_IDENTIFIER].rstrip("_")
    if not identifier:
        return fallback
    lowered = identifier.lower()
    if identifier[0].isdigit() or lowered in KEYWORDS or lowered in TAKEN_FILES or lowered == "ec" or lowered.startswith("ec_"):
        return f"{fallback}_{identifier}"[:MAX_IDENTIFIER].rstrip("_")
    return identifier


def unique_identifiers(names: list[str], fallback: str) -> list[str]:
    """One identifier a name, all different even when compilers or file systems ignore case."""
    result: list[str] = []
    seen: set[str] = set()
    for name in names:
        base = identifier = c_identifier(name, fallback)
        count = 2
        while identifier.lower() in seen:
            identifier = f"{base}_{count}"
            count += 1
        seen.add(identifier.lower())
        result.append(identifier)
    return result


def c_string(text: str) -> str:
    """A C string literal of the text in UTF-8; everything but plain letters, digits and harmless marks is an octal escape."""
    plain = re.compile(r"[A-Za-z0-9 _.,:;+\-=()\[\]/*]")

    def escaped(character: str) -> str:
        return character if plain.match(character) else "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "replace"))

    return f'"{"".join(map(escaped, text))}"'


def comment_text(text: str, limit: int = 80) -> str:
    """Text for a C comment or a line of Markdown: one line, no character that could end the comment or splice lines."""
    kept = re.sub(r"[^A-Za-z0-9 _.,:;+\-=()\[\]]+", "_", text)
    return kept if len(kept) <= limit else kept[: limit - 3] + "..."
