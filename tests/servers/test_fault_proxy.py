"""The fault proxy does what it says, to a real client and a real server; without a fault nobody notices it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.servers import fault_proxy as fp
from tests.servers.fault_proxy import FaultProxy
from tests.servers.s3_processes import ADMIN, SECRET, S3Process
from tests.servers.tcp_proxy import TcpProxy

BUCKET = "faults"
MIB = 1024 * 1024


def client(endpoint: str, *, timeout: float = 20.0) -> Any:
    """S3 with one attempt."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=ADMIN,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=timeout, connect_timeout=timeout),
    )


@pytest.fixture(scope="session")
def direct(seaweedfs: S3Process) -> Any:
    """The server without the proxy; the bucket is there."""
    found = client(seaweedfs.endpoint)
    found.create_bucket(Bucket=BUCKET)
    return found


@pytest.fixture
def proxy(seaweedfs: S3Process, direct: Any) -> Iterator[FaultProxy]:
    """A proxy with no faults yet."""
    with closing(FaultProxy(seaweedfs.endpoint)) as found:
        yield found


def ended(connection: socket.socket) -> bool:
    """Reads until the connection ends; a time-out is an error of the test."""
    try:
        while connection.recv(65_536):
            pass
    except ConnectionError:
        return True
    return True


def there(direct: Any, key: str) -> bool:
    """Whether the server has the object."""
    return direct.list_objects_v2(Bucket=BUCKET, Prefix=key)["KeyCount"] == 1


def test_without_a_fault_nothing_is_different(proxy: FaultProxy) -> None:
    """Puts, gets, ranges, heads, lists, multipart uploads and errors go through; a large body is whole."""
    s3 = client(proxy.endpoint)
    content = bytes(range(256)) * 8 * 4096  # 8 MiB
    s3.put_object(Bucket=BUCKET, Key="plain/a b+c", Body=content)
    assert s3.get_object(Bucket=BUCKET, Key="plain/a b+c")["Body"].read() == content
    ranged = s3.get_object(Bucket=BUCKET, Key="plain/a b+c", Range="bytes=255-256")
    assert ranged["Body"].read() == b"\xff\x00"
    assert s3.head_object(Bucket=BUCKET, Key="plain/a b+c")["ContentLength"] == len(content)
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET, Prefix="plain/")["Contents"]] == ["plain/a b+c"]
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="plain/m")["UploadId"]
    part = s3.upload_part(Bucket=BUCKET, Key="plain/m", UploadId=upload, PartNumber=1, Body=b"x" * MIB)
    parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    s3.complete_multipart_upload(Bucket=BUCKET, Key="plain/m", UploadId=upload, MultipartUpload=parts)
    assert s3.get_object(Bucket=BUCKET, Key="plain/m")["Body"].read() == b"x" * MIB
    s3.delete_object(Bucket=BUCKET, Key="plain/m")
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket=BUCKET, Key="plain/m")
    assert proxy.count("PUT", "plain/a b") == 1


def test_down_refuses_and_up_serves_again(proxy: FaultProxy) -> None:
    """On the same port, for the same client."""
    s3 = client(proxy.endpoint)
    proxy.down()
    with pytest.raises(BotoCoreError):
        s3.list_objects_v2(Bucket=BUCKET)
    proxy.up()
    s3.list_objects_v2(Bucket=BUCKET)


@pytest.mark.parametrize("code", fp.REASONS)
def test_an_error_is_answered_as_often_as_asked(proxy: FaultProxy, direct: Any, code: str) -> None:
    """In S3's own words, and the server sees nothing; the next request goes through."""
    proxy.on(fp.answers(code), method="PUT", path="answer", times=1)
    s3 = client(proxy.endpoint)
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=BUCKET, Key=f"answer/{code}", Body=b"x")
    assert caught.value.response["Error"]["Code"] == code
    assert not there(direct, f"answer/{code}")
    s3.put_object(Bucket=BUCKET, Key=f"answer/{code}", Body=b"x")
    assert there(direct, f"answer/{code}")


def test_a_cut_upload_leaves_nothing(proxy: FaultProxy, direct: Any) -> None:
    """The server had a part of the body only."""
    proxy.on(fp.cuts_upload(100_000), method="PUT", path="cut")
    with pytest.raises(BotoCoreError):
        client(proxy.endpoint).put_object(Bucket=BUCKET, Key="cut/up", Body=b"x" * MIB)
    assert not there(direct, "cut/up")


