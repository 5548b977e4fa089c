"""The cloud store over real HTTP on loopback.

The server is moto's, a stand-in for S3: what it shows of requests, failures and listings is how the store behaves, not
how a cloud does. Google Cloud Storage and Azure share all of the code but the library below fsspec, and do not run here.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import signal
import subprocess
import sys
import traceback
import urllib.request
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

from sterling.adapters.cloud_store import CloudStore
from sterling.core.connect import connect_store
from sterling.core.errors import InvalidDefinitionError, MissingExtraError, StorageError, TamperedLedgerError
from sterling.core.refs import Ref, ref_of
from sterling.core.store import Store
from sterling.testing import StoreContract
from tests.adapters.proxy import Proxy
from tests.cli.conftest import sterling
from tests.lifecycle.small import write_project

NUMBERS = count()
PUT = """
import io, sys
from sterling.core.connect import connect_store
store = connect_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for n in range(int(sys.argv[2])):
    store.put(io.BytesIO(n.to_bytes(4, "big") * int(sys.argv[3])))
"""
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    yield moto.get_host_and_port()
    moto.stop()


@pytest.fixture(scope="module")
def s3(server: tuple[str, int]) -> Iterator[Any]:
    """The server behind no proxy, as somebody sees it who looks there directly."""
    resource = boto3.resource(
        "s3", endpoint_url=f"http://{server[0]}:{server[1]}", region_name="us-east-1",
        aws_access_key_id="test", aws_secret_access_key="test",
    )  # fmt: skip
    yield resource
    resource.meta.client.close()


@pytest.fixture
def environment(server: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    named = {
        "AWS_ENDPOINT_URL": f"http://{server[0]}:{server[1]}",
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "STERLING_CACHE": str(tmp_path / "cache"),
    }
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    return named


@pytest.fixture
def bucket(s3: Any) -> Any:
    return s3.create_bucket(Bucket=f"bucket-{next(NUMBERS)}")


@pytest.fixture
def url(bucket: Any, environment: dict[str, str]) -> str:
    return f"s3://{bucket.name}/team/store"


@pytest.fixture
def network(server: tuple[str, int], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with Proxy(*server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Names of caches that are empty yet, one for each use."""
    return (f"{tmp_path}/cache-{n}" for n in count())


def key_of(ref: Ref) -> str:
    name = ref.removeprefix("sha256:")
    return f"team/store/{name[:2]}/{name[2:]}"


def objects(bucket: Any) -> list[str]:
    return [item.key for item in bucket.objects.all()]


def unfinished(bucket: Any) -> int:
    return len(list(bucket.multipart_uploads.all()))


def copies(folder: str) -> list[Path]:
    return [path for path in Path(folder).glob("*/*/*") if path.is_file()]


