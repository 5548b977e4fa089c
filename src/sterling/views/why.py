"""Why: the evidence behind a statement, as a tree that ends at raw files and the project's definition."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sterling.core.errors import SterlingError
from sterling.core.evidence import Entry
from sterling.views.facts import latest_run
from sterling.views.lineage import Lineage, Node, plain
from sterling.views.registry import live, versions
from sterling.views.text import cite

if TYPE_CHECKING:
    from rich.tree import Tree

__all__ = ["Node", "UnknownQuestionError", "render", "why"]

_FORMS = {
    "release": "the version that takes all traffic",
    "version:N": "a registered version",
    "verdict": "every gate of the last run",
    "gate:TITLE": "a gate, by its title or its type",
    "metric:NAME": "a metric of the last candidate",
    "feature:NAME": "a feature",
    "source:NAME": "a source",
    "'#N'": "the entry at a position",
    "sha256:…": "bytes in the store, by the beginning of their ref",
}


class UnknownQuestionError(SterlingError, ValueError):
    """The ledger has no answer to a question, or cannot tell what is asked."""


def why(entries: Iterable[Entry], question: str) -> Node:
    """The evidence behind a statement.

    Args:
        entries: The ledger, oldest first.
        question: ``release``, ``version:3``, ``verdict``, ``gate:AtMost``, ``metric:roc_auc``, ``feature:distance``,
            ``source:weather``, a position (``#42``), or the beginning of a ref.

    Raises:
        UnknownQuestionError: if there is no answer; it lists what this ledger can be asked.
    """
    chain = tuple(entries)
    form, _, name = question.partition(":")
    found = _answer(chain, form, name, question)
    if not found:
        raise UnknownQuestionError(_asked(chain, question))
    if len(found) == 1:
        return Lineage(chain).explain(found[0])
    lineage = Lineage(chain)
    return Node(question, None, tuple(lineage.explain(entry) for entry in found))


def render(node: Node) -> Tree:
    """An answer for a terminal, positions first."""
    from rich.text import Text
    from rich.tree import Tree

    def grow(tree: Tree, below: Node) -> None:
        branch = tree.add(Text(_labelled(below)))
        for child in below.children:
            grow(branch, child)

    root = Tree(Text(_labelled(node), style="bold"), guide_style="dim")
    for child in node.children:
        grow(root, child)
    return root


def _labelled(node: Node) -> str:
    return node.text if node.position is None else f"{cite(node.position)} {node.text}"


def _answer(chain: tuple[Entry, ...], form: str, name: str, question: str) -> list[Entry]:
    found: list[Entry]
    match form:
        case "release":
            current = live(chain)
            found = _at(chain, current.released if current else None)
        case "version":
            known = [v for v in versions(chain) if str(v.version) == name]
            found = _at(chain, (known[0].released or known[0].registered) if known else None)
        case "verdict" | "gate":
            found = _gates(chain, name)
        case "metric":
            found = _metric(chain, name)
        case "feature":
            found = _newest_of(chain, f"feature:{name}") + _built(chain, name)
        case "source":
            found = _newest_of(chain, f"source:{name}")
        case _:
            found = _place_or_ref(chain, question)
    return found


def _place_or_ref(chain: tuple[Entry, ...], question: str) -> list[Entry]:
    position = question.lstrip("#")
    found = _at(chain, int(position)) if position.isdecimal() else []
    return found or _ref(chain, f"sha256:{question.removeprefix('sha256:')}")


def _at(chain: tuple[Entry, ...], position: int | None) -> list[Entry]:
    return [entry for entry in chain if entry.position == position]


def _gates(chain: tuple[Entry, ...], name: str) -> list[Entry]:
    run = latest_run(chain)
    judged = run.of("gate.judged") if run else ()
    return [e for e in judged if not name or plain(name) in {plain(e.body["title"]), plain(e.body["gate"]["type"])}]


def _metric(chain: tuple[Entry, ...], name: str) -> list[Entry]:
    run = latest_run(chain)
    facts = run.of("metric.measured", "metric.compared") if run else ()
    own = (e for e in facts if run and e.body["model"] == run.candidate and e.body["metric"] == name)
    return [entry for entry in own if not entry.body.get("slice")]


def _newest_of(chain: tuple[Entry, ...], subject: str) -> list[Entry]:
    found = {entry.kind: entry for entry in chain if subject in entry.evidence.subjects}
    return list(found.values())


def _built(chain: tuple[Entry, ...], name: str) -> list[Entry]:
    built = [e for e in chain if e.kind == "features.built" and name in {f["name"] for f in e.body["features"]}]
    return built[-1:]


def _ref(chain: tuple[Entry, ...], prefix: str) -> list[Entry]:
    """The entry that says where the bytes come from, if the prefix names one ref."""
    if len(prefix) < len("sha256:") + 6:
        return []
    sources = Lineage(chain).sources_of_refs()
    found = {ref: entry for ref, entry in sources.items() if ref.startswith(prefix)}
    if len(found) > 1:
        raise UnknownQuestionError(f"{prefix!r} begins {len(found)} refs: {', '.join(sorted(found)[:4])}. Give more.")
    return list(found.values())


def _asked(chain: tuple[Entry, ...], question: str) -> str:
    examples = _examples(chain)
    if not examples:
        return f"The ledger cannot answer {question!r}: it holds no evidence yet. `sterling run` records some."
    forms = "\n".join(f"  {form:<14} {meaning}" for form, meaning in _FORMS.items())
    lines = "\n".join(f"  sterling why {example}" for example in examples)
    return f"The ledger cannot answer {question!r}. It can be asked:\n{forms}\nSuch as:\n{lines}"


def _examples(chain: tuple[Entry, ...]) -> list[str]:
    """One question of each form that this ledger can answer."""
    found: dict[str, str] = {}
    for entry in chain:
        body = entry.body
        match entry.kind:
            case "version.released":
                found["release"] = "release"
            case "model.registered":
                found["version"] = f"version:{body['version']}"
                found["ref"] = body["model"][: len("sha256:") + 12]
            case "gate.judged":
                found["verdict"], found["gate"] = "verdict", f"gate:{body['gate']['type']}"
            case "metric.measured":
                found["metric"] = f"metric:{body['metric']}"
            case "features.built":
                found["feature"] = f"feature:{body['features'][0]['name']}"
            case "data.snapshotted":
                found["source"] = f"source:{body['source']}"
            case _:
                found["position"] = f"'#{entry.position}'"
    return list(found.values())
