"""Commands of a team and of its ledgers: push a chain, back it up, bring it back; and looks at several, at the past, at what comes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sterling.cli.options import AsJson, ProjectFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sterling.core.backup import Restored
    from sterling.core.evidence import Entry, Query
    from sterling.core.history import Place
    from sterling.core.ledger import ChainInfo, Ledger
    from sterling.core.push import Observe, Pushed
    from sterling.core.verify import Cited
    from sterling.core.witness import HeadVerdict
    from sterling.views.chains import ChainRow

_AGAIN_SECONDS = 1.0
_A_MOMENT_SECONDS = 1.0
_LISTED = 10


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (push, backup, restore):
        app.command()(command)


def push(
    to: Annotated[str, typer.Option("--to", metavar="URL", help="The ledger to push to.")],
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="URL", help="The store to push to.", show_default="what STERLING_STORE says"),
    ] = None,
    project: ProjectFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Copy the project's chain into another ledger, and what it cites into another store."""
    import os

    from sterling.cli.evidence import ledger_of
    from sterling.core.connect import connect_ledger, connect_store
    from sterling.core.errors import InvalidDefinitionError
    from sterling.core.ledger import chained
    from sterling.core.push import push as push_chain
    from sterling.core.workspace import Workspace

    if store is None and not os.environ.get("STERLING_STORE"):
        raise InvalidDefinitionError(
            "--store says where the bytes go that the chain cites, such as --store file:/srv/team/store. It may be "
            "left out only where STERLING_STORE names a store that both ledgers share."
        )
    ledger, own = ledger_of(project), Workspace(project).store()
    chain = chained(ledger).chain
    copy = connect_ledger(to, chain.project, chain=chain._replace(copied=True))
    with _progress(quiet=as_json) as observe:
        done = push_chain(ledger, own, copy, connect_store(store) if store else own, observe=observe)
    _end(done, "copy", as_json=as_json)


def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the backup lies, or is to lie.")],
    project: ProjectFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Bring a backup up to date: the chain and every blob that it cites, while runs may go on."""
    from sterling.cli.evidence import ledger_of
    from sterling.core.backup import backup as back_up
    from sterling.core.workspace import Workspace

    workspace = Workspace(project)
    with _progress(quiet=as_json) as observe:
        done = back_up(ledger_of(project), workspace.store(), folder, heads=workspace.home / "heads", observe=observe)
    _end(done, "backup", as_json=as_json)


def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The backup.")],
    project: ProjectFolder = Path(),
    chain: Annotated[
        str | None, typer.Option("--chain", metavar="ID", help="Which chain, where the backup holds several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a chain and its blobs back from a backup, and prove that they are what was backed up."""
    from sterling.cli.console import print_json
    from sterling.core.backup import bring_head_back
    from sterling.core.backup import restore as bring_back
    from sterling.core.connect import connect_ledger
    from sterling.core.ledger import chained
    from sterling.core.witness import Heads
    from sterling.core.workspace import Workspace

    workspace, wanted = Workspace(project), _wanted(folder, project, chain)
    with _progress(quiet=as_json) as observe:
        found = bring_back(folder, wanted, workspace.url, workspace.store(), observe=observe)
    head = None
    if not found.refused:
        ledger = connect_ledger(workspace.url, wanted.project, chain=found.chain)
        head = bring_head_back(chained(ledger), workspace.heads(), Heads(folder / "heads", workspace.key_file()))
    if as_json:
        moved = str(found.moved) if found.moved else None
        witnessed = {"state": head.state, "reason": head.reason} if head else None
        said = {**asdict(found), "chain": found.chain._asdict(), "moved": moved, "head": witnessed}
        print_json({"proven": found.proven, **said})
    else:
        _say(_restored(found))
        _say(_lost(head, workspace.home / "heads" / found.chain.id) if head else ())
    raise typer.Exit(0 if found.proven and (head is None or head.holds) else 1)


def show_all(folder: Path, url: str | None, *, as_json: bool) -> None:
    """List every chain of a ledger."""
    from sterling.cli.console import print_json, show
    from sterling.core.connect import list_chains
    from sterling.core.workspace import Workspace
    from sterling.views import chains as view

    url = Workspace(folder, url).url
    rows = [_row(url, chain) for chain in list_chains(url)]
    if as_json:
        print_json(rows)
    elif rows:
        show(view.render(rows))
    else:
        print("The ledger holds no chain yet. `sterling run` begins one.", file=sys.stderr)