def test_a_cut_download_is_noticed(proxy: FaultProxy, direct: Any) -> None:
    """The client has a part of what was announced."""
    direct.put_object(Bucket=BUCKET, Key="cut/down", Body=b"x" * MIB)
    proxy.on(fp.cuts_download(100_000), method="GET", path="cut/down")
    body = client(proxy.endpoint).get_object(Bucket=BUCKET, Key="cut/down")["Body"]
    with pytest.raises((BotoCoreError, OSError)):
        body.read()


def test_a_lost_answer_and_a_lost_request_look_alike(proxy: FaultProxy, direct: Any) -> None:
    """To the client; the server has the object in one case."""
    proxy.on(fp.loses_answer, method="PUT", path="lost/answer")
    proxy.on(fp.loses_request, method="PUT", path="lost/request")
    s3 = client(proxy.endpoint)
    for key in ("lost/answer", "lost/request"):
        with pytest.raises(BotoCoreError):
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    assert there(direct, "lost/answer")
    assert not there(direct, "lost/request")
    proxy.on(fp.answers("InternalError", after_acting=True), method="PUT", path="acted")
    with pytest.raises(ClientError):
        s3.put_object(Bucket=BUCKET, Key="acted", Body=b"x")
    assert there(direct, "acted")


def test_slow_is_late_and_hanging_is_for_ever(proxy: FaultProxy) -> None:
    """A wait within the client's patience is only late; the other ends with its patience."""
    proxy.on(fp.waits(0.3), path="prefix=slow", times=1)
    began = time.monotonic()
    client(proxy.endpoint).list_objects_v2(Bucket=BUCKET, Prefix="slow")
    assert time.monotonic() - began >= 0.3
    until = threading.Event()
    proxy.on(fp.hangs(until), path="prefix=hang")
    with pytest.raises(BotoCoreError):
        client(proxy.endpoint, timeout=0.3).list_objects_v2(Bucket=BUCKET, Prefix="hang")
    until.set()


def test_a_narrow_line_has_its_width(proxy: FaultProxy) -> None:
    """Half a MiB at one MiB a second takes half a second, at least, and arrives whole."""
    proxy.on(fp.paced(MIB), path="narrow")
    began = time.monotonic()
    client(proxy.endpoint).put_object(Bucket=BUCKET, Key="narrow", Body=b"x" * (MIB // 2))
    assert time.monotonic() - began >= 0.45


def test_a_short_object_looks_whole(proxy: FaultProxy, direct: Any) -> None:
    """Only who knows its length or digest can tell."""
    direct.put_object(Bucket=BUCKET, Key="short", Body=b"0123456789", ChecksumAlgorithm="CRC32")
    proxy.on(fp.shortens(3), method="GET", path="short")
    assert client(proxy.endpoint).get_object(Bucket=BUCKET, Key="short", Range="bytes=0-9")["Body"].read() == b"0123456"


def test_a_list_that_is_behind_hides_keys(proxy: FaultProxy, direct: Any) -> None:
    """And shows the others."""
    for name in ("old", "new"):
        direct.put_object(Bucket=BUCKET, Key=f"list/{name}", Body=b"x")
    proxy.on(fp.hides(["list/new"]), method="GET", path="list-type=2")
    found = client(proxy.endpoint).list_objects_v2(Bucket=BUCKET, Prefix="list/")["Contents"]
    assert [one["Key"] for one in found] == ["list/old"]


def test_a_fault_can_begin_later(proxy: FaultProxy) -> None:
    """The first requests pass."""
    proxy.on(fp.after(2, fp.answers("SlowDown")), path="prefix=later")
    s3 = client(proxy.endpoint)
    for _ in range(2):
        s3.list_objects_v2(Bucket=BUCKET, Prefix="later")
    with pytest.raises(ClientError, match="SlowDown"):
        s3.list_objects_v2(Bucket=BUCKET, Prefix="later")


def test_plain_tcp_is_cut_refused_and_mended(seaweedfs: S3Process) -> None:
    """For what does not speak HTTP: bytes pass, a cut ends the connection, and down refuses."""
    where = urlsplit(seaweedfs.endpoint)
    with closing(TcpProxy(where.hostname or "", where.port or 0)) as relay:
        ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as connection:
            connection.sendall(ask)
            assert connection.recv(8) == b"HTTP/1.1"
            relay.cut()
            assert ended(connection)
        relay.cut_after = 4
        with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as connection:
            connection.sendall(ask)
            assert ended(connection)
        relay.cut_after = None
        relay.down()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", relay.port), timeout=20)
        relay.up()
        socket.create_connection(("127.0.0.1", relay.port), timeout=20).close()
