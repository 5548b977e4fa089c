"""What a store costs over copying a file: large blobs, small blobs, and the S3 stand-in beside them.

The floors are a copy that is not hashed, a copy that is, with and without fsync, and for small blobs the least that is
durable. It needs three times as much room as the large blob in the temporary folder.
Run: .venv/bin/python benchmarks/store.py [MEGABYTES]
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sterling.core.connect import connect_store
from sterling.core.refs import Ref, ref_of_file
from sterling.core.store import LocalStore

ROUNDS = 5
SMALL = 400
CLOUD_MEGABYTES = 64
CHUNK = 1 << 18  # the fastest of 64 kB to 4 MB for the plain copy, too


def random_file(path: Path, megabytes: int) -> None:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1 << 20))


def copy_with_sha256(source: Path, target: Path, *, fsync: bool) -> str:
    """What anybody would write: read, hash, write."""
    sha = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(CHUNK):
            sha.update(chunk)
            writer.write(chunk)
        if fsync:
            writer.flush()
            os.fsync(writer.fileno())
    return sha.hexdigest()


def read_all(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(CHUNK):
            pass


def in_turns(actions: dict[str, Callable[[], object]], between: Callable[[], object]) -> dict[str, float]:
    """Least seconds of each action: what disturbs it only adds, and comes in turns to all of them."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(ROUNDS):
        for name, action in actions.items():
            between()
            started = time.perf_counter()
            action()
            times[name].append(time.perf_counter() - started)
    return {name: min(values) for name, values in times.items()}


def show(title: str, figures: dict[str, float], *floors: str, unit: str = "s", scale: float = 1.0) -> None:
    print(f"\n{title}")
    for name, figure in figures.items():
        ratios = "".join(f"{figure / figures[floor]:>7.2f}x" for floor in floors)
        print(f"  {name:<46}{figure * scale:>9.3f} {unit} {ratios}")
    print(f"  the ratios are to: {', '.join(floors)}")


def large(folder: Path, megabytes: int) -> None:
    source, copy, root = folder / "source", folder / "copy", folder / "store"
    random_file(source, megabytes)
    store = LocalStore(root)

    def put() -> Ref:
        with source.open("rb") as stream:
            return store.put(stream)

    def clear() -> None:
        copy.unlink(missing_ok=True)
        for held in store.list():
            store.delete(held)

    ref = put()
    if not f"sha256:{copy_with_sha256(source, copy, fsync=False)}" == ref == ref_of_file(store.open(ref)):
        raise SystemExit("The store holds other bytes than the file.")
    show(
        f"Putting {megabytes:,} MB that are in the page cache (best of {ROUNDS}, in turns)",
        in_turns(
            {
                "shutil.copyfile": lambda: shutil.copyfile(source, copy),
                "plain copy with sha256": lambda: copy_with_sha256(source, copy, fsync=False),
                "plain copy with sha256, fsync": lambda: copy_with_sha256(source, copy, fsync=True),
                "sterling: put, durable": put,
            },
            clear,
        ),
        "plain copy with sha256", "plain copy with sha256, fsync",
    )  # fmt: skip
    clear()
    put()
    show(
        f"Getting {megabytes:,} MB that are in the page cache",
        in_turns(
            {
                "shutil.copyfile": lambda: shutil.copyfile(source, copy),
                "plain copy with sha256": lambda: copy_with_sha256(source, copy, fsync=False),
                "sterling: open, then read all": lambda: read_all(store.open(ref)),
                "sterling: intact (read and check)": lambda: store.intact(ref),
            },
            lambda: copy.unlink(missing_ok=True),
        ),
        "plain copy with sha256",
    )  # fmt: skip


def small(folder: Path) -> None:
    store = LocalStore(folder / "store")
    (folder / "floor").mkdir()

    def floor(*, sync_folder: bool) -> None:
        handle = os.open(folder / "floor", os.O_RDONLY)
        for n in range(SMALL):
            data = os.urandom(1000)
            with (folder / "floor" / "incoming").open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            (folder / "floor" / "incoming").rename(folder / "floor" / f"{n}")
            if sync_folder:
                os.fsync(handle)
        os.close(handle)

    def again() -> None:
        for _ in range(SMALL):
            store.put(io.BytesIO(b"the same" * 125))

    show(
        f"Putting {SMALL} blobs of 1 kB, each",
        {
            name: seconds / SMALL
            for name, seconds in in_turns(
                {
                    "open, write, fsync, rename": lambda: floor(sync_folder=False),
                    "open, write, fsync, rename, fsync the folder": lambda: floor(sync_folder=True),
                    "sterling: put, durable": lambda: [store.put(io.BytesIO(os.urandom(1000))) for _ in range(SMALL)],
                    "sterling: put what is held already": again,
                },
                lambda: None,
            ).items()
        },
        "open, write, fsync, rename", "open, write, fsync, rename, fsync the folder",
        unit="ms", scale=1000,
    )  # fmt: skip


@contextmanager
def stand_in() -> Iterator[None]:
    """A server of moto's in a process of its own, and an environment that leads to it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def cloud(folder: Path) -> None:
    import boto3
    from s3fs import S3FileSystem

    source, copy = folder / "source", folder / "copy"
    random_file(source, CLOUD_MEGABYTES)
    os.environ["STERLING_CACHE"] = str(folder / "cache")
    with stand_in():
        boto3.client("s3").create_bucket(Bucket="benchmark")
        plain, store = S3FileSystem(use_listings_cache=False), connect_store("s3://benchmark/store")
        with source.open("rb") as stream:
            ref = store.put(stream)

        def put() -> None:
            with source.open("rb") as stream:
                store.put(stream)

        def clear() -> None:
            store.delete(ref)
            copy.unlink(missing_ok=True)

        def forget() -> None:
            copy.unlink(missing_ok=True)
            shutil.rmtree(folder / "cache")
            connect_store("s3://benchmark/store")

        def plain_put() -> None:
            ref_of_file(source)
            plain.put_file(str(source), "benchmark/plain")

        def plain_get() -> None:
            plain.get_file("benchmark/plain", str(copy))
            ref_of_file(copy)

        puts = in_turns({"s3fs put_file and sha256": plain_put, "sterling: put": put}, clear)
        if ref_of_file(store.open(ref)) != ref or not store.intact(ref):
            raise SystemExit("The stand-in holds other bytes than the file.")
        show(f"Putting {CLOUD_MEGABYTES} MB to moto, a stand-in for S3", puts, "s3fs put_file and sha256")
        gets = in_turns(
            {"s3fs get_file and sha256": plain_get, "sterling: open, nothing in the cache": lambda: store.open(ref)},
            forget,
        )
        show(f"Getting {CLOUD_MEGABYTES} MB from it", gets, "s3fs get_file and sha256")


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for part in (lambda folder: large(folder, megabytes), small, cloud):
        with tempfile.TemporaryDirectory() as folder:
            part(Path(folder))


if __name__ == "__main__":
    main()