def show_then(ledger: Ledger, at: str, *, as_json: bool) -> None:
    """Say what was live at a moment, by whom and on which evidence, without reading the chain."""
    from sterling.cli.console import print_json, show
    from sterling.core.history import entry_at
    from sterling.decisions.release import evidence_of_release
    from sterling.views import then as view

    place = place_of(ledger, at)
    last = entry_at(ledger, place.position) if place.position else None
    found = view.then(place, last, evidence_of_release(ledger, place.position))
    if as_json:
        print_json(found)
    else:
        show(view.render(found))


def place_of(ledger: Ledger, at: str) -> Place:
    """The place in a chain that a position or a time names.

    Raises:
        InvalidDefinitionError: if it names none.
    """
    from datetime import datetime

    from sterling.core.errors import InvalidDefinitionError
    from sterling.core.history import Place, position_at
    from sterling.core.ledger import head_of

    position = at.removeprefix("#")
    if position.isdecimal():
        if int(position) > (head := head_of(ledger)):
            raise InvalidDefinitionError(f"There is no entry {position}: the ledger ends with entry {head}.")
        return Place(int(position), int(position))
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        what = "is neither a position nor an ISO 8601 time" if moment is None else "is a time without a zone"
        raise InvalidDefinitionError(f"--at {at!r} {what}. Write a position such as 42, or 2026-01-31T12:00:00Z.")
    return position_at(ledger, moment)


def follow_log(ledger: Ledger, query: Query, *, last: int | None, as_json: bool) -> None:
    """Print entries, and then those that come, a line each, until the reader has enough."""
    import os
    from itertools import chain

    from sterling.cli.evidence import entry_as_json
    from sterling.core.ledger import head_of
    from sterling.views.log import line

    until = head_of(ledger)
    there = ledger.read(query, until=until)
    if last is not None:
        there = reversed(tuple(islice(ledger.read(query, until=until, newest_first=True), last)))
    try:
        for entry in chain(there, _coming(ledger, query, until)):
            print(json.dumps(entry_as_json(entry), ensure_ascii=False) if as_json else line(entry), flush=True)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except BrokenPipeError:  # as `sterling log --follow | head` ends; nothing is left to be flushed at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def _check_reader() -> None:
    """Notice where a pipe has lost its reader, though nothing is written to it.

    Raises:
        BrokenPipeError: if it has.
    """
    import select

    poll = select.poll()
    poll.register(sys.stdout, 0)  # errors alone
    if any(event & select.POLLERR for _, event in poll.poll(0)):
        raise BrokenPipeError


def _coming(ledger: Ledger, query: Query, after: int) -> Iterator[Entry]:
    """What is recorded from now on; a ledger that cannot be read for a while is asked again."""
    from sterling.core.errors import StorageError
    from sterling.core.ledger import follow

    trouble = ""
    while True:
        try:
            for entry in follow(ledger, query, after=after, idle=_check_reader):
                yield entry
                after, trouble = entry.position, ""
        except StorageError as error:
            if str(error) != trouble:
                trouble = str(error)
                print(f"sterling: {trouble} Trying again.", file=sys.stderr, flush=True)
            time.sleep(_AGAIN_SECONDS)


def _wanted(folder: Path, project: Path, named: str | None) -> ChainInfo:
    """The chain of a backup that is asked for: by the beginning of its id, else by the project."""
    from sterling.core.backup import backed_up
    from sterling.core.errors import InvalidDefinitionError
    from sterling.project.load import FILE, load_project

    chains = backed_up(folder)
    if named:
        found = [chain for chain in chains if chain.id.startswith(named)]
    elif (project / FILE).is_file():
        name = load_project(project).name
        found = [chain for chain in chains if chain.project == name]
    else:
        found = list(chains)
    if len(found) != 1:
        known = ", ".join(f"{chain.id} ({chain.project})" for chain in chains[:_LISTED])
        raise InvalidDefinitionError(
            f"The backup holds {len(found) or 'no'} such chains. Name one with --chain: {known}."
        )
    return found[0]


