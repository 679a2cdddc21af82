"""Templates to text. HTML is escaped by jinja; Markdown by `markdown`, which every value passes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from edgecompress.report.confusion import confusion_section
from edgecompress.report.document import Report
from edgecompress.report.headline import headline, ram_parts
from edgecompress.report.memory_chart import memory_section
from edgecompress.report.pareto_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, pareto_section
from edgecompress.report.provenance import artifact_path, commands, facts, not_done
from edgecompress.report.tables import layer_table, screened_rows, trained_rows
from edgecompress.report.text import Figure, count, percent, plural, shape
from edgecompress.units import format_bytes

TEMPLATES = Path(__file__).parent / "templates"
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~!])")


def markdown(value: Any) -> str:
    """Text that Markdown shows as it is: one line, no markup, no HTML."""
    if isinstance(value, Markup):
        return str(value)
    text = re.sub(r"\s+", " ", str(value))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN_SPECIAL.sub(r"\\\1", text)


def code(value: Any) -> Markup:
    """A Markdown code span that the text cannot end, safe inside tables."""
    text = " ".join(str(value).split()).replace("|", "¦")
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return Markup(f"{fence}{pad}{text}{pad}{fence}")  # Markdown, not HTML: backticks make it literal


def _markdown_figure(value: Figure) -> Markup:
    return Markup(markdown(value.text) if value.known else f"*{markdown(value.text)}*")  # Markdown, escaped above


def _json_for_script(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # all characters with a meaning in HTML are escaped above


def _c_call(report: Report) -> tuple[Markup, Markup]:
    """Name and arguments of the run function, for a C block: both are made by the lowering, anything but C identifiers is dropped."""
    manifest = report.manifest
    if manifest is None:
        return Markup(), Markup()
    name = re.sub(r"\W", "", manifest.name, flags=re.ASCII)
    sides = (("input", len(manifest.inputs)), ("output", len(manifest.outputs)))
    arguments = [kind if number == 1 else f"{kind}{index}" for kind, number in sides for index in range(number)]
    return Markup(name), Markup(", ".join(arguments))  # identifiers


def _context(report: Report) -> dict[str, Any]:
    c_name, c_arguments = _c_call(report)
    return {
        "report": report,
        "summary": report.summary,
        "data": report.data,
        "profile": report.profile,
        "manifest": report.manifest,
        "head": headline(report),
        "trained": trained_rows(report),
        "screened": screened_rows(report),
        "layers": layer_table(report),
        "confusion": confusion_section(report),
        "ram_parts": [(name, format_bytes(round(size))) for name, size in ram_parts(report)],
        "facts": facts(report),
        "commands": commands(report),
        "c_name": c_name,
        "c_arguments": c_arguments,
        "artifact": artifact_path(report),
        "not_done": not_done(report),
        "count": count,
        "percent": percent,
        "plural": plural,
        "shape": shape,
        "bytes": format_bytes,
    }


def render_html(report: Report) -> str:
    """The self-contained page."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    # the policy lets this one script run and nothing load: a name that slipped through as markup could still do nothing
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    pareto = pareto_section(report)
    return environment.get_template("report.html.j2").render(
        **_context(report), pareto=pareto, memory=memory_section(report), tips=_json_for_script(pareto.tips if pareto else ()),
        plot={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM},
        style=Markup(style), script=Markup(script), script_hash=digest,  # both are files of this package
    )


def render_card(report: Report) -> str:
    """The model card in Markdown."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=False, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True, finalize=markdown, keep_trailing_newline=True)
    environment.filters.update(code=code, figure=_markdown_figure)
    text = environment.get_template("MODEL_CARD.md.j2").render(**_context(report))
    return re.sub(r"\n{3,}", "\n\n", text)