class TestCloudStore(StoreContract):
    @pytest.fixture
    def store(self, url: str, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Store:
        self.bucket = bucket
        monkeypatch.delenv("AWS_MAX_ATTEMPTS")  # moto fails now and then where two put the same object at once
        return connect_store(url)

    def alter(self, store: Store, ref: Ref, data: bytes) -> None:
        self.bucket.put_object(Key=key_of(ref), Body=data)


def test_an_object_lies_under_the_prefix_as_a_file_does_in_a_local_store(url: str, bucket: Any) -> None:
    ref = connect_store(url).put(io.BytesIO(b"weights"))
    assert objects(bucket) == [key_of(ref)]


def test_a_bucket_without_a_prefix_is_a_store_too(bucket: Any, environment: dict[str, str]) -> None:
    bucket.put_object(Key="readme.txt", Body=b"not ours")
    store = connect_store(f"s3://{bucket.name}")
    ref = store.put(io.BytesIO(b"weights"))
    assert list(store.list()) == [ref]
    assert store.intact(ref)


def test_bytes_are_read_from_the_cloud_once(
    url: str, bucket: Any, cold: Iterator[str], environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = connect_store(url).put(io.BytesIO(b"weights"))
    monkeypatch.setenv("STERLING_CACHE", next(cold))
    path = connect_store(url).open(ref)
    bucket.delete_objects(Delete={"Objects": [{"Key": key_of(ref)}]})
    assert connect_store(url).open(ref) == path
    assert path.read_bytes() == b"weights"
    assert path.stat().st_mode & 0o222 == 0


def test_a_corrupted_object_is_found_when_it_is_opened(
    url: str, bucket: Any, cold: Iterator[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = connect_store(url).put(io.BytesIO(b"weights"))
    bucket.put_object(Key=key_of(ref), Body=b"weightz")
    monkeypatch.setenv("STERLING_CACHE", cache := next(cold))
    store = connect_store(url)
    for _ in range(2):
        with pytest.raises(TamperedLedgerError, match=f"{key_of(ref)} has other bytes than its name says. Delete it"):
            store.open(ref)
    assert copies(cache) == []
    store.delete(ref)
    store.put(io.BytesIO(b"weights"))
    assert store.open(ref).read_bytes() == b"weights"


def test_large_blobs_travel_in_parts(
    url: str, bucket: Any, cold: Iterator[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(40 << 20)
    ref = connect_store(url).put(io.BytesIO(data))
    assert bucket.Object(key_of(ref)).e_tag.endswith('-3"')
    monkeypatch.setenv("STERLING_CACHE", next(cold))
    store = connect_store(url)
    assert store.intact(ref)
    assert store.open(ref).read_bytes() == data


def test_more_objects_than_one_answer_holds_are_listed(url: str, bucket: Any) -> None:
    refs = {ref_of(n.to_bytes(4, "big")) for n in range(1100)}
    for key in (*map(key_of, refs), "team/store/readme.txt"):
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket.name, key, b"")
    found = list(connect_store(url).list())
    assert len(found) == 1100
    assert set(found) == refs


def test_processes_that_put_the_same_bytes_at_once_agree(
    url: str, cold: Iterator[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    shared, own = next(cold), next(cold)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PUT, url, "10", "50000"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"STERLING_CACHE": cache},
        )
        for cache in (shared, shared, own)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout
        process.stdout.readline()
    for process in processes:
        process.communicate("\n")
    store = connect_store(url)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(store.list()) == sorted(ref_of(n.to_bytes(4, "big") * 50_000) for n in range(10))
    assert all(store.intact(ref) for ref in store.list())


@pytest.mark.parametrize("after", [0, 1, 300, 900, 5_000, 65_536, 99_000])
def test_a_network_that_fails_while_putting_leaves_nothing(
    network: Proxy, url: str, bucket: Any, environment: dict[str, str], after: int
) -> None:
    store, data = connect_store(url), os.urandom(100_000)
    network.sent = after
    with pytest.raises(StorageError, match=rf"^{url} cannot be used: .* Nothing was recorded half"):
        store.put(io.BytesIO(data))
    assert objects(bucket) == []
    assert copies(environment["STERLING_CACHE"]) == []
    network.sent = None
    assert store.open(store.put(io.BytesIO(data))).read_bytes() == data


@pytest.mark.parametrize("after", [500, 1_000_000, 11_000_000, 16_000_000])
def test_a_network_that_goes_down_between_parts_leaves_nothing_that_is_listed(
    network: Proxy, url: str, bucket: Any, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr("sterling.adapters.cloud_store._PART", 5 << 20)
    store, data = connect_store(url), os.urandom(16 << 20)
    network.sent_in_all = after
    with pytest.raises(StorageError, match="cannot be used"):
        store.put(io.BytesIO(data))
    assert objects(bucket) == []
    assert copies(environment["STERLING_CACHE"]) == []
    network.sent_in_all = None
    assert list(store.list()) == []
    assert store.intact(store.put(io.BytesIO(data)))


def test_an_upload_whose_parts_do_not_arrive_is_taken_back(
    network: Proxy, url: str, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sterling.adapters.cloud_store._PART", 5 << 20)
    store, data = connect_store(url), os.urandom(16 << 20)
    network.sent = 1_000_000
    with pytest.raises(StorageError, match="cannot be used"):
        store.put(io.BytesIO(data))
    assert (objects(bucket), unfinished(bucket)) == ([], 0)
    network.sent = None
    assert store.intact(store.put(io.BytesIO(data)))


@pytest.mark.parametrize("after", [0, 1, 200, 5_000, 99_000])
def test_a_network_that_fails_while_getting_leaves_no_copy(
    network: Proxy, url: str, cold: Iterator[str], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    ref = connect_store(url).put(io.BytesIO(os.urandom(100_000)))
    monkeypatch.setenv("STERLING_CACHE", cache := next(cold))
    store = connect_store(url)
    network.received = after
    with pytest.raises(StorageError, match=rf"^{url} cannot be used: .* Check the network and AWS_ENDPOINT_URL"):
        store.open(ref)
    assert copies(cache) == []
    network.received = None
    assert ref_of(store.open(ref).read_bytes()) == ref


def test_a_network_that_fails_says_nothing_about_whether_bytes_are_intact(network: Proxy, url: str) -> None:
    store = connect_store(url)
    ref = store.put(io.BytesIO(os.urandom(100_000)))
    network.received = 50_000
    with pytest.raises(StorageError, match="cannot be used"):
        store.intact(ref)


def test_a_network_that_fails_now_and_then_is_tried_again(
    network: Proxy, url: str, cold: Iterator[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    data = os.urandom(100_000)
    monkeypatch.setattr(network, "failures", 2)
    network.sent = 50_000
    ref = connect_store(url).put(io.BytesIO(data))
    monkeypatch.setenv("STERLING_CACHE", next(cold))
    network.sent, network.received, network.failures = None, 50_000, 2
    assert connect_store(url).open(ref).read_bytes() == data
    assert network.failures == 0


@pytest.mark.parametrize("size", [100_000, 40 << 20])
def test_a_kill_while_putting_leaves_nothing_that_is_listed(network: Proxy, url: str, bucket: Any, size: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PUT, url, "1", str(size // 4)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        network.sent, network.stalls = size // 5, True
        process.stdin.write("\n")
        process.stdin.flush()
        assert network.stalled.wait(30)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    network.sent = None
    store = connect_store(url)
    assert list(store.list()) == objects(bucket) == []
    assert store.intact(store.put(io.BytesIO(bytes(size))))


def test_a_server_that_is_down_is_named(network: Proxy, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy("127.0.0.1", 1) as gone:
        monkeypatch.setenv("AWS_ENDPOINT_URL", gone.url)
    with pytest.raises(
        StorageError, match=rf"{url} cannot be used: Could not connect to the endpoint URL: \"{gone.url}"
    ):
        connect_store(url)


def test_a_bucket_that_does_not_exist_is_named_with_where_it_was_looked_for(environment: dict[str, str]) -> None:
    with pytest.raises(StorageError, match=rf"There is no bucket 'nope' at {environment['AWS_ENDPOINT_URL']}. Make it"):
        connect_store("s3://nope/prefix")


@pytest.fixture
def guarded(environment: dict[str, str], bucket: Any) -> Iterator[None]:
    """The server asks for credentials that it knows, and for rights."""

    def ask_after(actions: str) -> None:
        place, kind = f"{environment['AWS_ENDPOINT_URL']}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(place, actions.encode(), kind)).close()

    ask_after("0")
    yield
    ask_after("inf")


@pytest.mark.usefixtures("guarded")
def test_credentials_that_are_wrong_or_not_enough_are_refused_and_never_said(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(StorageError, match=rf"{url} cannot be used: .*Sign in by AWS_PROFILE") as refused:
        connect_store(url)
    said = "".join(traceback.format_exception(refused.value)) + caplog.text
    assert SECRET not in said
    assert os.environ["AWS_ACCESS_KEY_ID"] not in said


def test_rights_that_are_lost_on_the_way_leave_nothing(url: str, bucket: Any, request: pytest.FixtureRequest) -> None:
    store = connect_store(url)
    request.getfixturevalue("guarded")
    uses = (
        lambda: store.put(io.BytesIO(b"a")),
        lambda: store.has(ref_of(b"a")),
        lambda: list(store.list()),
        lambda: store.delete(ref_of(b"a")),
    )
    for use in uses:
        with pytest.raises(StorageError, match="Sign in by AWS_PROFILE"):
            use()


def test_nobody_signed_in_is_told_how(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(StorageError, match=r"Unable to locate credentials\. Sign in by AWS_PROFILE"):
        connect_store(url)


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    for url in (
        f"s3://AKIA:{SECRET.replace('/', '')}@bucket/prefix",
        "s3://AKIA@bucket",
        "abfs://c:hidden@account/prefix",
    ):
        with pytest.raises(InvalidDefinitionError, match=r"may hold no credentials\. Give them by A") as refused:
            connect_store(url)
        assert not {"AKIA", "hidden"} & set(str(refused.value).replace("@", " ").split())
        assert SECRET.replace("/", "") not in str(refused.value)


@pytest.mark.parametrize("url", ["s3://bucket/prefix?secret=hidden", "s3://bucket/prefix#part"])
def test_options_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=r"without '\?' or '#'. Example: s3://bucket/prefix$"):
        connect_store(url)


@pytest.mark.parametrize("url", ["s3:", "s3://", "s3:///prefix"])
def test_a_url_without_a_bucket_is_refused(url: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=f"'{url}' names no bucket. Example: s3://bucket/prefix"):
        connect_store(url)


def test_a_password_in_the_endpoint_is_not_said(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", environment["AWS_ENDPOINT_URL"].replace("//", "//user:hidden@"))
    with pytest.raises(StorageError, match=r"^s3://nope/prefix cannot be used") as refused:
        connect_store("s3://nope/prefix")
    assert "hidden" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("scheme", "extra", "library"), [("s3", "s3", "s3fs"), ("gs", "gcs", "gcsfs"), ("abfs", "azure", "adlfs")]
)
def test_a_cloud_whose_library_is_missing_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, scheme: str, extra: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, scheme, raising=False)
    with pytest.raises(MissingExtraError, match=rf"Stores at {scheme}:// need .* pip install 'sterling-ml\[{extra}\]'"):
        connect_store(f"{scheme}://bucket/prefix")


@pytest.mark.slow
def test_a_run_whose_network_goes_down_says_so_and_goes_on_when_it_is_back(
    network: Proxy, url: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    folder = write_project(tmp_path / "project", rows=1500)
    named = {**environment, "STERLING_STORE": url}
    for after in (2_000, 40_000, 90_000):
        network.sent_in_all = after
        answer = sterling(folder, "run", **{**named, "AWS_ENDPOINT_URL": network.url})
        assert answer.code == 2
        assert f"sterling: {url} cannot be used: " in answer.errors
        network.sent_in_all = None
    assert sterling(folder, "run", **named).code == 0
    verified = sterling(folder, "verify", "--json", **named)
    assert (verified.code, verified.json["missing"]) == (0, [])


def test_a_run_on_a_bucket_ends_well_and_verifies(
    url: str, bucket: Any, tmp_path: Path, environment: dict[str, str], cold: Iterator[str]
) -> None:
    folder = write_project(tmp_path / "project")
    named = {**environment, "STERLING_STORE": url}
    first = sterling(folder, "run", "--json", **named)
    assert first.code == 0, first.errors
    assert not (folder / ".sterling" / "store").exists()
    again = sterling(folder, "run", "--json", **{**named, "STERLING_CACHE": next(cold)})
    assert (again.code, again.json["news"], again.json["candidate"]) == (0, False, first.json["candidate"])
    verified = sterling(folder, "verify", "--json", **named)
    assert (verified.code, verified.json["intact"], verified.json["missing"]) == (0, True, [])
    assert verified.json["blobs"] == len(list(CloudStore(url).list()))