def _row(url: str, chain: ChainInfo) -> ChainRow:
    from sterling.core.connect import connect_ledger
    from sterling.core.errors import NewerKindError, TamperedLedgerError
    from sterling.core.evidence import Query
    from sterling.views.chains import KINDS, chain_row, unreadable

    ledger = connect_ledger(url, chain.project, chain=chain)
    try:
        queries = [Query(), *(Query((kind,)) for kind in KINDS)]
        found = [entry for query in queries for entry in islice(ledger.read(query, newest_first=True), 1)]
    except (NewerKindError, TamperedLedgerError) as error:
        return unreadable(chain, str(error))
    return chain_row(chain, found)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Observe]:
    """Show how far a copy has come, on a terminal, once it takes longer than a moment."""
    from sterling.cli.console import console
    from sterling.core.push import Progress, ignore

    screen = console(stderr=True)
    if quiet or not screen.is_terminal:
        yield ignore
        return
    from rich import progress

    from sterling.views.text import plural, size

    columns = (progress.BarColumn(), progress.TextColumn("{task.description}"), progress.TimeRemainingColumn())
    bar = progress.Progress(*columns, console=screen, transient=True)
    task, begun = bar.add_task("", total=None), time.monotonic()

    def observe(step: Progress) -> None:
        said = f"{step.entries:,} of {plural(step.of, 'entry', 'entries')}, {plural(step.blobs, 'blob')}, {size(step.bytes)}"
        bar.update(task, completed=step.entries, total=step.of, description=said)
        if time.monotonic() - begun > _A_MOMENT_SECONDS:
            bar.start()

    try:
        yield observe
    finally:
        bar.stop()


def _end(done: Pushed, what: str, *, as_json: bool) -> None:
    """Say what a push or a backup did, and exit."""
    from sterling.cli.console import print_json

    if as_json:
        print_json({"whole": done.whole, **asdict(done), "chain": done.chain._asdict()})
    else:
        _say(_copied(done, what))
    raise typer.Exit(0 if done.whole else 1)


def _copied(done: Pushed, what: str) -> Iterator[str]:
    from sterling.views.text import plural, size

    entries, blobs = plural(done.entries, "entry", "entries"), plural(done.held + done.blobs, "blob")
    if done.refused:
        yield f"Refused at entry {done.refused.position}: {done.refused.reason}."
    elif done.entries == 0:
        yield "Nothing is recorded yet. `sterling run` records something."
    elif not done.new and not done.blobs:
        yield f"Nothing to do: the {what} has all {entries}, and {blobs} that they cite."
    if done.new or done.blobs:
        yield f"Copied {plural(done.new, 'entry', 'entries')} and {plural(done.blobs, 'blob')}, {size(done.bytes)}."
        yield f"The {what} has {entries}; the last has the digest"
        yield done.digest
    if done.missing:
        yield f"{plural(len(done.missing), 'blob')} that they cite {_are(done.missing)} in neither store. A run makes them again."
    for cited in done.altered:
        yield f"Altered: {cited.ref}, which entry {cited.position} cites, has other bytes than its name says. It was not copied."


def _restored(found: Restored) -> Iterator[str]:
    from sterling.views.text import plural

    if found.refused:
        yield f"Nothing was restored. Entry {found.refused.position}: {found.refused.reason}."
        return
    if found.damaged:
        yield f"The ledger was damaged: {found.damaged}."
        yield "Its file is kept as"
        yield str(found.moved)
    chain = found.chain
    entries, blobs = plural(found.new, "entry", "entries"), plural(found.blobs, "blob")
    back = f"{entries} and {blobs} came back" if found.new or found.blobs else "nothing was missing"
    yield f"Chain {chain.id} of {chain.project}: {back}."
    if found.later:
        yield f"{plural(found.later, 'later entry', 'later entries')} of the damaged file, following the backup's last, came back too."
    if found.left:
        yield f"{plural(found.left, 'more')} that can be read in it do not follow, and are only there."
    yield f"The last entry of the backup, {found.entries - found.later}, has the digest"
    yield found.digest
    yield f"{'and so has' if found.same else 'but not'} entry {found.entries - found.later} of the ledger."
    if found.broken:
        yield f"Broken at entry {found.broken.position}: {found.broken.reason}."
    else:
        yield f"All {plural(found.entries, 'entry', 'entries')} hold; {plural(found.checked, 'blob')} are what their names say."
    if found.missing:
        yield f"{plural(len(found.missing), 'blob')} that they cite {_are(found.missing)} neither there nor in the backup. A run makes them again."
    for cited in found.altered:
        yield f"Altered: {cited.ref}, which entry {cited.position} cites, has other bytes than its name says."


def _lost(head: HeadVerdict, path: Path) -> Iterator[str]:
    """What a witnessed head says about a ledger that was restored."""
    if head.state != "none":
        yield head.reason
    if head.state == "cut":
        yield "If those are lost for good, delete the head that saw them; the next append writes a new one:"
        yield str(path)


def _are(cited: Sequence[Cited]) -> str:
    return "is" if len(cited) == 1 else "are"


def _say(lines: Iterable[str]) -> None:
    from rich.text import Text

    from sterling.cli.console import show

    for line in lines:
        if " " in line:
            show(Text(line))
        else:
            print(line)  # a digest or a path, whole
