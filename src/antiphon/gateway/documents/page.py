"""The OpenAPI document as one page of HTML: no script, nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark;--ink:light-dark(#1c2024,#e6e8ea);--dim:light-dark(#5c646c,#9aa3ab);
--line:light-dark(#dde1e4,#33393f);--soft:light-dark(#f4f6f7,#1e2327);--page:light-dark(#fff,#15191c);
--link:light-dark(#0b5cad,#7db8f2);--get:light-dark(#0a6b3d,#5fd39a);--put:light-dark(#8a5300,#f0b35a);
--del:light-dark(#a3231f,#f58a84)}
*{box-sizing:border-box}html{scroll-padding-top:1rem}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:56rem;margin:0 auto;padding:1.5rem 1rem 5rem}
h1{font-size:1.7rem;margin:.2rem 0}h2{margin:2.2rem 0 .6rem;font-size:1.25rem}
h3{margin:1.4rem 0 .4rem;font-size:1rem}h4{margin:1rem 0 .3rem;font-size:.9rem;color:var(--dim)}
a{color:var(--link)}p{margin:.4rem 0}
code{font:.88em ui-monospace,SFMono-Regular,Menlo,monospace;background:var(--soft);
border-radius:4px;padding:.1em .3em;overflow-wrap:anywhere}
nav{display:flex;flex-wrap:wrap;gap:.3rem .9rem;margin:1rem 0}
details{border:1px solid var(--line);border-radius:8px;margin:.5rem 0;background:var(--page)}
summary{cursor:pointer;padding:.6rem .8rem;display:flex;flex-wrap:wrap;gap:.2rem .7rem;
align-items:baseline;border-radius:8px}
summary:hover{background:var(--soft)}summary code{background:none;padding:0;font-size:.95rem}
summary:focus-visible,a:focus-visible{outline:2px solid var(--link);outline-offset:2px}
.inside{padding:.1rem .9rem .9rem;border-top:1px solid var(--line)}
.verb{font:600 .78rem ui-monospace,monospace;min-width:3.6rem;color:var(--get)}
.verb.post,.verb.put{color:var(--put)}.verb.delete{color:var(--del)}
.dim{color:var(--dim)}
dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.3rem 1rem;margin:.3rem 0}
dt{font-weight:500}dd>p:first-child{margin-top:0}dd{margin:0;min-width:0;overflow-wrap:anywhere}
@media(max-width:36rem){dl{grid-template-columns:1fr;gap:0}dd{margin:0 0 .5rem .8rem}}
"""


def html_page(document: Mapping[str, Any]) -> str:
    """Every operation by its subject, then every schema."""
    info = document["info"]
    schemas = document["components"]["schemas"]
    tags = [tag["name"] for tag in document["tags"]]
    links = "".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in tags)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(info['title'])} HTTP</title><style>{STYLE}</style><main>"
        f'<h1>{escape(info["title"])} <span class="dim">{escape(info["version"])}</span></h1>'
        f"{_text(info['description'])}"
        f'<nav>{links}<a href="#types">types</a><a href="/openapi.json">openapi.json</a>'
        '<a href="/asyncapi.json">asyncapi.json</a></nav>'
        f"{''.join(_section(document, tag) for tag in tags)}"
        f'<h2 id="types">types</h2>{"".join(_schema(n, s) for n, s in schemas.items())}'
        "</main></html>"
    )


def _section(document: Mapping[str, Any], tag: str) -> str:
    rows = [
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if tag in operation["tags"]
    ]
    return f'<h2 id="{escape(tag)}">{escape(tag)}</h2>{"".join(rows)}'


def _operation(method: str, path: str, shown: Mapping[str, Any]) -> str:
    parts = [_text(shown.get("description", ""))]
    if parameters := shown.get("parameters"):
        rows = ((_parameter(one), _text(one["description"])) for one in parameters)
        parts += ["<h4>parameters</h4>", _list(rows)]
    if body := shown.get("requestBody"):
        parts += ["<h4>body</h4>", _contents(body["content"])]
    parts.append("<h4>answers</h4>")
    answers = shown["responses"].items()
    parts.append(_list((f"<code>{status}</code>", _answer(one)) for status, one in answers))
    return (
        f'<details id="{escape(shown["operationId"])}"><summary>'
        f'<span class="verb {method}">{method.upper()}</span><code>{escape(path)}</code>'
        f'<span class="dim">{escape(shown["summary"])}</span></summary>'
        f'<div class="inside">{"".join(parts)}</div></details>'
    )


def _parameter(one: Mapping[str, Any]) -> str:
    return f"<code>{escape(one['name'])}</code> {_kind(one['schema'])}"


def _answer(one: Mapping[str, Any]) -> str:
    if "application/problem+json" in one.get("content", {}):
        return _text(one["description"])
    return _text(one["description"]) + _contents(one.get("content", {}))


def _contents(contents: Mapping[str, Any]) -> str:
    return "".join(
        f"<p><code>{escape(media)}</code> {_kind(content['schema'])}</p>"
        for media, content in contents.items()
    )


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = (
        (
            f"<code>{escape(field)}</code>" + ("" if field in required else " "),
            f"{_kind(kind)}{_default(field, kind, required)}{_text(kind.get('description', ''))}",
        )
        for field, kind in schema.get("properties", {}).items()
    )
    about = _text(schema.get("description", ""))
    return f'<h3 id="type-{escape(name)}">{escape(name)}</h3>{about}{_list(rows)}'


def _default(field: str, kind: Mapping[str, Any], required: Iterable[str]) -> str:
    if field in required:
        return ""
    default = kind.get("default")
    words = "optional" if default is None else f"{default!r} if absent"
    return f' <span class="dim">{escape(words)}</span>'


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a word or two."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#type-{escape(name)}">{escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    words = schema.get("format") or schema.get("type") or "any JSON"
    return f'<span class="dim">{escape(str(words))}</span>'


def _list(rows: Iterable[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{left}</dt><dd>{right}</dd>' for left, right in rows)}</dl>"


def _text(text: str) -> str:
    """A little Markdown: paragraphs and code."""
    paragraphs = (part for part in text.split("\n\n") if part)
    coded = (re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(part)) for part in paragraphs)
    return "".join(f"<p>{part}</p>" for part in coded)
